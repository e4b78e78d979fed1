#include "runtime/client/spawn_zygote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>

#include "runtime/shim/wire.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unix_socket.h"
#include "shim/v1/shim.pb.h"

namespace berth::client {
namespace {

constexpr int kReadyTimeoutMs = 10000;

class SpawnSetup {
 public:
  explicit SpawnSetup(int socket) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions_, 0, 1);
    posix_spawn_file_actions_adddup2(&actions_, 0, 2);
    posix_spawn_file_actions_adddup2(&actions_, socket, 3);
    posix_spawnattr_init(&attributes_);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  }
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

absl::Status AwaitReady(int socket) {
  pollfd p = {socket, POLLIN, 0};
  int n;
  while ((n = poll(&p, 1, kReadyTimeoutMs)) < 0 && errno == EINTR) {
  }
  if (n <= 0) return absl::DeadlineExceededError("the zygote does not answer");
  ASSIGN_OR_RETURN(sys::Packet packet, sys::RecvPacket(socket, shim::kMaxPacketBytes, MSG_DONTWAIT));
  ASSIGN_OR_RETURN(auto message, shim::MessageReader().Add(std::move(packet)));
  shim::v1::Reply reply;
  if (!message || !reply.ParseFromString(message->body))
    return absl::InternalError("the zygote speaks another language");
  return absl::Status(static_cast<absl::StatusCode>(reply.code()), reply.message());
}

}  // namespace

absl::StatusOr<ZygoteProcess> SpawnZygote(int image) {
  ASSIGN_OR_RETURN(auto pair, sys::SeqpacketPair());
  // dup2 onto itself would leave it close-on-exec.
  if (pair.second.get() == 3) pair.second.Reset(fcntl(3, F_DUPFD_CLOEXEC, 4));
  ZygoteProcess zygote;
  const SpawnSetup setup(pair.second.get());
  char name[] = "berth-shim", command[] = "zygote";
  char* argv[] = {name, command, nullptr};
  char* envp[] = {nullptr, nullptr};
#ifdef BERTH_FAULTS
  std::string faults = absl::StrCat("BERTH_FAULTS=", getenv("BERTH_FAULTS") ? getenv("BERTH_FAULTS") : "");
  if (fault::control != nullptr) envp[0] = faults.data();
#endif
  const int err = posix_spawn(&zygote.pid, absl::StrCat("/proc/self/fd/", image).c_str(), setup.actions(),
                              setup.attributes(), argv, envp);
  if (err != 0) return absl::UnavailableError(ErrnoError(err, "start the zygote").message());
  auto pidfd = sys::OpenPidfd(zygote.pid);
  pair.second.Reset();
  absl::Status ready = pidfd.ok() ? AwaitReady(pair.first.get()) : pidfd.status();
  if (!ready.ok()) {
    kill(zygote.pid, SIGKILL);  // our child, not reaped yet
    waitpid(zygote.pid, nullptr, 0);
    return absl::UnavailableError(absl::StrCat("start the zygote: ", ready.message()));
  }
  zygote.pidfd = *std::move(pidfd);
  zygote.socket = std::move(pair.first);
  return zygote;
}

}  // namespace berth::client
