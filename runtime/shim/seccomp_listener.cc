#include "runtime/shim/seccomp_listener.h"

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "runtime/sys/unix_socket.h"

namespace berth::shim {
namespace {

// It is microseconds unless the machine is starved. The shim serves nothing else meanwhile.
constexpr int kTakeTimeoutMs = 5000;

}  // namespace

absl::StatusOr<std::string> CompleteProcessState(absl::string_view state, pid_t pid, pid_t container_pid) {
  if (!absl::ConsumeSuffix(&state, "}}")) return absl::InvalidArgumentError("plan: seccomp_agent_state");
  return absl::StrCat(state, ",\"pid\":", container_pid, "},\"fds\":[\"seccompFd\"],\"pid\":", pid, "}");
}

SeccompListener::SeccompListener(const v1::Process& process, std::vector<sys::UniqueFd>& fds,
                                 container::Spawned& spawned) {
  if (!spawned.mailbox) return;
  agent_ = std::move(fds[static_cast<size_t>(process.seccomp_agent_fd())]);
  state_ = process.seccomp_agent_state();
  mailbox_ = std::move(spawned.mailbox);
}

absl::Status SeccompListener::HandOver(int pidfd, pid_t pid, pid_t container_pid) {
  if (!mailbox_) return absl::InternalError("a seccomp listener that nobody asked for");
  ASSIGN_OR_RETURN(const std::string state, CompleteProcessState(state_, pid, container_pid));
  ASSIGN_OR_RETURN(sys::UniqueFd listener, mailbox_->Take(pidfd, kTakeTimeoutMs));
  mailbox_.reset();
  const int fds[] = {listener.get()};
  absl::Status sent = sys::SendPacket(agent_.get(), state, fds, MSG_DONTWAIT);
  shutdown(agent_.get(), SHUT_RDWR);  // the daemon may still have the socket, but the agent's reading is to end
  agent_.Reset();
  if (sent.ok()) return sent;
  return absl::FailedPreconditionError(absl::StrCat("the agent does not take the listener: ", sent.message()));
}

}  // namespace berth::shim
