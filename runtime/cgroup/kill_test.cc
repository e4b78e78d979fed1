// Cgroups that do their best not to be killed, on the real trees of this machine.
#include "runtime/cgroup/kill.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"

namespace berth::cgroup {
namespace {

using testing::HasSubstr;

constexpr char kFreezer[] = "/sys/fs/cgroup/freezer";

// A cgroup directory with one beneath it, in one tree.
class KillTest : public testing::Test {
 protected:
  void SetUpIn(absl::string_view tree) {
    name_ = absl::StrCat("/berth-kill-test-", getpid());
    top_ = absl::StrCat(tree, name_);
    if (mkdir(top_.c_str(), 0755) != 0) GTEST_SKIP() << "no cgroups at " << tree << ", or no root";
    inner_ = top_ + "/inner";
    ASSERT_EQ(mkdir(inner_.c_str(), 0755), 0);
    dir_ = *sys::Open(top_, O_RDONLY | O_DIRECTORY);
  }
  void TearDown() override {
    if (!dir_) return;
    Thaw(dir_.get());
    for (pid_t pid : children_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    for (const std::string& dir : {inner_, top_}) {
      for (int i = 0; i < 1000 && rmdir(dir.c_str()) != 0 && errno == EBUSY; ++i) absl::SleepFor(absl::Milliseconds(5));
      EXPECT_NE(access(dir.c_str(), F_OK), 0) << dir;
    }
  }
  static void Write(const std::string& path, const std::string& text) {
    auto file = sys::Open(path, O_WRONLY);
    ASSERT_TRUE(file.ok() && sys::WriteAll(file->get(), text, path).ok()) << path;
  }
  // A process in `dir` that runs `body`, which does not return.
  sys::UniqueFd Start(const std::string& dir, void (*body)()) {
    auto child = sys::Clone(0);
    EXPECT_TRUE(child.ok());
    if (child->pid == 0) {
      Write(dir + "/cgroup.procs", "0");
      body();
      _exit(1);
    }
    children_.push_back(child->pid);
    while (!Has(dir, child->pid)) absl::SleepFor(absl::Milliseconds(1));
    return std::move(child->pidfd);
  }
  static bool Has(const std::string& dir, pid_t pid) {
    return absl::StrContains("\n" + sys::ReadFile(dir + "/cgroup.procs").value_or(""), absl::StrCat("\n", pid, "\n"));
  }
  absl::Status KillAll() {
    std::set<pid_t> signalled;
    return KillAllIn(dir_.get(), signalled);
  }
  static bool Dead(const sys::UniqueFd& pidfd) { return sys::WaitPidfdExited(pidfd.get(), 5000); }

  std::string name_, top_, inner_;
  sys::UniqueFd dir_;
  std::vector<pid_t> children_;
};

void Sleeps() {
  for (;;) pause();
}
void Ignores() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, nullptr);
  for (int s = 1; s < SIGRTMAX; ++s) signal(s, SIG_IGN);
  Sleeps();
}
// Two hundred at a time, each of which forks again and ends.
void Multiplies() {
  signal(SIGCHLD, SIG_IGN);
  setpriority(PRIO_PROCESS, 0, 10);
  for (int i = 0; i < 200; ++i) {
    if (fork() == 0) {
      for (;;) {
        if (fork() > 0) _exit(0);
      }
    }
  }
  Sleeps();
}

class V1KillTest : public KillTest {
 protected:
  void SetUp() override { SetUpIn(kFreezer); }
};

TEST_F(V1KillTest, WhatBlocksEverySignalAndWhatIsStopped) {
  auto ignores = Start(top_, Ignores), stopped = Start(inner_, Sleeps);
  sys::SignalPidfd(stopped.get(), SIGSTOP).IgnoreError();
  ASSERT_TRUE(KillAll().ok());
  EXPECT_TRUE(Dead(ignores) && Dead(stopped));
}

TEST_F(V1KillTest, WhatSomebodyFroze) {
  auto outer = Start(top_, Sleeps), inner = Start(inner_, Sleeps);
  Write(top_ + "/freezer.state", "FROZEN");
  ASSERT_TRUE(KillAll().ok());
  EXPECT_TRUE(Dead(outer) && Dead(inner));
}

// Thawing the cgroup does not thaw one beneath it that was frozen for itself.
TEST_F(V1KillTest, WhatAContainerFrozeBeneathItself) {
  auto outer = Start(top_, Sleeps), inner = Start(inner_, Sleeps);
  Write(inner_ + "/freezer.state", "FROZEN");
  ASSERT_TRUE(KillAll().ok());
  EXPECT_TRUE(Dead(outer) && Dead(inner));
}

TEST_F(V1KillTest, WhatMultiplies) {
  auto bomb = Start(inner_, Multiplies);
  while (ReadPids(dir_.get())->size() < 150) absl::SleepFor(absl::Milliseconds(1));
  ASSERT_TRUE(KillAll().ok());
  EXPECT_TRUE(Dead(bomb));
  for (int i = 0; i < 500 && !ReadPids(dir_.get())->empty(); ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(ReadPids(dir_.get())->size(), 0u);
}

TEST_F(V1KillTest, OneFrozenFromAboveIsReported) {
  auto inner = Start(inner_, Sleeps);
  Write(top_ + "/freezer.state", "FROZEN");
  sys::UniqueFd dir = *sys::Open(inner_, O_RDONLY | O_DIRECTORY);
  std::set<pid_t> signalled;
  absl::Status killed = KillAllIn(dir.get(), signalled);
  EXPECT_EQ(killed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(killed.message()), HasSubstr("above it is frozen"));
  Write(top_ + "/freezer.state", "THAWED");
  EXPECT_TRUE(Dead(inner));  // it has the signal
}

TEST_F(V1KillTest, WhatLeftTheFreezerIsStillInAnotherTree) {
  auto hierarchy = Hierarchy::Probe();
  if (!hierarchy.ok() || (*hierarchy)->version() != Version::kV1) GTEST_SKIP() << "this machine has no cgroup v1";
  const std::string pids = absl::StrCat("/sys/fs/cgroup/pids", name_);
  ASSERT_EQ(mkdir(pids.c_str(), 0755), 0);
  auto left = Start(pids, Sleeps);
  EXPECT_TRUE((*hierarchy)->Kill(name_).ok());
  EXPECT_TRUE(Dead(left));
  for (pid_t pid : children_) waitpid(pid, nullptr, 0);
  for (int i = 0; i < 1000 && rmdir(pids.c_str()) != 0; ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_NE(access(pids.c_str(), F_OK), 0);
}

class V2KillTest : public KillTest {
 protected:
  void SetUp() override {
    const char* whole = "/sys/fs/cgroup/cgroup.controllers";
    SetUpIn(access(whole, F_OK) == 0 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified");
  }
};

TEST_F(V2KillTest, WhatSomebodyFroze) {
  auto outer = Start(top_, Ignores), inner = Start(inner_, Sleeps);
  for (const std::string& dir : {top_, inner_}) Write(dir + "/cgroup.freeze", "1");
  ASSERT_TRUE(KillAll().ok());
  EXPECT_TRUE(Dead(outer) && Dead(inner));
}

TEST_F(V2KillTest, WhatMultiplies) {
  auto bomb = Start(inner_, Multiplies);
  while (ReadPids(dir_.get())->size() < 150) absl::SleepFor(absl::Milliseconds(1));
  ASSERT_TRUE(KillAll().ok());
  EXPECT_TRUE(Dead(bomb));
}

TEST(KillAllInTest, ARemovedCgroupHasNobodyToKill) {
  const std::string path = absl::StrCat(kFreezer, "/berth-kill-test-gone-", getpid());
  if (mkdir(path.c_str(), 0755) != 0) GTEST_SKIP() << "no freezer of cgroup v1, or no root";
  sys::UniqueFd dir = *sys::Open(path, O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(rmdir(path.c_str()), 0);
  std::set<pid_t> signalled;
  EXPECT_TRUE(KillAllIn(dir.get(), signalled).ok());
}

TEST(ParsePids, PidsOfACgroup) {
  EXPECT_THAT(ParsePids("12\n7\n"), testing::ElementsAre(12, 7));
  EXPECT_THAT(ParsePids(""), testing::ElementsAre());
  EXPECT_THAT(ParsePids("0\n-3\nx\n99999999999\n5"), testing::ElementsAre(5));
}

}  // namespace
}  // namespace berth::cgroup
