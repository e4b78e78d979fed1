#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "runtime/client/reactor.h"
#include "runtime/client/shim_client.h"
#include "runtime/client/shim_connection.h"
#include "runtime/client/spawn_zygote.h"
#include "runtime/sys/file.h"
#include "runtime/sys/memfd.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unix_socket.h"

namespace berth::client {
namespace {

constexpr char kSocketName[] = "shim.sock";
constexpr char kRecordSuffix[] = ".exit";
constexpr size_t kMaxRecordBytes = 64 * 1024;

class Launcher final : public ShimLauncher {
 public:
  Launcher(Options options, sys::UniqueFd image, std::shared_ptr<Reactor> reactor)
      : options_(std::move(options)), image_(std::move(image)), reactor_(std::move(reactor)) {}

  ~Launcher() override {
    std::vector<std::weak_ptr<ShimConnection>> shims;
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
      shims.swap(shims_);
    }
    reactor_->Stop();
    for (const auto& weak : shims) {
      if (auto shim = weak.lock()) shim->Abandon();
    }
    absl::MutexLock lock(&mutex_);
    if (zygote_.pid == 0) return;
    zygote_.socket.Reset();
    sys::SignalPidfd(zygote_.pidfd.get(), SIGKILL).IgnoreError();
    waitpid(zygote_.pid, nullptr, 0);
  }

  // On the reactor's thread, which the zygote's life is bound to.
  absl::Status StartZygote() ABSL_LOCKS_EXCLUDED(mutex_) {
    auto zygote = SpawnZygote(image_.get());
    absl::MutexLock lock(&mutex_);
    starting_ = false;
    zygote_changed_.NotifyAll();
    RETURN_IF_ERROR(zygote);
    zygote_ = *std::move(zygote);
    ++generation_;
    auto watch = reactor_->Add(zygote_.pidfd.get(), [this] { OnZygoteExit(); });
    RETURN_IF_ERROR(watch);
    zygote_watch_ = *watch;
    return absl::OkStatus();
  }

  // A first zygote, for Start.
  absl::Status Begin() {
    absl::Status status;
    absl::Mutex mutex;
    bool done = false;
    {
      absl::MutexLock lock(&mutex_);
      starting_ = true;
    }
    reactor_->Post([&] {
      absl::Status started = StartZygote();
      absl::MutexLock lock(&mutex);
      status = started;
      done = true;
    });
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&done));
    return status;
  }

  absl::StatusOr<std::shared_ptr<PodShim>> Launch(shim::v1::SandboxPlan plan, absl::string_view state_dir,
                                                  absl::Span<const int> fds) override {
    ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(state_dir, O_RDONLY | O_DIRECTORY), "state directory");
    ASSIGN_OR_RETURN(sys::UniqueFd listener, sys::ListenSeqpacket(dir.get(), kSocketName), "shim socket");
    std::vector<int> all(fds.begin(), fds.end());
    plan.set_state_dir_fd(static_cast<int>(all.size()));
    all.push_back(dir.get());
    plan.set_listen_fd(static_cast<int>(all.size()));
    all.push_back(listener.get());
    const std::string body = plan.SerializeAsString();
    const Deadline deadline = Deadline::In(options_.call_timeout);
    absl::Status last;
    // A zygote that dies takes with it what it had not read yet; its successor is asked once more.
    for (int attempt = 0; attempt < 2; ++attempt) {
      ASSIGN_OR_RETURN(uint64_t generation, AwaitZygote(deadline));
      auto shim = LaunchOnce(PodId(plan.pod_id()), body, all, deadline);
      if (shim.ok()) {
        Remember(*shim);
        return std::shared_ptr<PodShim>(*std::move(shim));
      }
      last = shim.status();
      if (!absl::IsUnavailable(last) || !ZygoteDied(generation)) break;
    }
    // The socket stays, for whoever wants to end a shim that was started and is not known here.
    return Annotate(last, "start the pod's shim");
  }

  absl::StatusOr<std::shared_ptr<PodShim>> Reconnect(const PodId& id, absl::string_view state_dir,
                                                     absl::Duration patience) override {
    auto dir = sys::Open(state_dir, O_RDONLY | O_DIRECTORY);
    if (ErrnoOf(dir.status()) == ENOENT) return absl::NotFoundError("no state directory");
    RETURN_IF_ERROR(dir, "state directory");
    ASSIGN_OR_RETURN(sys::UniqueFd socket, sys::ConnectSeqpacket(dir->get(), kSocketName));
    shim::v1::Request hello;
    hello.set_seq(1);
    hello.mutable_hello()->set_version(shim::kProtocolVersion);
    absl::Status sent = shim::SendMessage(socket.get(), hello.SerializeAsString(), {}, MSG_DONTWAIT);
    auto shim = sent.ok() ? ShimConnection::Open(reactor_, options_.events, id, std::move(socket),
                                                 Deadline::In(patience), options_.call_timeout)
                          : sent;
    if (absl::IsUnavailable(shim.status())) return absl::NotFoundError("the pod's shim is gone");
    RETURN_IF_ERROR(shim, "connect to the pod's shim");
    Remember(*shim);
    return std::shared_ptr<PodShim>(*std::move(shim));
  }

 private:
  // The number of the zygote that lives. Waits while one is being started.
  absl::StatusOr<uint64_t> AwaitZygote(const Deadline& deadline) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (zygote_.pid == 0 && !starting_) {
      starting_ = true;
      reactor_->Post([this] { StartZygote().IgnoreError(); });
    }
    auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return zygote_.pid != 0 || !starting_; };
    if (!zygote_changed_.Await(mutex_, settled, deadline)) {
      return absl::DeadlineExceededError("the zygote does not start");
    }
    if (zygote_.pid == 0) return absl::UnavailableError("the zygote cannot be started");
    return generation_;
  }

  // Its sockets are closed a moment before it counts as dead.
  bool ZygoteDied(uint64_t generation) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    auto died = [this, generation]()
                    ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return generation_ != generation || zygote_.pid == 0; };
    return zygote_changed_.Await(mutex_, died, Deadline::In(absl::Milliseconds(200)));
  }

  absl::StatusOr<std::shared_ptr<ShimConnection>> LaunchOnce(const PodId& id, const std::string& body,
                                                             const std::vector<int>& fds, const Deadline& deadline)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    ASSIGN_OR_RETURN(auto pair, sys::SeqpacketPair());
    std::vector<int> all = fds;
    all.push_back(pair.second.get());
    {
      absl::MutexLock lock(&mutex_);
      RETURN_IF_ERROR(shim::SendMessage(zygote_.socket.get(), body, all), "zygote");
    }
    pair.second.Reset();
    return ShimConnection::Open(reactor_, options_.events, id, std::move(pair.first), deadline, options_.call_timeout);
  }

  void OnZygoteExit() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    reactor_->Remove(zygote_watch_, zygote_.pidfd.get());
    waitpid(zygote_.pid, nullptr, 0);
    zygote_ = ZygoteProcess();  // the next launch starts another
    zygote_changed_.NotifyAll();
  }

  void Remember(const std::shared_ptr<ShimConnection>& shim) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    shims_.erase(std::remove_if(shims_.begin(), shims_.end(), [](const auto& s) { return s.expired(); }), shims_.end());
    shims_.push_back(shim);
  }

  const Options options_;
  const sys::UniqueFd image_;
  const std::shared_ptr<Reactor> reactor_;
  absl::Mutex mutex_;
  TimedCondition zygote_changed_;
  ZygoteProcess zygote_ ABSL_GUARDED_BY(mutex_);
  uint64_t zygote_watch_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  bool starting_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<ShimConnection>> shims_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<ShimLauncher>> ShimLauncher::Start(Options options) {
  ASSIGN_OR_RETURN(sys::UniqueFd binary, sys::Open(options.shim_binary, O_RDONLY), "shim");
  ASSIGN_OR_RETURN(sys::UniqueFd image, sys::SealedExecutable(binary.get(), "berth-shim"), "shim");
  ASSIGN_OR_RETURN(std::shared_ptr<Reactor> reactor, Reactor::Start());
  const std::string binary_path = options.shim_binary;
  auto launcher = std::make_unique<Launcher>(std::move(options), std::move(image), std::move(reactor));
  RETURN_IF_ERROR(launcher->Begin(), "'", binary_path, "'");
  return std::unique_ptr<ShimLauncher>(std::move(launcher));
}

std::vector<shim::v1::ExitRecord> ShimLauncher::ReadExitRecords(absl::string_view state_dir) {
  std::vector<shim::v1::ExitRecord> records;
  auto dir = sys::Open(state_dir, O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return records;
  auto names = sys::ListDir(dir->get());
  if (!names.ok()) return records;
  for (const std::string& name : *names) {
    if (!absl::EndsWith(name, kRecordSuffix) || !IsSafeName(name)) continue;
    auto file = sys::OpenBeneath(dir->get(), name, O_RDONLY | O_NONBLOCK);
    auto bytes = file.ok() ? sys::ReadFd(file->get(), kMaxRecordBytes, name) : file.status();
    shim::v1::ExitRecord record;
    // A record that cannot be read says nothing of the others.
    if (bytes.ok() && record.ParseFromString(*bytes) && !record.container_id().empty()) {
      records.push_back(std::move(record));
    }
  }
  return records;
}

}  // namespace berth::client
