#include "runtime/container/kill.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/container/oom.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/file.h"
#include "runtime/sys/older_kernel.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/procfs.h"

namespace berth::container {
namespace {

TEST(Oom, TheCounterIsFoundInBothFormats) {
  EXPECT_EQ(ParseOomKills("low 0\nhigh 0\nmax 4\noom 2\noom_kill 3\noom_group_kill 0\n"), 3u);
  EXPECT_EQ(ParseOomKills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1u);
  EXPECT_EQ(ParseOomKills("oom_kill x\n"), 0u);
  EXPECT_EQ(ParseOomKills(""), 0u);
  EXPECT_EQ(ReadOomKills(-1), 0u);
}

// A leader, a child of it, and a grandchild that left the session and whose parent has exited.
[[noreturn]] void Family(int ready) {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  setsid();
  if (fork() == 0) {
    if (fork() == 0) {
      setsid();
      if (write(ready, "g", 1) != 1) _exit(1);
      for (;;) pause();
    }
    _exit(0);
  }
  if (fork() == 0) {
    if (write(ready, "c", 1) != 1) _exit(1);
    for (;;) pause();
  }
  for (;;) pause();
}

TEST(Kill, TheTreeGoesWithWhatDetachedItself) {
  auto procfs = sys::OpenDetachedProcfs();
  if (!procfs.ok()) GTEST_SKIP() << "mounting procfs needs root: " << procfs.status();
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  auto leader = sys::Clone(0);
  if (leader->pid == 0) Family(pipes[1]);
  close(pipes[1]);
  char byte;
  ASSERT_EQ(read(pipes[0], &byte, 1), 1);
  ASSERT_EQ(read(pipes[0], &byte, 1), 1);
  KillTree(procfs->get(), leader->pid);
  ASSERT_TRUE(sys::WaitPidfdExited(leader->pidfd.get(), 5000));
  EXPECT_EQ((*sys::ReapPidfd(leader->pidfd.get()))->signal, SIGKILL);
  EXPECT_EQ(read(pipes[0], &byte, 1), 0);  // nobody holds the write end any more
  close(pipes[0]);
}

// FALLBACK(linux<5.14) of runtime/cgroup/kill.cc
TEST(Kill, MembersAreSignalledWhereThereIsNoCgroupKill) {
  const std::string path = absl::StrCat("/sys/fs/cgroup/unified/berth-kill-test-", getpid());
  if (mkdir(path.c_str(), 0755) != 0) GTEST_SKIP() << "no cgroup v2 at /sys/fs/cgroup/unified, or no root";
  CgroupFds cgroup;
  auto dir = sys::Open(path, O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(dir.ok()) << dir.status();
  cgroup.v2_dir = dir->get();
  auto member = sys::Clone(0, dir->get());
  ASSERT_TRUE(member.ok()) << member.status();
  if (member->pid == 0) {
    for (;;) pause();
  }
  auto report = sys::OnOlderKernel({{SYS_openat, ENOENT, 1, {}, 0, "cgroup.kill"}},
                                   [&] { return KillCgroup(cgroup).ToString(); });
  EXPECT_EQ(report.value_or(""), "OK") << report.status();
  ASSERT_TRUE(sys::WaitPidfdExited(member->pidfd.get(), 5000));
  EXPECT_EQ((*sys::ReapPidfd(member->pidfd.get()))->signal, SIGKILL);
  EXPECT_EQ(rmdir(path.c_str()), 0);
}

TEST(Kill, ACgroupThatNobodyNamedCannotBeKilled) { EXPECT_FALSE(CanKillCgroup(CgroupFds())); }

}  // namespace
}  // namespace berth::container
