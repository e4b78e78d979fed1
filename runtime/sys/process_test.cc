#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <cerrno>

#include "runtime/sys/clone.h"
#include "runtime/sys/epoll.h"
#include "runtime/sys/fd_table.h"
#include "runtime/sys/file.h"
#include "runtime/sys/memfd.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/procfs.h"
#include "runtime/sys/signal.h"

namespace berth::sys {
namespace {

// A child that runs `body` and exits with what it returns.
template <typename Body>
CloneResult Child(Body body) {
  auto child = Clone(0);
  EXPECT_TRUE(child.ok()) << child.status();
  if (child.ok() && child->pid == 0) _exit(body());
  return *std::move(child);
}

TEST(Pidfd, ExitCodesAndSignalsAreToldApart) {
  CloneResult exits = Child([] { return 42; });
  ASSERT_TRUE(WaitPidfdExited(exits.pidfd.get(), 5000));
  auto status = ReapPidfd(exits.pidfd.get());
  ASSERT_TRUE(status.ok() && status->has_value());
  EXPECT_EQ((*status)->code, 42);
  EXPECT_EQ((*status)->signal, 0);
  EXPECT_EQ(ErrnoOf(ReapPidfd(exits.pidfd.get()).status()), ECHILD);
  EXPECT_EQ(SignalPidfd(exits.pidfd.get(), SIGTERM).code(), absl::StatusCode::kNotFound);

  CloneResult hangs = Child([] { return pause(); });
  EXPECT_FALSE(PidfdExited(hangs.pidfd.get()));
  EXPECT_FALSE(ReapPidfd(hangs.pidfd.get())->has_value());
  ASSERT_TRUE(SignalPidfd(hangs.pidfd.get(), SIGKILL).ok());
  ASSERT_TRUE(WaitPidfdExited(hangs.pidfd.get(), 5000));
  status = ReapPidfd(hangs.pidfd.get());
  EXPECT_EQ((*status)->code, 137);
  EXPECT_EQ((*status)->signal, SIGKILL);
}

TEST(FdTable, OnlyWhatIsNamedStaysOpen) {
  auto keep = Open("/dev/null", O_RDWR);
  auto lose = Open("/dev/null", O_RDWR);
  CloneResult child = Child([&] {
    if (!CloseAllExcept({2, keep->get(), -1, 2}).ok()) return 1;
    if (fcntl(keep->get(), F_GETFD) < 0 || fcntl(2, F_GETFD) < 0) return 2;
    for (int fd : {0, 1, lose->get()}) {
      if (fcntl(fd, F_GETFD) >= 0) return 3;
    }
    return 0;
  });
  ASSERT_TRUE(WaitPidfdExited(child.pidfd.get(), 5000));
  EXPECT_EQ((*ReapPidfd(child.pidfd.get()))->code, 0);
}

TEST(Memfd, SealedFilesCannotChange) {
  auto data = SealedData("content", "test");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_TRUE(IsSealed(data->get()));
  EXPECT_EQ(pwrite(data->get(), "x", 1, 0), -1);
  EXPECT_NE(ftruncate(data->get(), 0), 0);
  auto self = Open("/proc/self/exe", O_RDONLY);
  auto copy = SealedExecutable(self->get(), "copy");
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_TRUE(IsSealed(copy->get()));
  EXPECT_EQ(StatFd(copy->get(), "copy")->st_size, StatFd(self->get(), "self")->st_size);
  EXPECT_FALSE(IsSealed(self->get()));
}

TEST(Signal, BlockedSignalsAreReadFromTheDescriptor) {
  CloneResult child = Child([] {
    auto fd = BlockIntoFd({SIGUSR1});
    if (!fd.ok() || NextSignal(fd->get()) != 0) return 1;
    raise(SIGUSR1);
    if (NextSignal(fd->get()) != SIGUSR1) return 2;
    ResetSignals();
    raise(SIGUSR1);
    return 3;
  });
  ASSERT_TRUE(WaitPidfdExited(child.pidfd.get(), 5000));
  EXPECT_EQ((*ReapPidfd(child.pidfd.get()))->signal, SIGUSR1);
}

TEST(Epoll, KeysComeBack) {
  auto epoll = Epoll::Create();
  int pipes[2];
  ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
  UniqueFd read_end(pipes[0]), write_end(pipes[1]);
  ASSERT_TRUE(epoll->Add(read_end.get(), EPOLLIN, 77).ok());
  epoll_event events[4];
  EXPECT_EQ(*epoll->Wait(absl::MakeSpan(events), 0), 0u);
  ASSERT_TRUE(WriteAll(write_end.get(), "x", "pipe").ok());
  ASSERT_EQ(*epoll->Wait(absl::MakeSpan(events), 1000), 1u);
  EXPECT_EQ(events[0].data.u64, 77u);
  epoll->Remove(read_end.get());
  EXPECT_EQ(*epoll->Wait(absl::MakeSpan(events), 0), 0u);
}

TEST(Procfs, OwnProcfsKnowsChildrenAndRefusesToLeave) {
  auto procfs = OpenDetachedProcfs();
  if (!procfs.ok()) GTEST_SKIP() << "mounting procfs needs root: " << procfs.status();
  EXPECT_EQ(*SelfIn(procfs->get()), getpid());
  CloneResult child = Child([] { return pause(); });
  EXPECT_EQ(ChildrenOf(procfs->get(), getpid()), std::vector<pid_t>{child.pid});
  ProcessStat stat;
  ASSERT_TRUE(ReadStat(procfs->get(), child.pid, &stat));
  EXPECT_EQ(stat.parent, getpid());
  EXPECT_FALSE(WriteProc(procfs->get(), "self/oom_score_adj", "0").ok());  // a symlink
  EXPECT_FALSE(WriteProc(procfs->get(), "../tmp/x", "0").ok());
  EXPECT_TRUE(SetOomScoreAdj(procfs->get(), 1000).ok());
  SignalPidfd(child.pidfd.get(), SIGKILL).IgnoreError();
  WaitPidfdExited(child.pidfd.get(), 5000);
  ReapPidfd(child.pidfd.get()).IgnoreError();
  EXPECT_FALSE(ReadStat(procfs->get(), child.pid, &stat));
  EXPECT_TRUE(ChildrenOf(procfs->get(), child.pid).empty());
}

}  // namespace
}  // namespace berth::sys
