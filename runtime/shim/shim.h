// The process of one pod: an event loop of one thread over its containers, execs and daemons. docs/formats/shim.md.
#pragma once

#include <sys/resource.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/container/fd_list.h"
#include "runtime/shim/connection.h"
#include "runtime/shim/pod_container.h"
#include "runtime/shim/pod_setup.h"
#include "runtime/sys/epoll.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"

namespace berth::shim {

// What a shim is born with. Everything is taken over.
struct ShimStart {
  v1::SandboxPlan plan;
  std::vector<sys::UniqueFd> fds;  // beside the plan
  sys::UniqueFd daemon;            // the first connection: Ready() answers its request 1
  sys::UniqueFd procfs;
  rlimit open_files = {};
};

class Shim {
 public:
  // Sets the pod up. On an error nothing of the pod exists once the process is gone.
  static absl::StatusOr<std::unique_ptr<Shim>> Start(ShimStart start);

  // Serves until Shutdown, or until SIGTERM and the end of the last container.
  void Run();

 private:
  enum class Source : uint8_t {
    kListener,
    kSignal,
    kPodInit,
    kDaemon,
    kProcess,
    kControl,
    kOutput,
    kError,
    kExec,
    kExecControl
  };
  static uint64_t Key(Source source, uint64_t serial) { return uint64_t(source) << 56 | serial; }

  Shim(ShimStart start, sys::Epoll epoll) : start_(std::move(start)), epoll_(std::move(epoll)) {}
  absl::Status Setup();

  // shim.cc: the loop, connections and requests.
  void Dispatch(uint64_t key);
  void OnListener();
  void OnSignals();
  void ReapOrphans();
  void OnDaemon(uint64_t connection, uint32_t events);
  void AddDaemon(sys::UniqueFd socket);
  void DropDaemon(uint64_t connection);
  void HandleMessage(uint64_t connection, Message message);
  void HandleRequest(PendingReply to, const v1::Request& request, std::vector<sys::UniqueFd> fds);
  void Answer(const PendingReply& to, const absl::Status& status, v1::Reply reply = {}, absl::Span<const int> fds = {});
  void SendTo(uint64_t connection, const std::string& body, absl::Span<const int> fds);
  void Publish(const v1::Reply& event);
  void Hello(PendingReply to);
  void State(PendingReply to);
  int Timeout() const;
  void OnDeadlines();

  // shim_containers.cc
  absl::Status Create(PendingReply to, const v1::ContainerPlan& plan, std::vector<sys::UniqueFd> fds);
  absl::Status AdoptContainer(PodContainer& c, const v1::ContainerPlan& plan, container::Spawned spawned,
                              std::vector<sys::UniqueFd> fds);
  absl::Status StartContainer(PendingReply to, const std::string& id);
  absl::Status SignalContainer(const v1::Signal& request);
  absl::Status ReopenLog(const v1::ReopenLog& request, std::vector<sys::UniqueFd> fds);
  absl::Status Remove(PendingReply to, const std::string& id, bool* answered);
  void OnControl(PodContainer& c);
  void OnReport(PodContainer& c, container::ReceivedReport received);
  void OnExit(PodContainer& c);
  void OnOutput(PodContainer& c, OutputStream& stream);
  void Drain(PodContainer& c);
  void Ended(PodContainer& c, const sys::ExitStatus& status);
  void Record(PodContainer& c);
  void Forget(PodContainer& c);
  void Kill(PodContainer& c);
  PodContainer* Find(const std::string& id);
  // NotFound, or FailedPrecondition unless it is running.
  absl::StatusOr<PodContainer*> FindRunning(const std::string& id);
  PodContainer* BySerial(uint64_t serial);

  // shim_execs.cc
  absl::Status Exec(PendingReply to, const v1::ExecPlan& plan, std::vector<sys::UniqueFd> fds);
  void HangUpAllOf(uint64_t connection);
  void KillExecTree(ExecProcess& exec);
  absl::Status KillExec(const v1::KillExec& request);
  void OnExecControl(ExecProcess& exec);
  void OnExecReport(ExecProcess& exec, container::ReceivedReport received);
  void OnExecExit(ExecProcess& exec);
  void ExecEnded(ExecProcess& exec, const sys::ExitStatus& end);

  // shim_attach.cc
  absl::Status Attach(PendingReply to, const v1::Attach& request, std::vector<sys::UniqueFd> fds);
  void Detach(const v1::Detach& request);
  void DetachAllOf(uint64_t connection);
  void EndAttachments(PodContainer& c, std::vector<Attachment> ended);
  void InputEnded(PodContainer& c);
  OutputStream::Result Pump(PodContainer& c, OutputStream& stream);
  void CloseOutput(OutputStream& stream);

  // shim_shutdown.cc
  void BeginShutdown(PendingReply to);
  void MaybeFinish();
  void KillLeftovers();

  container::SpawnEnvironment SpawnEnv() const;

  ShimStart start_;
  sys::Epoll epoll_;
  sys::UniqueFd state_dir_, listener_, signals_, self_;
  sys::UniqueFd userns_;  // the pod's; invalid = the host's
  PodInit init_;
  std::unique_ptr<LogScratch> scratch_{new LogScratch};  // not initialised: untouched pages cost nothing
  uint64_t next_serial_ = 1;
  std::map<uint64_t, std::unique_ptr<Connection>> daemons_;
  std::map<std::string, std::unique_ptr<PodContainer>> containers_;
  std::map<uint64_t, std::unique_ptr<ExecProcess>> execs_;
  bool finishing_ = false;  // Shutdown was asked for
  bool draining_ = false;   // SIGTERM came
  bool done_ = false;
  PendingReply shutdown_reply_;
};

}  // namespace berth::shim
