#include "cri/pod/stream_commands.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "absl/strings/match.h"
#include "cri/pod/command_pipe.h"
#include "runtime/sys/terminal.h"

namespace berth::pod {
namespace {

using streaming::Backend;
using streaming::Command;
using streaming::CommandEnd;

// What is hung up may tidy up for so long before it is killed.
constexpr absl::Duration kHangUpGrace = absl::Seconds(5);

using EndedFlag = std::shared_ptr<std::atomic<bool>>;
EndedFlag NotEnded() { return std::make_shared<std::atomic<bool>>(false); }

absl::StatusOr<sys::UniqueFd> Copy(const sys::UniqueFd& fd) {
  sys::UniqueFd copy(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return ErrnoError(errno, "copy of a descriptor");
  return copy;
}

class ExecCommand final : public Command {
 public:
  ExecCommand(std::shared_ptr<client::PodShim> shim, uint64_t id, EndedFlag ended, WorkerPool& background)
      : shim_(std::move(shim)), id_(id), ended_(std::move(ended)), background_(background) {}

  ~ExecCommand() override {
    if (*ended_) return;
    background_.Post([shim = shim_, id = id_] { shim->HangUpExec(id, kHangUpGrace).IgnoreError(); }).IgnoreError();
  }

  void EndInput() override {
    if (in && terminal) sys::TypeEndOfFile(in.get());
    in.Reset();
  }

 private:
  const std::shared_ptr<client::PodShim> shim_;
  const uint64_t id_;
  const EndedFlag ended_;
  WorkerPool& background_;
};

class AttachCommand final : public Command {
 public:
  AttachCommand(std::shared_ptr<client::PodShim> shim, uint64_t id, EndedFlag ended, WorkerPool& background)
      : shim_(std::move(shim)), id_(id), ended_(std::move(ended)), background_(background) {}

  ~AttachCommand() override {
    if (*ended_) return;
    background_.Post([shim = shim_, id = id_] { shim->Detach(id).IgnoreError(); }).IgnoreError();
  }

  void EndInput() override {
    if (!in) return;
    in.Reset();
    background_.Post([shim = shim_, id = id_] { shim->EndInput(id).IgnoreError(); }).IgnoreError();
  }

 private:
  const std::shared_ptr<client::PodShim> shim_;
  const uint64_t id_;
  const EndedFlag ended_;
  WorkerPool& background_;
};

void AddTerm(shim::v1::Process& process) {
  const auto& env = process.env();
  if (std::none_of(env.begin(), env.end(), [](const std::string& e) { return absl::StartsWith(e, "TERM="); })) {
    process.add_env("TERM=xterm");
  }
}

// The end of one stream that the plan names; -1 for none.
absl::StatusOr<int> AddPipe(bool wanted, PipeFlow flow, ExecLaunch& launch, sys::UniqueFd& ours) {
  if (!wanted) return -1;
  ASSIGN_OR_RETURN(CommandPipe pipe, MakeCommandPipe(flow, launch.uid, launch.gid));
  Enlarge(pipe);
  ours = std::move(pipe.ours);
  return launch.fds.Own(std::move(pipe.theirs));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Command>> StartExec(ExecLaunch launch, const streaming::ExecRequest& request,
                                                   WorkerPool& background, Backend::Done done) {
  shim::v1::ExecPlan& plan = launch.plan;
  sys::UniqueFd in, out, err;
  if (request.tty) {
    AddTerm(*plan.mutable_process());
    plan.set_stdin_fd(-1);
    plan.set_stdout_fd(-1);
    plan.set_stderr_fd(-1);
  } else {
    ASSIGN_OR_RETURN(int stdin_fd, AddPipe(request.in, PipeFlow::kToCommand, launch, in));
    ASSIGN_OR_RETURN(int stdout_fd, AddPipe(request.out, PipeFlow::kFromCommand, launch, out));
    ASSIGN_OR_RETURN(int stderr_fd, AddPipe(request.err, PipeFlow::kFromCommand, launch, err));
    plan.set_stdin_fd(stdin_fd);
    plan.set_stdout_fd(stdout_fd);
    plan.set_stderr_fd(stderr_fd);
  }
  EndedFlag ended = NotEnded();
  ASSIGN_OR_RETURN(
      client::StartedExec exec,
      launch.shim->Exec(plan, launch.fds.Get(), [ended, done](absl::StatusOr<client::ExecOutcome> outcome) {
        *ended = true;
        if (!outcome.ok()) return done(outcome.status());
        done(CommandEnd{outcome->exit_code});
      }));
  auto command = std::make_unique<ExecCommand>(launch.shim, exec.id, ended, background);
  command->in = std::move(in);
  command->out = std::move(out);
  command->err = std::move(err);
  if (request.tty) {
    // From here on a failure is the end of a command that runs: that is told by `done`.
    if (request.in) command->in = Copy(exec.terminal).value_or(sys::UniqueFd());
    command->out = Copy(exec.terminal).value_or(sys::UniqueFd());
    command->terminal = std::move(exec.terminal);
  }
  return command;
}

absl::StatusOr<std::unique_ptr<Command>> AttachTo(std::shared_ptr<client::PodShim> shim,
                                                  const streaming::AttachRequest& request, WorkerPool& background,
                                                  Backend::Done done) {
  CommandPipe out, err;
  for (auto [wanted, pipe] : {std::pair(request.out, &out), {request.err, &err}}) {
    if (!wanted) continue;
    ASSIGN_OR_RETURN(*pipe, MakeCommandPipe(PipeFlow::kFromCommand, 0, 0));
    Enlarge(*pipe);
  }
  EndedFlag ended = NotEnded();
  ASSIGN_OR_RETURN(client::Attached attached,
                   shim->Attach(ContainerId(request.container_id), out.theirs.get(), err.theirs.get(), request.in,
                                [ended, done](absl::StatusOr<client::AttachOutcome> outcome) {
                                  *ended = true;
                                  if (!outcome.ok()) return done(outcome.status());
                                  if (!outcome->lagged) return done(CommandEnd{});
                                  done(absl::ResourceExhaustedError(
                                      "the client does not keep up with the container's output; `kubectl logs` has "
                                      "all of it"));
                                }));
  auto command = std::make_unique<AttachCommand>(shim, attached.id, ended, background);
  command->out = std::move(out.ours);
  command->err = std::move(err.ours);
  if (!attached.terminal) {
    command->in = std::move(attached.input);
  } else {
    if (attached.takes_input) command->in = Copy(attached.input).value_or(sys::UniqueFd());
    command->terminal = std::move(attached.input);
  }
  return command;
}

}  // namespace berth::pod
