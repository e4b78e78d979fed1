#include "runtime/sys/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <utility>

#include "runtime/base/deadline.h"
#include "runtime/base/id.h"
#include "runtime/sys/family.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {
namespace {

constexpr char kMarkName[] = "BERTH_SPAWN";
constexpr int kReapMilliseconds = 2000;

// Descriptors meant for the child stay above 2, so that putting one on 0, 1 or 2 never overwrites another.
absl::StatusOr<UniqueFd> AboveStdio(UniqueFd fd) {
  if (fd.get() > STDERR_FILENO) return fd;
  UniqueFd moved(fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!moved) return ErrnoError(errno, "fcntl F_DUPFD_CLOEXEC");
  return moved;
}

// A file in memory cannot block the writer, however late the program reads.
absl::StatusOr<UniqueFd> InputFile(absl::string_view input) {
  UniqueFd made(memfd_create("stdin", MFD_CLOEXEC));
  if (!made) return ErrnoError(errno, "memfd_create");
  ASSIGN_OR_RETURN(UniqueFd fd, AboveStdio(std::move(made)));
  RETURN_IF_ERROR(WriteAll(fd.get(), input, "stdin"));
  if (lseek(fd.get(), 0, SEEK_SET) != 0) return ErrnoError(errno, "lseek stdin");
  return fd;
}

struct Pipe {
  UniqueFd read, write;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
  Pipe pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
  ASSIGN_OR_RETURN(pipe.write, AboveStdio(std::move(pipe.write)));
  if (fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "fcntl O_NONBLOCK");
  return pipe;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

class Attributes {
 public:
  Attributes() {
    posix_spawnattr_init(&attr_);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr_, &none);
    posix_spawnattr_setsigdefault(&attr_, &all);
    posix_spawnattr_setpgroup(&attr_, 0);
    posix_spawnattr_setflags(&attr_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~Attributes() { posix_spawnattr_destroy(&attr_); }
  const posix_spawnattr_t* get() const { return &attr_; }

 private:
  posix_spawnattr_t attr_;
};

class FileActions {
 public:
  FileActions(const std::string& cwd, int in, int out, int err) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addchdir_np(&actions_, cwd.c_str());
    posix_spawn_file_actions_adddup2(&actions_, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, err, STDERR_FILENO);
    // Also what a library opened without close-on-exec.
    posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
  }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// Children that did not die in time. Whoever has come back meanwhile is reaped with the next.
class StuckChildren {
 public:
  void Add(pid_t pid) {
    std::lock_guard<std::mutex> lock(mutex_);
    pids_.push_back(pid);
  }
  void Reap() {
    std::lock_guard<std::mutex> lock(mutex_);
    pids_.erase(
        std::remove_if(pids_.begin(), pids_.end(), [](pid_t pid) { return waitpid(pid, nullptr, WNOHANG) != 0; }),
        pids_.end());
  }

 private:
  std::mutex mutex_;
  std::vector<pid_t> pids_;
} stuck;

// The child until it is reaped. Leaving the scope early ends it first, with all that it started.
class Child {
 public:
  Child(pid_t pid, std::string mark) : pid_(pid), mark_(std::move(mark)) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    KillFamily(pid_, mark_);
    kill(-pid_, SIGKILL);  // in case /proc could not be read
    auto pidfd = OpenPidfd(pid_);
    if (pidfd.ok() && !WaitPidfdExited(pidfd->get(), kReapMilliseconds)) {
      // In the kernel, on a disk or a server that does not answer.
      stuck.Add(std::exchange(pid_, 0));
      return;
    }
    (void)Reap();
  }
  absl::StatusOr<int> Reap() {
    stuck.Reap();
    const pid_t pid = std::exchange(pid_, 0);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
      if (errno != EINTR) return ErrnoError(errno, "waitpid");
    }
    return status;
  }

 private:
  pid_t pid_;
  const std::string mark_;
};

// Takes what is there now. False at the end of the stream.
absl::StatusOr<bool> Drain(int fd, std::string* into, size_t limit, bool limit_is_error) {
  char buf[16384];
  for (;;) {
    ssize_t n = read(fd, buf, sizeof buf);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0) return ErrnoError(errno, "read output");
    if (n == 0) return false;
    size_t take = std::min(static_cast<size_t>(n), limit - into->size());
    into->append(buf, take);
    if (take < static_cast<size_t>(n) && limit_is_error) {
      return absl::ResourceExhaustedError(absl::StrCat("output is larger than ", limit, " bytes"));
    }
  }
}

// Reads both streams until the child has ended. A grandchild that keeps the pipes open is not waited for.
absl::Status Collect(const SpawnRequest& request, int pidfd, Pipe out, Pipe err, SpawnResult* result) {
  const Deadline deadline = Deadline::In(request.timeout);
  for (bool ended = false; !ended;) {
    struct pollfd fds[4] = {
        {pidfd, POLLIN, 0}, {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}, {request.cancel, POLLIN, 0}};
    if (deadline.Passed()) {
      return absl::DeadlineExceededError(absl::StrCat("did not end within ", absl::FormatDuration(request.timeout)));
    }
    if (poll(fds, 4, deadline.Milliseconds()) < 0 && errno != EINTR) return ErrnoError(errno, "poll");
    if ((fds[3].revents & POLLIN) != 0) return absl::CancelledError("was not waited for");
    ended = (fds[0].revents & POLLIN) != 0;  // looked at before the last read, so nothing that it wrote is missed
    if (out.read) {
      ASSIGN_OR_RETURN(bool open, Drain(out.read.get(), &result->out, request.stdout_limit, !request.cut_stdout));
      if (!open) out.read.Reset();
    }
    if (err.read) {
      ASSIGN_OR_RETURN(bool open, Drain(err.read.get(), &result->err, request.stderr_limit, false));
      if (!open) err.read.Reset();
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SpawnResult> Spawn(const SpawnRequest& request) {
  ASSIGN_OR_RETURN(UniqueFd in, InputFile(request.input));
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(Pipe err, MakePipe());
  Attributes attributes;
  FileActions actions(request.cwd, in.get(), out.write.get(), err.write.get());
  const std::string mark = absl::StrCat(kMarkName, "=", RandomHexId().substr(0, 32));
  std::vector<std::string> environment = request.env;
  environment.push_back(mark);
  std::vector<char*> argv = Pointers(request.argv), env = Pointers(environment);
  pid_t pid = -1;
  int code = posix_spawn(&pid, request.path.c_str(), actions.get(), attributes.get(), argv.data(), env.data());
  if (code != 0) return ErrnoError(code, absl::StrCat("run '", request.path, "'"));

  Child child(pid, mark);
  out.write.Reset();
  err.write.Reset();
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return ErrnoError(errno, "pidfd_open");
  SpawnResult result;
  RETURN_IF_ERROR(Collect(request, pidfd.get(), std::move(out), std::move(err), &result), "'", request.path, "'");
  ASSIGN_OR_RETURN(int status, child.Reap());
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

absl::StatusOr<IdleChild> IdleChild::Start(const std::string& path, const std::vector<std::string>& argv) {
  ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
  ASSIGN_OR_RETURN(UniqueFd input, AboveStdio(std::move(pipe.read)));
  if (fcntl(input.get(), F_SETFL, 0) != 0) return ErrnoError(errno, "fcntl F_SETFL");
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return ErrnoError(errno, "open '/dev/null'");
  ASSIGN_OR_RETURN(null, AboveStdio(std::move(null)));
  const FileActions actions("/", input.get(), null.get(), null.get());
  const Attributes attributes;
  char* no_environment[] = {nullptr};
  pid_t pid = 0;
  const int err =
      posix_spawn(&pid, path.c_str(), actions.get(), attributes.get(), Pointers(argv).data(), no_environment);
  if (err != 0) return ErrnoError(err, absl::StrCat("run '", path, "'"));
  return IdleChild(pid, std::move(pipe.write));
}

IdleChild::~IdleChild() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
}

}  // namespace berth::sys
