// The daemon's side of the low-level runtime: one ShimLauncher (which owns the zygote process) and one PodShim for
// each live pod. Wire: docs/formats/shim.md.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"

namespace berth::client {

// Receives what a shim says of itself. Called from the launcher's own thread, one call at a time; must not block,
// and must not call back into the PodShim that it came from.
struct ShimEvents {
  std::function<void(const PodId&, const shim::v1::ExitRecord&)> on_exit;
  // The shim is gone (killed, crashed): its containers are dead or dying. Not called after a Shutdown that was asked
  // for.
  std::function<void(const PodId&)> on_shim_gone;
};

struct ExecOutcome {
  int exit_code = 0;  // 128 + signal for a signal
  bool timed_out = false;
};

struct StartedExec {
  uint64_t id = 0;
  sys::UniqueFd terminal;  // the master, non-blocking, of an exec that got a terminal from the shim
};

struct Attached {
  uint64_t id = 0;
  // The write end of the container's standard input, or the master of its terminal (which may be there for its size
  // alone: see takes_input). Non-blocking.
  sys::UniqueFd input;
  bool terminal = false;
  bool takes_input = false;
};

struct AttachOutcome {
  bool lagged = false;  // a pipe was full, and the container does not wait
};

// One pod's shim. Thread-safe; calls on it run in the order in which the shim receives them. Every call fails with
// Unavailable when the shim is gone and DeadlineExceeded when it did not answer in time (the operation may then
// still happen: ask State; what an Exec or Attach starts then is ended).
class PodShim {
 public:
  virtual ~PodShim() = default;
  virtual const PodId& id() const = 0;
  virtual int pid() const = 0;  // of the shim, in the host's pid namespace
  // Of the pod's network namespace, opened from the shim; the host's when the pod shares it.
  virtual absl::StatusOr<sys::UniqueFd> OpenNetns() = 0;
  // The pod's user namespace; invalid when it is the host's.
  virtual absl::StatusOr<sys::UniqueFd> OpenUserns() = 0;

  // `fds` are what the plan's *_fd fields index. They stay the caller's. Steps: see StepTime in the reply.
  virtual absl::StatusOr<shim::v1::CreateReply> Create(const shim::v1::ContainerPlan& plan,
                                                       absl::Span<const int> fds) = 0;
  // FailedPrecondition unless CREATED. On failure to execute (NotFound, PermissionDenied, …) the container is EXITED
  // with code 128 and the error in its record.
  virtual absl::StatusOr<shim::v1::StartReply> Start(const ContainerId& id) = 0;
  // OK when the container has exited already. NotFound when the shim does not know it.
  virtual absl::Status Signal(const ContainerId& id, int signal, bool all) = 0;
  // Runs to its end or until the plan's timeout; the whole tree of the exec is killed then. With process.tty and no
  // stdin_fd it gets a terminal of the container's (FailedPrecondition when the container has none to give).
  // `done` is called exactly once from the launcher's thread, also with an error when the shim dies meanwhile, but not
  // when the call itself fails.
  virtual absl::StatusOr<StartedExec> Exec(const shim::v1::ExecPlan& plan, absl::Span<const int> fds,
                                           std::function<void(absl::StatusOr<ExecOutcome>)> done) = 0;
  // This one and the next return when the shim has been told, before it has done it. SIGKILL to the whole tree. OK when
  // it has ended already.
  virtual absl::Status KillExec(uint64_t exec_id) = 0;
  // SIGHUP to the whole tree, and SIGKILL if it has not ended `grace` later.
  virtual absl::Status HangUpExec(uint64_t exec_id, absl::Duration grace) = 0;

  // Copies what the container writes from now on into the pipes (-1 = not wanted), which stay the caller's. A reader
  // that falls behind further than its pipe holds is dropped. With `input` also asks for the container's input:
  // Attached says whether there is one. FailedPrecondition unless running; ResourceExhausted for too many.
  // `done` is called exactly once, as Exec's: at the container's end, after Detach, or when the client was dropped. The
  // pipes are closed before.
  virtual absl::StatusOr<Attached> Attach(const ContainerId& id, int stdout_pipe, int stderr_pipe, bool input,
                                          std::function<void(absl::StatusOr<AttachOutcome>)> done) = 0;
  // This one and the next return when the shim has been told, before it has done it. The client has no more input: a
  // container with `stdin_once` has none any more then. Attached::input is to be closed before. OK when the attachment
  // has ended.
  virtual absl::Status EndInput(uint64_t attach_id) = 0;
  // Ends the attachment, and its input as above.
  virtual absl::Status Detach(uint64_t attach_id) = 0;
  // When this returns the old file is not written to any more. `directory` is the pod's log directory, as it is now;
  // -1: the one that the container was created with. NotFound, or why the file cannot be opened; the old one is used
  // then.
  virtual absl::Status ReopenLog(const ContainerId& id, int directory) = 0;
  virtual absl::Status Remove(const ContainerId& id) = 0;
  virtual absl::StatusOr<std::vector<shim::v1::ContainerFact>> State(absl::Duration patience = absl::Seconds(30)) = 0;
  // Whether the connection has ended: on_shim_gone has been called, or will be at once.
  virtual bool lost() const = 0;
  // Kills what still runs, waits for it, and ends the shim. OK when it is gone already. Bounded: 10 s, after which
  // the shim itself is killed.
  virtual absl::Status Shutdown() = 0;
};

class ShimLauncher {
 public:
  struct Options {
    std::string shim_binary;  // the static berth-shim; copied into a sealed memfd once
    ShimEvents events;
    absl::Duration call_timeout = absl::Seconds(30);  // of every call that has no limit of its own
  };
  // Starts the zygote. Unavailable when it cannot be.
  static absl::StatusOr<std::unique_ptr<ShimLauncher>> Start(Options options);

  virtual ~ShimLauncher() = default;
  // Starts the shim of a pod: when it returns, the shim listens at STATE_DIR/shim.sock and its namespaces exist.
  // `state_dir` exists, mode 0700, owned by us. `fds` are what the plan's fields index; state_dir_fd and
  // listen_fd are filled in by this function.
  virtual absl::StatusOr<std::shared_ptr<PodShim>> Launch(shim::v1::SandboxPlan plan, absl::string_view state_dir,
                                                          absl::Span<const int> fds) = 0;
  // Connects to the shim that lives there already. NotFound when none does, DeadlineExceeded when it does not answer
  // within `patience`.
  virtual absl::StatusOr<std::shared_ptr<PodShim>> Reconnect(const PodId& id, absl::string_view state_dir,
                                                             absl::Duration patience = absl::Seconds(30)) = 0;
  // The exit records that a dead shim left in its state directory.
  static std::vector<shim::v1::ExitRecord> ReadExitRecords(absl::string_view state_dir);
};

}  // namespace berth::client
