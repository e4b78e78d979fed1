#include "runtime/client/shim_connection.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unix_socket.h"

namespace berth::client {
namespace {

constexpr absl::Duration kShutdownTimeout = absl::Seconds(10);

// Whether `fd` got ready before the deadline.
bool Await(int fd, short events, const Deadline& deadline) {
  for (;;) {
    pollfd p = {fd, events, 0};
    const int n = poll(&p, 1, deadline.Milliseconds());
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

absl::Status StatusOf(const shim::v1::Reply& reply) {
  if (reply.code() == 0) return absl::OkStatus();
  absl::Status status(static_cast<absl::StatusCode>(reply.code()), reply.message());
  if (reply.error_number() != 0) {
    ErrnoError(reply.error_number(), "").ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
      status.SetPayload(type, payload);
    });
  }
  return status;
}

absl::Status Gone() { return absl::UnavailableError("the pod's shim is gone"); }

}  // namespace

absl::StatusOr<std::shared_ptr<ShimConnection>> ShimConnection::Open(std::shared_ptr<Reactor> reactor,
                                                                     ShimEvents events, PodId id, sys::UniqueFd socket,
                                                                     const Deadline& deadline,
                                                                     absl::Duration call_timeout) {
  std::shared_ptr<ShimConnection> shim(
      new ShimConnection(std::move(reactor), std::move(events), std::move(id), std::move(socket), call_timeout));
  RETURN_IF_ERROR(shim->ReadHello(deadline));
  // The handler keeps the object: an event can arrive while its last user lets go of it.
  std::weak_ptr<ShimConnection> weak = shim;
  ASSIGN_OR_RETURN(uint64_t key, shim->reactor_->Add(shim->socket_.get(), [weak] {
    if (auto self = weak.lock()) self->OnReadable();
  }));
  shim->watch_ = key;
  return shim;
}

ShimConnection::~ShimConnection() {
  reactor_->Remove(watch_, socket_.get());
  Close(Gone());
}

absl::Status ShimConnection::ReadHello(const Deadline& deadline) {
  for (;;) {
    if (!Await(socket_.get(), POLLIN, deadline)) return absl::DeadlineExceededError("the shim does not answer");
    auto packet = sys::RecvPacket(socket_.get(), shim::kMaxPacketBytes, MSG_DONTWAIT);
    if (packet.status().code() == absl::StatusCode::kOutOfRange) return Gone();
    RETURN_IF_ERROR(packet, "hello");
    ASSIGN_OR_RETURN(auto message, reader_.Add(*std::move(packet)));
    if (!message) continue;
    shim::v1::Reply reply;
    if (!reply.ParseFromString(message->body)) return absl::InternalError("the shim's hello cannot be read");
    if (reply.seq() != 1) continue;  // an event, of which State tells too
    RETURN_IF_ERROR(StatusOf(reply));
    if (reply.hello().pod_id() != id_.str()) {
      return absl::FailedPreconditionError(absl::StrCat("the shim is of pod ", reply.hello().pod_id()));
    }
    if (message->fds.empty()) return absl::InternalError("the shim did not identify itself");
    pid_ = reply.hello().shim_pid();
    pidfd_ = std::move(message->fds[0]);
    if (message->fds.size() > 1) userns_ = std::move(message->fds[1]);
    return absl::OkStatus();
  }
}

absl::Status ShimConnection::Send(const shim::v1::Request& request, absl::Span<const int> fds,
                                  const Deadline& deadline) {
  ASSIGN_OR_RETURN(std::vector<shim::OutPacket> packets, shim::EncodeMessage(request.SerializeAsString(), fds));
  absl::MutexLock lock(&send_mutex_);
  for (size_t i = 0; i < packets.size();) {
    absl::Status sent = sys::SendPacket(socket_.get(), packets[i].data, packets[i].fds, MSG_DONTWAIT);
    if (sent.ok()) {
      ++i;
    } else if (ErrnoOf(sent) != EAGAIN) {
      return absl::IsUnavailable(sent) ? Gone() : sent;
    } else if (!Await(socket_.get(), POLLOUT, deadline)) {
      // Half a message cannot be taken back.
      if (i > 0) shutdown(socket_.get(), SHUT_RDWR);
      return absl::DeadlineExceededError("the shim does not read");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ShimConnection::Answer> ShimConnection::Call(shim::v1::Request request, absl::Span<const int> fds,
                                                            absl::Duration timeout, Ended ended) {
  const Deadline deadline = Deadline::In(timeout);
  uint64_t seq;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return Gone();
    seq = next_seq_++;
    pending_[seq].ended = std::move(ended);
  }
  request.set_seq(seq);
  absl::Status sent = Send(request, fds, deadline);
  absl::MutexLock lock(&mutex_);
  if (!sent.ok()) {
    pending_.erase(seq);
    return sent;
  }
  auto answered = [this, seq]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto it = pending_.find(seq);
    return closed_ || it == pending_.end() || it->second.answer.has_value();
  };
  const bool in_time = answered_.Await(mutex_, answered, deadline);
  auto it = pending_.find(seq);
  if (it == pending_.end()) return Gone();
  std::optional<Answer> answer = std::move(it->second.answer);
  pending_.erase(it);
  if (answer) {
    RETURN_IF_ERROR(StatusOf(answer->reply));
    return *std::move(answer);
  }
  if (!in_time) return absl::DeadlineExceededError("the shim did not answer in time");
  return Gone();
}

void ShimConnection::OnReadable() {
  for (;;) {
    auto packet = sys::RecvPacket(socket_.get(), shim::kMaxPacketBytes, MSG_DONTWAIT);
    if (packet.status().code() == absl::StatusCode::kUnavailable) return;
    auto message = packet.ok() ? reader_.Add(*std::move(packet)) : packet.status();
    if (!message.ok()) return OnLost();
    if (!message->has_value()) continue;
    Answer answer;
    if (!answer.reply.ParseFromString((*message)->body)) return OnLost();
    answer.fds = std::move((*message)->fds);
    OnAnswer(std::move(answer));
  }
}

void ShimConnection::OnAnswer(Answer answer) {
  const shim::v1::Reply& reply = answer.reply;
  if (reply.seq() != 0) {
    absl::ReleasableMutexLock lock(&mutex_);
    auto it = pending_.find(reply.seq());
    if (it == pending_.end()) {
      lock.Release();
      return OnLateAnswer(reply);
    }
    if (reply.code() == 0 && it->second.ended) {
      open_[reply.has_attach() ? reply.attach().attach_id() : reply.exec().exec_id()] = std::move(it->second.ended);
    }
    it->second.answer = std::move(answer);
    answered_.NotifyAll();
    return;
  }
  if (reply.has_exited() && events_.on_exit) events_.on_exit(id_, reply.exited());
  if (reply.has_exec_done()) OnEnded(reply.exec_done().exec_id(), reply);
  if (reply.has_attach_done()) OnEnded(reply.attach_done().attach_id(), reply);
}

// Nobody waits for it any more: what was started is ended. An attempt only, since this thread must not wait.
void ShimConnection::OnLateAnswer(const shim::v1::Reply& reply) {
  shim::v1::Request request;
  if (reply.has_exec()) {
    request.mutable_kill_exec()->set_exec_id(reply.exec().exec_id());
  } else if (reply.has_attach()) {
    request.mutable_detach()->set_attach_id(reply.attach().attach_id());
  } else {
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    request.set_seq(next_seq_++);
  }
  if (!send_mutex_.TryLock()) return;
  shim::SendMessage(socket_.get(), request.SerializeAsString(), {}, MSG_DONTWAIT).IgnoreError();
  send_mutex_.Unlock();
}

void ShimConnection::OnEnded(uint64_t id, shim::v1::Reply event) {
  Ended ended;
  {
    absl::MutexLock lock(&mutex_);
    auto it = open_.find(id);
    if (it == open_.end()) return;  // another daemon's
    ended = std::move(it->second);
    open_.erase(it);
  }
  ended(std::move(event));
}

void ShimConnection::Close(const absl::Status& why) {
  std::map<uint64_t, Ended> open;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    open.swap(open_);
  }
  answered_.NotifyAll();
  for (auto& [id, ended] : open) ended(why);
}

void ShimConnection::OnLost() {
  reactor_->Remove(watch_, socket_.get());
  Close(Gone());
  {
    absl::MutexLock lock(&mutex_);
    if (shutting_down_) return;
  }
  // A connection ends when the shim does. Should it be alive, it gave us up because we did not read, or speaks
  // nonsense: a pod that cannot be managed is ended.
  if (!sys::WaitPidfdExited(pidfd_.get(), 100)) sys::SignalPidfd(pidfd_.get(), SIGKILL).IgnoreError();
  if (events_.on_shim_gone) events_.on_shim_gone(id_);
}

void ShimConnection::Abandon() {
  reactor_->Remove(watch_, socket_.get());
  Close(absl::UnavailableError("the launcher has ended"));
}

absl::StatusOr<sys::UniqueFd> ShimConnection::OpenNetns() {
  ASSIGN_OR_RETURN(sys::UniqueFd netns, sys::Open(absl::StrCat("/proc/", pid_, "/ns/net"), O_RDONLY),
                   "network namespace of the pod");
  // The number was the shim's while it was looked up, if the shim lives now.
  if (sys::PidfdExited(pidfd_.get())) return Gone();
  return netns;
}

absl::StatusOr<sys::UniqueFd> ShimConnection::OpenUserns() {
  if (!userns_) return sys::UniqueFd();
  sys::UniqueFd copy(fcntl(userns_.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return ErrnoError(errno, "user namespace of the pod");
  return copy;
}

absl::Status ShimConnection::Ask(shim::v1::Request request) {
  return Call(std::move(request), {}, call_timeout_).status();
}

absl::Status ShimConnection::Tell(shim::v1::Request request) {
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return Gone();
    request.set_seq(next_seq_++);
  }
  return Send(request, {}, Deadline::In(call_timeout_));
}

absl::StatusOr<shim::v1::CreateReply> ShimConnection::Create(const shim::v1::ContainerPlan& plan,
                                                             absl::Span<const int> fds) {
  shim::v1::Request request;
  *request.mutable_create() = plan;
  ASSIGN_OR_RETURN(Answer answer, Call(std::move(request), fds, call_timeout_));
  return std::move(*answer.reply.mutable_create());
}

absl::StatusOr<shim::v1::StartReply> ShimConnection::Start(const ContainerId& id) {
  shim::v1::Request request;
  request.mutable_start()->set_container_id(id.str());
  ASSIGN_OR_RETURN(Answer answer, Call(std::move(request), {}, call_timeout_));
  return std::move(*answer.reply.mutable_start());
}

absl::Status ShimConnection::Signal(const ContainerId& id, int signal, bool all) {
  shim::v1::Request request;
  request.mutable_signal()->set_container_id(id.str());
  request.mutable_signal()->set_signal(signal);
  request.mutable_signal()->set_all(all);
  return Ask(std::move(request));
}

absl::StatusOr<StartedExec> ShimConnection::Exec(const shim::v1::ExecPlan& plan, absl::Span<const int> fds,
                                                 std::function<void(absl::StatusOr<ExecOutcome>)> done) {
  shim::v1::Request request;
  *request.mutable_exec() = plan;
  auto ended = [done = std::move(done)](absl::StatusOr<shim::v1::Reply> event) {
    if (!event.ok()) return done(event.status());
    done(ExecOutcome{event->exec_done().exit_code(), event->exec_done().timed_out()});
  };
  ASSIGN_OR_RETURN(Answer answer, Call(std::move(request), fds, call_timeout_, std::move(ended)));
  StartedExec started{answer.reply.exec().exec_id(), {}};
  if (!answer.fds.empty()) started.terminal = std::move(answer.fds[0]);
  return started;
}

absl::Status ShimConnection::KillExec(uint64_t exec_id) {
  shim::v1::Request request;
  request.mutable_kill_exec()->set_exec_id(exec_id);
  return Tell(std::move(request));
}

absl::Status ShimConnection::HangUpExec(uint64_t exec_id, absl::Duration grace) {
  shim::v1::Request request;
  request.mutable_kill_exec()->set_exec_id(exec_id);
  request.mutable_kill_exec()->set_signal(SIGHUP);
  request.mutable_kill_exec()->set_kill_after_ns(static_cast<uint64_t>(absl::ToInt64Nanoseconds(grace)));
  return Tell(std::move(request));
}

absl::StatusOr<Attached> ShimConnection::Attach(const ContainerId& id, int stdout_pipe, int stderr_pipe, bool input,
                                                std::function<void(absl::StatusOr<AttachOutcome>)> done) {
  shim::v1::Request request;
  shim::v1::Attach& attach = *request.mutable_attach();
  attach.set_container_id(id.str());
  attach.set_stdin(input);
  std::vector<int> fds;
  auto add = [&fds](int pipe) {
    if (pipe < 0) return -1;
    fds.push_back(pipe);
    return static_cast<int>(fds.size()) - 1;
  };
  attach.set_stdout_fd(add(stdout_pipe));
  attach.set_stderr_fd(add(stderr_pipe));
  auto ended = [done = std::move(done)](absl::StatusOr<shim::v1::Reply> event) {
    if (!event.ok()) return done(event.status());
    done(AttachOutcome{event->attach_done().lagged()});
  };
  ASSIGN_OR_RETURN(Answer answer, Call(std::move(request), fds, call_timeout_, std::move(ended)));
  const shim::v1::AttachReply& reply = answer.reply.attach();
  Attached attached{reply.attach_id(), {}, reply.terminal(), reply.input()};
  if (!answer.fds.empty()) attached.input = std::move(answer.fds[0]);
  return attached;
}

absl::Status ShimConnection::EndInput(uint64_t attach_id) {
  shim::v1::Request request;
  request.mutable_detach()->set_attach_id(attach_id);
  request.mutable_detach()->set_input_only(true);
  return Tell(std::move(request));
}

absl::Status ShimConnection::Detach(uint64_t attach_id) {
  shim::v1::Request request;
  request.mutable_detach()->set_attach_id(attach_id);
  return Tell(std::move(request));
}

absl::Status ShimConnection::ReopenLog(const ContainerId& id, int directory) {
  shim::v1::Request request;
  request.mutable_reopen_log()->set_container_id(id.str());
  std::vector<int> fds;
  if (directory >= 0) {
    request.mutable_reopen_log()->set_dir_fd(0);
    fds.push_back(directory);
  }
  return Call(std::move(request), fds, call_timeout_).status();
}

absl::Status ShimConnection::Remove(const ContainerId& id) {
  shim::v1::Request request;
  request.mutable_remove()->set_container_id(id.str());
  return Ask(std::move(request));
}

absl::StatusOr<std::vector<shim::v1::ContainerFact>> ShimConnection::State(absl::Duration patience) {
  shim::v1::Request request;
  request.mutable_state();
  ASSIGN_OR_RETURN(Answer answer, Call(std::move(request), {}, patience));
  auto& facts = *answer.reply.mutable_state()->mutable_containers();
  return std::vector<shim::v1::ContainerFact>(facts.begin(), facts.end());
}

absl::Status ShimConnection::Shutdown() {
  const Deadline deadline = Deadline::In(kShutdownTimeout);
  {
    absl::MutexLock lock(&mutex_);
    shutting_down_ = true;
  }
  shim::v1::Request request;
  request.mutable_shutdown();
  Call(std::move(request), {}, kShutdownTimeout).status().IgnoreError();
  if (sys::WaitPidfdExited(pidfd_.get(), deadline.Milliseconds())) return absl::OkStatus();
  // Its containers get SIGKILL from their parent's death.
  sys::SignalPidfd(pidfd_.get(), SIGKILL).IgnoreError();
  if (sys::WaitPidfdExited(pidfd_.get(), 5000)) return absl::OkStatus();
  return absl::DeadlineExceededError("the shim cannot be killed");
}

}  // namespace berth::client
