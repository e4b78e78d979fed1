// What the daemon does with pods and containers: the lifecycle behind CRI's RuntimeService, in terms of its own
// records. It decides and orders; the shims act (runtime/client), the store has the images, the network attaches.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "cri/network/network.h"
#include "cri/pod/call_limit.h"
#include "cri/pod/detach_debts.h"
#include "cri/pod/janitor.h"
#include "cri/pod/name_table.h"
#include "cri/pod/records.h"
#include "cri/pod/registry.h"
#include "cri/pod/stream_commands.h"
#include "cri/pod/worker_pool.h"
#include "cri/spec/features.h"
#include "cri/spec/launch_plan.h"
#include "cri/spec/resources.h"
#include "cri/spec/sysctls.h"
#include "cri/streaming/backend.h"
#include "image/store.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/pod_cgroups.h"
#include "runtime/security/confinement.h"

namespace berth::pod {

// Of one call: until when an answer is of use, and whether somebody still waits for it.
struct CallContext {
  Deadline deadline;
  std::function<bool()> cancelled = [] { return false; };
};

struct ExecResult {
  std::string stdout_data, stderr_data;  // together they fit into a message of 16 MiB; the rest is dropped
  int exit_code = 0;
};

// The containers that got their stop signal: it is sent once.
class StopSet {
 public:
  // False when it was there.
  bool Insert(const ContainerId& id) {
    absl::MutexLock lock(&mu_);
    return ids_.insert(id.str()).second;
  }
  void Erase(const ContainerId& id) {
    absl::MutexLock lock(&mu_);
    ids_.erase(id.str());
  }

 private:
  absl::Mutex mu_;
  absl::flat_hash_set<std::string> ids_ ABSL_GUARDED_BY(mu_);
};

struct ContainerUsage {
  state::v1::Container container;
  cgroup::Stats stats;
  std::optional<image::DiskUsage> writable;  // absent while it was not measured
};

// Thread-safe. Ids may be shortened wherever one is taken. Errors carry the code that CRI gives the case: NotFound for
// unknown ids (OK from Stop* and Remove*), InvalidArgument with the field's name, FailedPrecondition for a wrong state,
// AlreadyExists for a name in use. A call that fails leaves nothing behind; one whose caller went away is finished, and
// a retry of the same name gets its id.
class Engine : public streaming::Backend {
 public:
  struct Options {
    std::string state_dir;      // /run/berth
    std::string cgroup_parent;  // of pods that name none
    bool config_volumes;        // whether containers get the VOLUMEs of their images
    spec::SysctlDefaults sysctls;
    spec::LaunchOptions launch;
    spec::Features features;  // FailedPrecondition for what the machine lacks
    // For how long a failing detach is the failure of StopPod, counted from its first failure.
    absl::Duration detach_patience = absl::Minutes(2);
  };
  struct Parts {
    state::StateStore& store;
    image::Store& images;
    network::PodNetwork& network;
    cgroup::Hierarchy& cgroups;
    cgroup::PodCgroups& pod_cgroups;
    security::Confinement& confinement;
  };

  Engine(Options options, Parts parts);
  // After all that it gave out as streaming::Backend.
  ~Engine() override;

  // What the launcher has to call, and then the launcher itself: before anything else.
  client::ShimEvents Events();
  void UseLauncher(client::ShimLauncher& launcher) { launcher_ = &launcher; }
  // The daemon ends: calls that wait for a container to stop give up, with Cancelled.
  void Interrupt() { ending_ = true; }
  // The last thing before the launcher ends: nothing is done in the background any more, and what is owed is left to
  // the next daemon.
  void End();
  // Takes up what a former daemon left: reads the records and connects to the shims that live. What was half done, and
  // what no record speaks of, is finished or undone in the background. What is damaged is logged and set aside.
  absl::Status Recover();

  absl::StatusOr<PodId> RunPod(state::v1::PodSpec spec, const CallContext& call);
  absl::Status StopPod(absl::string_view id);
  absl::Status RemovePod(absl::string_view id);

  absl::StatusOr<ContainerId> CreateContainer(absl::string_view pod, state::v1::ContainerSpec spec,
                                              const CallContext& call);
  absl::Status StartContainer(absl::string_view id);
  absl::Status StopContainer(absl::string_view id, absl::Duration grace);
  absl::Status RemoveContainer(absl::string_view id);
  absl::Status ReopenLog(absl::string_view id);
  // `timeout` of zero = none. DeadlineExceeded when it passed, Cancelled when the caller went away; the whole tree of
  // the command is killed then.
  absl::StatusOr<ExecResult> ExecSync(absl::string_view id, const std::vector<std::string>& argv,
                                      absl::Duration timeout, const CallContext& call);

  // What a URL is given for, checked, with whole ids. InvalidArgument: no stream, stderr with tty, no cmd, a tty that
  // the container's is not, a port that is none. FailedPrecondition: not running, not ready.
  absl::StatusOr<streaming::ExecRequest> PrepareExec(streaming::ExecRequest request) const;
  absl::StatusOr<streaming::AttachRequest> PrepareAttach(streaming::AttachRequest request) const;
  absl::StatusOr<streaming::PortForwardRequest> PreparePortForward(absl::string_view pod_id,
                                                                   const std::vector<int>& ports) const;
  // Input that the container was not created with is not given: the command has no `in` then.
  absl::StatusOr<std::unique_ptr<streaming::Command>> Exec(const streaming::ExecRequest& request, Done done) override;
  absl::StatusOr<std::unique_ptr<streaming::Command>> Attach(const streaming::AttachRequest& request,
                                                             Done done) override;
  absl::StatusOr<sys::UniqueFd> OpenSocket(const std::string& pod_id, int family) override;

  absl::StatusOr<ContainerUsage> Usage(const state::v1::Container& container);
  // FailedPrecondition when EXITED. Limits that are 0 stay as they are; on failure all do.
  absl::Status UpdateResources(absl::string_view id, const state::v1::Resources& request);
  // What is null stays. Unlike the rest: NotFound for an unknown id.
  absl::Status UpdatePodResources(absl::string_view id, const state::v1::Resources* overhead,
                                  const state::v1::Resources* resources);
  cgroup::Driver cgroup_driver() const { return parts_.pod_cgroups.driver(); }

  const Registry& registry() const { return registry_; }

 private:
  absl::StatusOr<PodId> MakePod(const state::v1::PodSpec& spec);
  absl::Status LaunchShim(const state::v1::Pod& pod);
  absl::Status AttachNetwork(state::v1::Pod& pod);
  absl::Status StopPodLocked(const PodId& id);
  absl::Status TearDownSandbox(const state::v1::Pod& pod);
  absl::Status ForgetPodLocked(const state::v1::Pod& pod);
  absl::StatusOr<ContainerId> MakeContainer(const state::v1::Pod& pod, const state::v1::ContainerSpec& spec);
  absl::StatusOr<std::vector<ImageId>> FindImageVolumes(state::v1::ContainerSpec& spec);
  absl::StatusOr<std::vector<sys::UniqueFd>> MountImageVolumes(const state::v1::Container& container, int userns);
  absl::StatusOr<std::vector<spec::Volume>> MakeConfigVolumes(const state::v1::Pod& pod,
                                                              const state::v1::Container& container,
                                                              const std::vector<std::string>& declared, int rootfs);
  absl::StatusOr<sys::UniqueFd> OpenTargetPidNs(const state::v1::Pod& pod, const state::v1::ContainerSpec& spec);
  absl::StatusOr<state::v1::Container> RunningContainer(absl::string_view id) const;
  // All but its streams.
  absl::StatusOr<ExecLaunch> PlanExec(absl::string_view id, const std::vector<std::string>& argv, bool tty);
  absl::Status StartFailed(const ContainerId& id, client::PodShim& shim, const absl::Status& error);
  absl::Status RemoveContainerLocked(const state::v1::Container& container);
  absl::Status RemoveEffects(const PodId& pod, const ContainerId& id, const std::string& cgroup_path);
  absl::Status ApplyUpdate(const state::v1::Container& container, const spec::ResourceUpdate& update);
  // engine_stop.cc. Signals to a container's first process, without its shim; OK when it is gone.
  absl::Status SignalFirst(const state::v1::Container& container, int signal);
  // Whether the container is EXITED before the deadline; calls `at_each_look` now and then while its process lives. A
  // shim that keeps silent of an exit is killed on the way.
  bool AwaitEnd(const state::v1::Container& container, const Deadline& deadline,
                const std::function<void()>& at_each_look);
  void EndSilentShim(const PodId& id);
  // SIGKILL, and waits for 10 s or until `deadline`: DeadlineExceeded naming the processes that are left, and in which
  // state.
  absl::Status KillAndWait(const state::v1::Container& container);
  absl::Status KillAndWait(const state::v1::Container& container, const Deadline& deadline);
  // All of a pod within those 10 s.
  absl::Status KillContainers(const PodId& id);
  absl::Status EndShim(const state::v1::Pod& pod);
  // Kills what is left in it first. DeadlineExceeded naming what does not die.
  absl::Status RemoveCgroup(const std::string& path);
  std::string WhatIsLeft(const std::string& cgroup_path, int64_t also);
  // For a container whose first process has ended: the shim that does not say so, and its state; else "".
  std::string UnreportedBy(const state::v1::Container& container);
  void MarkExited(const ContainerId& id, const shim::v1::ExitRecord& record);
  void MarkExited(const ContainerId& id, const shim::v1::ExitRecord& record, absl::string_view reason);
  void OnExit(const PodId& pod, const shim::v1::ExitRecord& record);
  void OnShimGone(const PodId& pod);

  // engine_recover.cc
  struct Loss {
    const char *reason, *message;
    int exit_code;
  };
  void RestoreRecords(const Records& records);
  absl::Status TakeUp(const PodId& id);
  void LosePod(const PodId& id, const Loss& loss);
  void TakeUpContainers(const PodId& id, const std::vector<shim::v1::ContainerFact>& facts,
                        const std::vector<shim::v1::ExitRecord>& exits, const Loss& loss);
  absl::Status UndoPod(const PodId& id);
  absl::Status UndoPodLocked(const PodId& id);
  void UseShim(const PodId& id, const std::shared_ptr<client::PodShim>& shim);
  void OweTakeUp(const PodId& id, absl::Duration delay);
  void OweUndo(const PodId& id, absl::Duration delay);
  void FinishUndo(const PodId& id, const std::string& name);

  // engine_strays.cc
  void RemoveStrays();
  absl::Status RemoveStrayContainer(const ContainerId& id);
  absl::Status RemoveStrayPod(const PodId& id);

  // engine_detach.cc
  enum class DetachState { kDone, kOwed };
  // The error of the attempt while patience lasts. kOwed: to be taken as a debt once all else of the pod is gone.
  absl::StatusOr<DetachState> DetachNetwork(const state::v1::Pod& pod);
  void NoteFailedAttach(state::v1::Pod& pod);
  static void RestorePin(const state::v1::Pod& pod, client::PodShim& shim);
  // Also without anybody who asks, the pod is stopped.
  void OweStop(const PodId& id);
  void TakeUpNetworks(const std::vector<state::v1::Pod>& owed);

  std::string PodDir(absl::string_view pod_id) const;
  // The keys of the name tables: what CRI says must be unique.
  static std::string NameOf(const state::v1::PodSpec& spec);
  static std::string NameOf(absl::string_view pod_id, const state::v1::ContainerSpec& spec);

  const Options options_;
  Parts parts_;
  client::ShimLauncher* launcher_ = nullptr;
  Registry registry_;
  NameTable pod_names_, container_names_;
  std::unique_ptr<spec::LaunchPlanner> planner_;
  StopSet stopping_;
  bool recovered_ = false;  // the records have been read
  std::atomic<bool> ending_{false};
  CallLimit ends_{8};                 // stops and removals of one pod or container
  WorkerPool background_{2, 100000};  // hang-ups and ends of streams, which nobody waits for
  DetachDebts debts_{parts_.store, parts_.network, janitor_};
  Janitor janitor_;  // last: what it calls uses all of the above
};

}  // namespace berth::pod
