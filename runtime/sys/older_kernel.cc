#include "runtime/sys/older_kernel.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {
namespace {

// Strings cannot be seen by a filter: a call that names one is put to the parent.
std::vector<sock_filter> Program(const std::vector<MissingCall>& missing) {
  const auto load = [](size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
  };
  std::vector<sock_filter> out;
  for (const MissingCall& call : missing) {
    const uint32_t verdict =
        call.text.empty() ? SECCOMP_RET_ERRNO | static_cast<uint32_t>(call.error) : SECCOMP_RET_USER_NOTIF;
    const bool looks = call.equals.has_value() || call.bits != 0;
    out.push_back(load(offsetof(seccomp_data, nr)));
    out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call.number), 0, uint8_t(looks ? 3 : 1)));
    if (looks) {
      out.push_back(load(offsetof(seccomp_data, args) + sizeof(uint64_t) * static_cast<size_t>(call.arg)));
      const auto test = static_cast<uint16_t>(BPF_JMP | BPF_K | (call.equals ? BPF_JEQ : BPF_JSET));
      out.push_back(BPF_JUMP(test, call.equals.value_or(call.bits), 0, 1));
    }
    out.push_back(BPF_STMT(BPF_RET | BPF_K, verdict));
  }
  out.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  return out;
}

[[noreturn]] void RunChild(std::vector<sock_filter> program, int to_parent, int from_parent,
                           const std::function<std::string()>& body) {
  alarm(60);
  sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const auto listener =
      static_cast<int32_t>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
  char taken;
  if (listener < 0 || write(to_parent, &listener, sizeof listener) != sizeof listener ||
      read(from_parent, &taken, 1) != 1) {
    _exit(1);
  }
  close(listener);
  WriteAll(to_parent, body(), "pipe").IgnoreError();
  _exit(0);
}

bool Fits(const MissingCall& call, const seccomp_notif& request) {
  if (call.text.empty() || request.data.nr != call.number) return false;
  char text[256] = {};
  const iovec local = {text, call.text.size() + 1};
  const iovec remote = {reinterpret_cast<void*>(request.data.args[call.arg]), call.text.size() + 1};
  if (call.text.size() >= sizeof text) return false;
  const auto pid = static_cast<pid_t>(request.pid);
  return process_vm_readv(pid, &local, 1, &remote, 1, 0) == ssize_t(local.iov_len) && call.text == text;
}

void AnswerOne(int listener, const std::vector<MissingCall>& missing) {
  seccomp_notif request = {};
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) return;  // the child was killed meanwhile
  seccomp_notif_resp answer = {};
  answer.id = request.id;
  auto call = std::find_if(missing.begin(), missing.end(), [&](const MissingCall& m) { return Fits(m, request); });
  if (call != missing.end()) {
    answer.error = -call->error;
  } else {
    answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  }
  ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

// Serves the child until its pipe ends; what came over it.
std::string Serve(int pipe, int listener, const std::vector<MissingCall>& missing) {
  std::string report;
  pollfd events[] = {{pipe, POLLIN, 0}, {listener, POLLIN, 0}};
  char buffer[4096];
  for (;;) {
    if (poll(events, 2, -1) < 0 && errno != EINTR) return report;
    if (events[1].revents & POLLIN) AnswerOne(listener, missing);
    if (events[1].revents & POLLHUP) events[1].fd = -1;
    if (events[0].revents == 0) continue;
    const ssize_t n = read(pipe, buffer, sizeof buffer);
    if (n <= 0) return report;
    report.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace

absl::StatusOr<std::string> OnOlderKernel(const std::vector<MissingCall>& missing,
                                          const std::function<std::string()>& body) {
  int up[2], down[2];
  if (pipe2(up, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
  UniqueFd from_child(up[0]), to_parent(up[1]);
  if (pipe2(down, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
  UniqueFd from_parent(down[0]), to_child(down[1]);
  const pid_t child = fork();  // and not a bare clone: the C library has locks to set right
  if (child < 0) return ErrnoError(errno, "fork");
  if (child == 0) {
    from_child.Reset();
    to_child.Reset();
    RunChild(Program(missing), to_parent.get(), from_parent.get(), body);
  }
  to_parent.Reset();
  const auto pidfd = OpenPidfd(child);
  std::string report;
  int32_t number = -1;
  absl::Status status;
  if (read(from_child.get(), &number, sizeof number) == sizeof number) {
    const UniqueFd listener(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.ok() ? pidfd->get() : -1, number, 0)));
    if (!listener) status = ErrnoError(errno, "pidfd_getfd");
    if (listener && write(to_child.get(), "", 1) == 1) report = Serve(from_child.get(), listener.get(), missing);
  } else {
    status = absl::UnavailableError("a seccomp filter with a listener cannot be had here");
  }
  to_child.Reset();
  int exit_status = 0;
  waitpid(child, &exit_status, 0);
  RETURN_IF_ERROR(status);
  if (exit_status != 0) return absl::AbortedError(absl::StrCat("the child ended with wait status ", exit_status));
  return report;
}

}  // namespace berth::sys
