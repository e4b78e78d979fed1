#include "runtime/sys/signal.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/sys/file.h"

namespace berth::sys {
namespace {

constexpr unsigned long kIgnore[4] = {1, 0, 0, 0};

// The field of /proc/self/status as the kernel prints it: a bit for each signal.
std::string Bits(absl::string_view field) {
  auto text = ReadFile("/proc/self/status");
  if (!text.ok()) return "";
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (absl::ConsumePrefix(&line, field)) return std::string(absl::StripPrefix(line, ":\t"));
  }
  return "";
}

// In a child, whose signals may be spoiled: 0 if `body` found everything right.
template <typename Body>
int InChild(Body body) {
  pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

TEST(ResetSignalsTest, NothingStaysIgnoredOrBlocked) {
  EXPECT_EQ(InChild([] {
              // 32 and 33 are glibc's own.
              for (int s : {SIGTERM, SIGPIPE, SIGQUIT, 32, 33, 34, 64}) {
                if (syscall(SYS_rt_sigaction, s, kIgnore, nullptr, 8) != 0) return 1;
              }
              sigset_t all;
              sigfillset(&all);
              sigprocmask(SIG_BLOCK, &all, nullptr);
              if (Bits("SigIgn") == "0000000000000000" || Bits("SigBlk") == "0000000000000000") return 2;
              ResetSignals();
              return Bits("SigIgn") == "0000000000000000" && Bits("SigBlk") == "0000000000000000" ? 0 : 3;
            }),
            0);
}

TEST(ResetSignalsTest, HandlersAreGone) {
  EXPECT_EQ(InChild([] {
              signal(SIGUSR1, [](int) {});
              if (Bits("SigCgt").find_first_not_of('0') == std::string::npos) return 1;
              ResetSignals();
              raise(SIGUSR1);
              return 2;
            }),
            128);
}

TEST(BlockIntoFdTest, DeliversOnceAndThenNothing) {
  EXPECT_EQ(InChild([] {
              auto fd = BlockIntoFd({SIGUSR1, SIGUSR2});
              if (!fd.ok() || NextSignal(fd->get()) != 0) return 1;
              raise(SIGUSR2);
              return NextSignal(fd->get()) == SIGUSR2 && NextSignal(fd->get()) == 0 ? 0 : 2;
            }),
            0);
}

}  // namespace
}  // namespace berth::sys
