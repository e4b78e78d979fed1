#include "runtime/sys/process_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace berth::sys {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// One of ours that pauses, or has ended and is not reaped.
pid_t Child(bool ends) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  if (ends) _exit(0);
  for (;;) pause();
}

TEST(ProcessStateTest, NamesStateAndWhatItWaitsIn) {
  const pid_t stopped = Child(false), dead = Child(true);
  kill(stopped, SIGSTOP);
  int status;
  waitpid(stopped, &status, WUNTRACED);
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(dead), &info, WEXITED | WNOWAIT);
  EXPECT_THAT(DescribeProcesses({stopped}),
              StartsWith(absl::StrCat("process ", stopped, " (sys_test) in state T (stopped)")));
  EXPECT_THAT(DescribeProcesses({dead}), HasSubstr("in state Z (a zombie that nobody has reaped)"));
  for (pid_t pid : {stopped, dead}) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  EXPECT_EQ(DescribeProcesses({stopped, dead}), "");
  EXPECT_EQ(DescribeProcesses({}), "");
}

TEST(ProcessStateTest, AFewStandForMany) {
  std::vector<pid_t> children;
  for (int i = 0; i < 7; ++i) children.push_back(Child(false));
  EXPECT_THAT(DescribeProcesses(children), HasSubstr("; and 3 more"));
  for (pid_t pid : children) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
}

}  // namespace
}  // namespace berth::sys
