#include "runtime/shim/shim.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/container/kill.h"
#include "runtime/shim/pod_userns.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/signal.h"
#include "runtime/sys/unix_socket.h"

namespace berth::shim {
namespace {

std::vector<int> Numbers(const std::vector<sys::UniqueFd>& fds) {
  std::vector<int> out;
  for (const sys::UniqueFd& fd : fds) out.push_back(fd.get());
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Shim>> Shim::Start(ShimStart start) {
  ASSIGN_OR_RETURN(sys::Epoll epoll, sys::Epoll::Create());
  std::unique_ptr<Shim> shim(new Shim(std::move(start), std::move(epoll)));
  RETURN_IF_ERROR(shim->Setup());
  return shim;
}

absl::Status Shim::Setup() {
  const v1::SandboxPlan& plan = start_.plan;
  ASSIGN_OR_RETURN(signals_, sys::BlockIntoFd({SIGCHLD, SIGTERM}));
  // A limit on file sizes that the daemon was started with makes writing a log fail, no more.
  for (int s : {SIGPIPE, SIGHUP, SIGINT, SIGXFSZ}) signal(s, SIG_IGN);
  ASSIGN_OR_RETURN(userns_, MakePodUserNamespace(plan, start_.procfs.get()));
  RETURN_IF_ERROR(SetUpPod(plan, Numbers(start_.fds), start_.procfs.get(), userns_.get()));
  state_dir_ = container::TakeFd(start_.fds, plan.state_dir_fd());
  listener_ = container::TakeFd(start_.fds, plan.listen_fd());
  if (!state_dir_ || !listener_) return absl::InvalidArgumentError("no state directory or no listening socket");
  start_.fds.clear();
  ASSIGN_OR_RETURN(self_, sys::OpenPidfd(getpid()));
  RETURN_IF_ERROR(epoll_.Add(signals_.get(), EPOLLIN, Key(Source::kSignal, 0)));
  RETURN_IF_ERROR(epoll_.Add(listener_.get(), EPOLLIN, Key(Source::kListener, 0)));
  if (plan.shared_pid()) {
    ASSIGN_OR_RETURN(init_, StartPodInit(userns_.get()));
    RETURN_IF_ERROR(epoll_.Add(init_.pidfd.get(), EPOLLIN, Key(Source::kPodInit, 0)));
  }
  const uint64_t first = next_serial_;
  AddDaemon(std::move(start_.daemon));
  Hello({first, 1});
  return absl::OkStatus();
}

void Shim::Run() {
  epoll_event events[32];
  while (!done_) {
    auto count = epoll_.Wait(absl::MakeSpan(events), Timeout());
    if (!count.ok()) break;
    for (size_t i = 0; i < *count && !done_; ++i) {
      const uint64_t key = events[i].data.u64;
      if (Source(key >> 56) == Source::kDaemon) {
        OnDaemon(key & ~(uint64_t{0xff} << 56), events[i].events);
      } else {
        Dispatch(key);
      }
    }
    OnDeadlines();
  }
}

// An object that an earlier event of the same batch removed is not found any more.
void Shim::Dispatch(uint64_t key) {
  const Source source = Source(key >> 56);
  const uint64_t serial = key & ~(uint64_t{0xff} << 56);
  if (source == Source::kListener) return OnListener();
  if (source == Source::kSignal) return OnSignals();
  if (source == Source::kPodInit) {
    // Its namespace dies with it, and all containers in it: they are reaped one by one.
    epoll_.Remove(init_.pidfd.get());
    sys::ReapPidfd(init_.pidfd.get()).IgnoreError();
    init_ = PodInit();
    return MaybeFinish();
  }
  if (source == Source::kExec || source == Source::kExecControl) {
    auto exec = execs_.find(serial);
    if (exec == execs_.end()) return;
    return source == Source::kExec ? OnExecExit(*exec->second) : OnExecControl(*exec->second);
  }
  PodContainer* c = BySerial(serial);
  if (c == nullptr) return;
  if (source == Source::kProcess) return OnExit(*c);
  if (source == Source::kControl) return OnControl(*c);
  OnOutput(*c, source == Source::kOutput ? c->out : c->err);
}

void Shim::OnListener() {
  for (;;) {
    auto socket = sys::AcceptConnection(listener_.get());
    if (!socket.ok()) return;
    auto peer = sys::PeerCredentials(socket->get());
    if (peer.ok() && peer->uid == 0) AddDaemon(*std::move(socket));
  }
}

void Shim::OnSignals() {
  while (int signal = sys::NextSignal(signals_.get())) {
    if (signal == SIGTERM) draining_ = true;
  }
  ReapOrphans();
  MaybeFinish();
}

// Children that nobody here knows: clone helpers, and what was left to us as the subreaper. Those that are known wait
// for their own event, so that their exit status is not lost.
void Shim::ReapOrphans() {
  for (;;) {
    siginfo_t info = {};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    const pid_t pid = info.si_pid;
    if (pid == init_.pid) {
      Dispatch(Key(Source::kPodInit, 0));
      continue;
    }
    auto container = std::find_if(containers_.begin(), containers_.end(),
                                  [&](const auto& c) { return c.second->pid == pid && !c.second->reaped(); });
    auto exec = std::find_if(execs_.begin(), execs_.end(),
                             [&](const auto& e) { return e.second->pid == pid && !e.second->exit_status; });
    if (container != containers_.end()) {
      OnExit(*container->second);
    } else if (exec != execs_.end()) {
      OnExecExit(*exec->second);
    } else {
      waitpid(pid, nullptr, WNOHANG);
    }
  }
}

void Shim::AddDaemon(sys::UniqueFd socket) {
  const uint64_t serial = next_serial_++;
  const int fd = socket.get();
  if (epoll_.Add(fd, EPOLLIN, Key(Source::kDaemon, serial)).ok()) {
    daemons_[serial] = std::make_unique<Connection>(std::move(socket));
  }
}

void Shim::DropDaemon(uint64_t connection) {
  auto it = daemons_.find(connection);
  if (it == daemons_.end()) return;
  epoll_.Remove(it->second->fd());
  daemons_.erase(it);
  DetachAllOf(connection);
  HangUpAllOf(connection);
}

void Shim::OnDaemon(uint64_t connection, uint32_t events) {
  auto it = daemons_.find(connection);
  if (it == daemons_.end()) return;
  if (events & EPOLLOUT) {
    if (!it->second->Flush().ok()) return DropDaemon(connection);
    if (!it->second->wants_write()) {
      epoll_.Change(it->second->fd(), EPOLLIN, Key(Source::kDaemon, connection)).IgnoreError();
    }
  }
  for (;;) {
    it = daemons_.find(connection);
    if (it == daemons_.end() || done_) return;
    auto message = it->second->Read();
    if (!message.ok()) return DropDaemon(connection);
    if (!message->has_value()) return;
    HandleMessage(connection, **std::move(message));
  }
}

void Shim::HandleMessage(uint64_t connection, Message message) {
  v1::Request request;
  if (!request.ParseFromString(message.body) || request.seq() == 0) return DropDaemon(connection);
  HandleRequest({connection, request.seq()}, request, std::move(message.fds));
}

void Shim::HandleRequest(PendingReply to, const v1::Request& request, std::vector<sys::UniqueFd> fds) {
  absl::Status status;
  bool later = false;  // answered already, or when it is done
  switch (request.call_case()) {
    case v1::Request::kHello:
      return Hello(to);
    case v1::Request::kState:
      return State(to);
    case v1::Request::kShutdown:
      return BeginShutdown(to);
    case v1::Request::kCreate:
      status = finishing_ ? absl::UnavailableError("the pod is ending") : Create(to, request.create(), std::move(fds));
      later = status.ok();
      break;
    case v1::Request::kStart:
      status = StartContainer(to, request.start().container_id());
      later = status.ok();
      break;
    case v1::Request::kExec:
      status = finishing_ ? absl::UnavailableError("the pod is ending") : Exec(to, request.exec(), std::move(fds));
      later = status.ok();
      break;
    case v1::Request::kAttach:
      status = Attach(to, request.attach(), std::move(fds));
      later = status.ok();
      break;
    case v1::Request::kDetach:
      Detach(request.detach());
      break;
    case v1::Request::kSignal:
      status = SignalContainer(request.signal());
      break;
    case v1::Request::kKillExec:
      status = KillExec(request.kill_exec());
      break;
    case v1::Request::kReopenLog:
      status = ReopenLog(request.reopen_log(), std::move(fds));
      break;
    case v1::Request::kRemove:
      status = Remove(to, request.remove().container_id(), &later);
      break;
    case v1::Request::CALL_NOT_SET:
      status = absl::UnimplementedError("this shim does not know the request");
  }
  if (!later) Answer(to, status);
}

void Shim::Answer(const PendingReply& to, const absl::Status& status, v1::Reply reply, absl::Span<const int> fds) {
  if (!to.waiting()) return;
  reply.set_seq(to.seq);
  reply.set_code(static_cast<int>(status.code()));
  reply.set_error_number(ErrnoOf(status));
  reply.set_message(std::string(status.message()));
  SendTo(to.connection, reply.SerializeAsString(), fds);
}

void Shim::SendTo(uint64_t connection, const std::string& body, absl::Span<const int> fds) {
  auto it = daemons_.find(connection);
  if (it == daemons_.end()) return;
  if (!it->second->Send(body, fds).ok()) return DropDaemon(connection);
  if (it->second->wants_write()) {
    epoll_.Change(it->second->fd(), EPOLLIN | EPOLLOUT, Key(Source::kDaemon, connection)).IgnoreError();
  }
}

void Shim::Publish(const v1::Reply& event) {
  const std::string body = event.SerializeAsString();
  std::vector<uint64_t> all;
  for (const auto& daemon : daemons_) all.push_back(daemon.first);
  for (uint64_t connection : all) SendTo(connection, body, {});
}

void Shim::Hello(PendingReply to) {
  v1::Reply reply;
  v1::HelloReply& hello = *reply.mutable_hello();
  hello.set_version(kProtocolVersion);
  hello.set_pod_id(start_.plan.pod_id());
  hello.set_shim_pid(getpid());
  hello.set_init_pid(init_.pid);
  std::vector<int> fds = {self_.get()};
  if (userns_) fds.push_back(userns_.get());
  Answer(to, absl::OkStatus(), std::move(reply), fds);
}

container::SpawnEnvironment Shim::SpawnEnv() const {
  const v1::SandboxPlan& plan = start_.plan;
  return {start_.procfs.get(),     init_.pidfd.get(),       userns_.get(),
          ToIdRanges(plan.uids()), ToIdRanges(plan.gids()), start_.open_files};
}

int Shim::Timeout() const {
  uint64_t next = 0;
  auto consider = [&](uint64_t deadline) {
    if (deadline != 0 && (next == 0 || deadline < next)) next = deadline;
  };
  for (const auto& exec : execs_) {
    consider(exec.second->deadline);
    consider(exec.second->kill_at);
  }
  for (const auto& c : containers_) consider(c.second->record_deadline);
  if (next == 0) return -1;
  const uint64_t now = StepTimer::Now();
  return next <= now ? 0 : static_cast<int>(std::min<uint64_t>((next - now) / 1000000 + 1, 3600000));
}

void Shim::OnDeadlines() {
  uint64_t now = 0;
  for (const auto& [id, exec] : execs_) {
    if (exec->deadline == 0 && exec->kill_at == 0) continue;
    if (now == 0) now = StepTimer::Now();
    const bool out_of_time = exec->deadline != 0 && exec->deadline <= now;
    const bool to_be_killed = exec->kill_at != 0 && exec->kill_at <= now;
    if (!out_of_time && !to_be_killed) continue;
    exec->timed_out |= out_of_time;
    exec->deadline = 0;
    KillExecTree(*exec);
  }
  std::vector<PodContainer*> due;
  for (const auto& [id, c] : containers_) {
    if (c->record_deadline == 0) continue;
    if (now == 0) now = StepTimer::Now();
    if (c->record_deadline <= now) due.push_back(c.get());
  }
  for (PodContainer* c : due) Record(*c);
}

}  // namespace berth::shim
