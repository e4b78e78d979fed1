// From a container's record to what its shim is told: policy ends here, everything in the plan is decided and every
// path that it needs is an open descriptor.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cri/cdi/registry.h"
#include "cri/spec/block_io_classes.h"
#include "cri/spec/rlimits.h"
#include "image/store.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/rootfs/device_nodes.h"
#include "runtime/security/confinement.h"
#include "runtime/security/users.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// Descriptors that travel with a plan. Indices are into Get(); what is given as UniqueFd is closed with this.
class PlanFds {
 public:
  int Own(sys::UniqueFd fd);
  int Borrow(int fd);
  void Keep(std::shared_ptr<const void> owner) { owners_.push_back(std::move(owner)); }
  std::vector<int>& Get() { return fds_; }

 private:
  std::vector<int> fds_;
  std::vector<sys::UniqueFd> owned_;
  std::vector<std::shared_ptr<const void>> owners_;
};

// SELinux labels; all empty where the host has none.
struct ContainerLabels {
  std::string process;
  std::string mount;  // of the rootfs and the container's other mounts
  std::string pod;    // of what the pod's containers share
};

struct Volume {
  std::string container_path;
  sys::UniqueFd mount;  // detached, of a directory
};

struct LaunchInput {
  const state::v1::Pod& pod;
  const state::v1::Container* container;  // id, spec and cgroup_path are read; outlives the call
  const image::ImageConfig& image;
  std::string pod_dir;                          // hosts, hostname, resolv.conf and shm are there
  sys::UniqueFd rootfs;                         // detached mount
  std::vector<state::v1::Mount> device_mounts;  // binds that devices bring; one of the request at the same path wins
  std::vector<Volume> config_volumes;           // the image's own VOLUMEs
  std::vector<sys::UniqueFd> image_volumes;     // one for each of the spec's mounts that is an image, in their order
  sys::UniqueFd target_pid_ns;                  // when the container joins another's pid namespace
  sys::UniqueFd userns;                         // the pod's own user namespace, when it has one
  ContainerLabels selinux;
};

struct Launch {
  shim::v1::ContainerPlan plan;
  PlanFds fds;
  security::ResolvedUser user;
  int stop_signal = 0;
  std::string rdt_class;  // empty = none
};

// What the configuration decides for all containers.
struct LaunchOptions {
  bool privileged_without_host_devices = false;
  bool device_ownership = false;  // nodes that a request names belong to its run_as_user and run_as_group
  std::vector<Rlimit> rlimits;    // of containers that no annotation gives others
  std::optional<BlockIoClasses> block_io;
  std::string resctrl_root = "/sys/fs/resctrl";
  uint32_t max_log_line = 0;     // bytes of a log's line before it is split; 0 = 16384
  int64_t pids_limit = 0;        // of a container whose `unified` has none; 0 = unlimited
  cdi::Registry* cdi = nullptr;  // outlives the planner; null = no devices
};

// Thread-safe.
class LaunchPlanner {
 public:
  static absl::StatusOr<std::unique_ptr<LaunchPlanner>> Create(cgroup::Hierarchy& cgroups,
                                                               security::Confinement& confinement,
                                                               LaunchOptions options = {});

  // Makes the container's cgroup and nothing else that lasts; after an error the caller removes it. InvalidArgument
  // with the field's name for what the image cannot satisfy (an unknown user, no command), NotFound for a CDI device or
  // a host's device that does not exist, FailedPrecondition for what this machine does not have.
  absl::StatusOr<Launch> Plan(LaunchInput input);

  // The seccomp program of a process of the container, the first or an exec: seccomp_* of `process`, whose bounding set
  // is decided. FailedPrecondition without seccomp in the kernel, or when the agent that the profile names does not
  // listen.
  absl::Status AddSeccomp(const state::v1::Pod& pod, const state::v1::Container& container, shim::v1::Process& process,
                          PlanFds& fds);

  // The labels of a container that is to be; `container` has its spec. Of a pod: its `pod`, with `container` empty.
  absl::StatusOr<ContainerLabels> SelinuxLabels(const state::v1::Pod& pod, const state::v1::ContainerSpec& container);

  // The "tasks" of a resctrl class as an index in `fds`, or -1 for no name. FailedPrecondition when it is not there.
  absl::StatusOr<int> AddRdtTasks(const std::string& name, PlanFds& fds) const;

 private:
  LaunchPlanner(cgroup::Hierarchy& cgroups, security::Confinement& confinement, LaunchOptions options,
                rootfs::DeviceNodes devices, uint64_t available)
      : cgroups_(cgroups),
        confinement_(confinement),
        options_(std::move(options)),
        devices_(std::move(devices)),
        available_caps_(available) {}

  absl::StatusOr<Launch> PlanEdited(LaunchInput input, const cdi::Edits& edits);
  absl::StatusOr<cdi::Edits> ResolveCdi(const state::v1::ContainerSpec& spec);
  // The variables and groups of the edits go into the spec; their mounts do not, since the request's win.
  static void ApplyCdi(const cdi::Edits& edits, state::v1::ContainerSpec& spec);
  static absl::StatusOr<std::vector<state::v1::Mount>> MountsOf(const cdi::Edits& edits);

  absl::Status AddProcess(const LaunchInput& input, Launch& out);
  absl::Status AddMounts(LaunchInput& input, Launch& out);
  absl::Status AddRlimits(const LaunchInput& input, Launch& out);
  absl::Status AddRdtClass(const LaunchInput& input, const cdi::Edits& edits, Launch& out);
  absl::StatusOr<std::optional<cgroup::BlockIo>> BlockIoOf(const LaunchInput& input) const;
  absl::Status AddDevices(const LaunchInput& input, const cdi::Edits& edits, Launch& out,
                          std::vector<cgroup::DeviceRule>& rules);
  absl::Status AddCgroup(const LaunchInput& input, Launch& out, std::vector<cgroup::DeviceRule> rules);
  absl::Status AddLog(const LaunchInput& input, Launch& out);

  cgroup::Hierarchy& cgroups_;
  security::Confinement& confinement_;
  const LaunchOptions options_;
  const rootfs::DeviceNodes devices_;
  const uint64_t available_caps_;
};

}  // namespace berth::spec
