// The low-level runtime end to end: zygote, shim and containers are real, the rootfs is a busybox. Needs root.
#include "runtime/client/shim_client.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/synchronization/notification.h"
#include "runtime/client/pod_fixture.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"

namespace berth::client {
namespace {

using shim::v1::ContainerFact;
using shim::v1::ExitRecord;
using testing::HasSubstr;

using ShimClientTest = PodFixture;

TEST_F(ShimClientTest, AContainerRunsLogsAndExits) {
  auto pod = LaunchPod();
  ASSERT_NE(pod, nullptr);
  auto c = Script("c1", "echo out; echo err >&2; hostname; printf rest; exit 7");
  auto created = pod->Create(c.plan, c.fds());
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_GT(created->pid(), 0);
  EXPECT_GT(created->steps_size(), 5);
  auto state = pod->State();
  ASSERT_EQ(state->size(), 1u);
  EXPECT_EQ((*state)[0].state(), shim::v1::CONTAINER_STATE_CREATED);
  EXPECT_EQ(Log("c1"), "");

  auto started = pod->Start(ContainerId("c1"));
  ASSERT_TRUE(started.ok()) << started.status();
  const ExitRecord exit = AwaitExit("c1");
  EXPECT_EQ(exit.exit_code(), 7);
  EXPECT_EQ(exit.signal(), 0);
  EXPECT_FALSE(exit.oom_killed());
  EXPECT_EQ(exit.started_at(), started->started_at());
  EXPECT_GE(exit.finished_at(), exit.started_at());
  EXPECT_THAT(Log("c1"), HasSubstr("stdout F out\n"));
  EXPECT_THAT(Log("c1"), HasSubstr("stderr F err\n"));
  EXPECT_THAT(Log("c1"), HasSubstr("stdout F pod-host\n"));
  EXPECT_THAT(Log("c1"), HasSubstr("stdout P rest\n"));

  auto records = ShimLauncher::ReadExitRecords(state_dir_);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].exit_code(), 7);
  state = pod->State();
  EXPECT_EQ((*state)[0].state(), shim::v1::CONTAINER_STATE_EXITED);
  EXPECT_EQ((*state)[0].exit().exit_code(), 7);
  EXPECT_TRUE(pod->Signal(ContainerId("c1"), SIGTERM, false).ok());
  EXPECT_TRUE(pod->Remove(ContainerId("c1")).ok());
  EXPECT_TRUE(pod->State()->empty());
  EXPECT_TRUE(ShimLauncher::ReadExitRecords(state_dir_).empty());
  EXPECT_EQ(pod->Remove(ContainerId("c1")).code(), absl::StatusCode::kNotFound);
}

TEST_F(ShimClientTest, SignalsReachTheProcess) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.01; done"));
  ASSERT_TRUE(AwaitLog("c", "ready"));
  ASSERT_TRUE(pod->Signal(ContainerId("c"), SIGTERM, false).ok());
  EXPECT_EQ(AwaitExit("c").exit_code(), 3);
  EXPECT_THAT(Log("c"), HasSubstr("got"));
  EXPECT_EQ(pod->Signal(ContainerId("other"), SIGTERM, false).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(pod->Signal(ContainerId("c"), 0, false).code(), absl::StatusCode::kOk);

  Run(*pod, Script("k", "sleep 100"));
  EXPECT_EQ(pod->Signal(ContainerId("k"), 999, false).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(pod->Signal(ContainerId("k"), SIGKILL, true).ok());
  const ExitRecord exit = AwaitExit("k");
  EXPECT_EQ(exit.exit_code(), 137);
  EXPECT_EQ(exit.signal(), SIGKILL);
}

TEST_F(ShimClientTest, ACreatedContainerCanBeKilledAndRemoved) {
  auto pod = LaunchPod();
  auto a = Script("a", "true"), b = Script("b", "true");
  ASSERT_TRUE(pod->Create(a.plan, a.fds()).ok());
  ASSERT_TRUE(pod->Create(b.plan, b.fds()).ok());
  ASSERT_TRUE(pod->Signal(ContainerId("a"), SIGTERM, false).ok());
  const ExitRecord exit = AwaitExit("a");
  EXPECT_EQ(exit.exit_code(), 137);
  EXPECT_EQ(exit.started_at(), 0);
  EXPECT_EQ(pod->Start(ContainerId("a")).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(pod->Remove(ContainerId("b")).ok());
  EXPECT_EQ(pod->State()->size(), 1u);
  EXPECT_FALSE(Exited("b"));
}

TEST_F(ShimClientTest, AProgramThatCannotBeExecutedIsCode128WithTheReason) {
  auto pod = LaunchPod();
  struct Case {
    const char *id, *program, *message;
    absl::StatusCode code;
  };
  for (const Case& c :
       {Case{"none", "nonesuch", "exec: \"nonesuch\": executable file not found in $PATH", absl::StatusCode::kNotFound},
        Case{"path", "/bin/none", "exec: \"/bin/none\": no such file or directory", absl::StatusCode::kNotFound},
        Case{"perm", "/lib/x86_64-linux-gnu", "is a directory", absl::StatusCode::kPermissionDenied}}) {
    auto planned = Program(c.id, {c.program});
    ASSERT_TRUE(pod->Create(planned.plan, planned.fds()).ok());
    auto started = pod->Start(ContainerId(c.id));
    EXPECT_EQ(started.status().code(), c.code) << started.status();
    EXPECT_THAT(std::string(started.status().message()), HasSubstr(c.message));
    const ExitRecord exit = AwaitExit(c.id);
    EXPECT_EQ(exit.exit_code(), 128);
    EXPECT_EQ(exit.started_at(), 0);
    EXPECT_THAT(exit.error(), HasSubstr(c.message));
  }
}

TEST_F(ShimClientTest, AFailedCreateNamesTheStepAndLeavesNothing) {
  auto pod = LaunchPod();
  auto c = Script("bad", "true");
  auto* mount = c.plan.add_mounts();
  mount->set_kind(shim::v1::MountStep::TMPFS);
  mount->set_target("/bin/busybox/below");
  mount->set_fd(-1);
  auto created = pod->Create(c.plan, c.fds());
  EXPECT_FALSE(created.ok());
  EXPECT_THAT(std::string(created.status().message()), HasSubstr("mounts"));
  EXPECT_THAT(std::string(created.status().message()), HasSubstr("/bin/busybox/below"));
  EXPECT_EQ(ErrnoOf(created.status()), ENOTDIR) << created.status();
  EXPECT_TRUE(pod->State()->empty());
  EXPECT_TRUE(ShimLauncher::ReadExitRecords(state_dir_).empty());

  auto cwd = Script("cwd", "true");
  cwd.plan.mutable_process()->set_cwd("/proc/self/fd/3");
  EXPECT_FALSE(pod->Create(cwd.plan, cwd.fds()).ok());
  auto unsafe = Script("../x", "true");
  EXPECT_EQ(pod->Create(unsafe.plan, unsafe.fds()).status().code(), absl::StatusCode::kInvalidArgument);
  auto log = Script("log", "true");
  log.plan.mutable_log()->set_name("missing/x.log");
  EXPECT_EQ(ErrnoOf(pod->Create(log.plan, log.fds()).status()), ENOENT);
  auto good = Script("good", "true");
  EXPECT_TRUE(pod->Create(good.plan, good.fds()).ok());
  EXPECT_EQ(pod->Create(good.plan, good.fds()).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(ShimClientTest, OnlyItsThreeDescriptorsReachTheProgram) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "ls /proc/self/fd; sleep 100"));
  ASSERT_TRUE(AwaitLog("c", "stdout F 3\n"));  // 3 is the directory that ls reads
  EXPECT_EQ(Log("c"), "stdout F 0\nstdout F 1\nstdout F 2\nstdout F 3\n");
  ExecResult exec = Exec(*pod, "c", "ls /proc/self/fd");
  EXPECT_EQ(exec.out, "0\n1\n2\n3\n");
}

TEST_F(ShimClientTest, NothingOfTheHostIsMountedInside) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "cat /proc/self/mounts; echo done"));
  ASSERT_TRUE(AwaitLog("c", "stdout F done"));
  EXPECT_THAT(Log("c"), testing::Not(HasSubstr("cgroup")));
  EXPECT_THAT(Log("c"), testing::Not(HasSubstr("berth ")));  // the template's tmpfs
}

TEST_F(ShimClientTest, LogsAreReopenedAndLoseNothing) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "i=0; while [ $i -lt 2000 ]; do echo line$i; i=$((i+1)); done"));
  ASSERT_TRUE(AwaitLog("c", "line100\n"));
  ASSERT_EQ(rename((logs_ + "/c.log").c_str(), (logs_ + "/old.log").c_str()), 0);
  ASSERT_TRUE(pod->ReopenLog(ContainerId("c"), -1).ok());
  EXPECT_EQ(access((logs_ + "/c.log").c_str(), F_OK), 0);
  AwaitExit("c");
  const std::string all = Log("old") + Log("c");
  for (int i = 0; i < 2000; ++i) ASSERT_THAT(all, HasSubstr(absl::StrCat("F line", i, "\n")));
  EXPECT_EQ(pod->ReopenLog(ContainerId("none"), -1).code(), absl::StatusCode::kNotFound);
}

TEST_F(ShimClientTest, ReopeningManyTimesInAFloodLosesAndRepeatsNothing) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "i=0; while [ $i -lt 40000 ]; do echo $i; i=$((i+1)); done"));
  std::string all;
  auto take = [&] { all += Log("old"); };
  for (int round = 0; round < 30; ++round) {
    ASSERT_EQ(rename((logs_ + "/c.log").c_str(), (logs_ + "/old.log").c_str()), 0);
    ASSERT_TRUE(pod->ReopenLog(ContainerId("c"), -1).ok());
    take();
  }
  AwaitExit("c");
  all += Log("c");
  std::string want;
  for (int i = 0; i < 40000; ++i) absl::StrAppend(&want, "stdout F ", i, "\n");
  EXPECT_EQ(all.size(), want.size());
  EXPECT_TRUE(all == want);
}

TEST_F(ShimClientTest, ALogThatCannotBeReopenedIsWrittenOn) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo two"));
  ASSERT_TRUE(AwaitLog("c", "one\n"));
  ASSERT_EQ(rename(logs_.c_str(), (logs_ + ".away").c_str()), 0);
  ASSERT_TRUE(sys::MakeDirs(logs_, 0700).ok());
  ASSERT_TRUE(sys::MakeDirs(logs_ + "/c.log", 0700).ok());
  auto dir = *sys::Open(logs_, O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(ErrnoOf(pod->ReopenLog(ContainerId("c"), dir.get())), EISDIR);
  ASSERT_EQ(rmdir((logs_ + "/c.log").c_str()), 0);
  EXPECT_EQ(Exec(*pod, "c", "echo >/tmp/go").code(), 0);
  AwaitExit("c");
  EXPECT_EQ(Log("../logs.away/c"), "stdout F one\nstdout F two\n");
  EXPECT_TRUE(pod->ReopenLog(ContainerId("c"), dir.get()).ok());
  EXPECT_EQ(Log("c"), "");
}

TEST_F(ShimClientTest, ThePlanSaysWhereLinesAreSplit) {
  auto pod = LaunchPod();
  auto c = Script("c", "echo 123456789; echo error >&2");
  c.plan.mutable_log()->set_max_line_bytes(4);
  Run(*pod, c);
  AwaitExit("c");
  EXPECT_THAT(Log("c"), HasSubstr("stdout P 1234\nstdout P 5678\nstdout F 9\n"));
  EXPECT_THAT(Log("c"), HasSubstr("stderr P erro\nstderr F r\n"));
  auto most = Script("most", "yes a | head -c 5000000 | tr -d '\\n'; echo");
  most.plan.mutable_log()->set_max_line_bytes(4000000000u);
  Run(*pod, most);
  AwaitExit("most");
  const std::string part = absl::StrCat("stdout P ", std::string(1 << 20, 'a'), "\n");
  EXPECT_TRUE(Log("most") == absl::StrCat(part, part, "stdout F ", std::string(2500000 - (2 << 20), 'a'), "\n"));
}

TEST_F(ShimClientTest, LongLinesAreSplitAndMuchOutputIsWhole) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "yes x | head -c 800000; yes a | head -c 40000 | tr -d '\\n'"));
  AwaitExit("c");
  const std::string log = Log("c");
  size_t lines = 0;
  for (size_t at = 0; (at = log.find("stdout F x\n", at)) != std::string::npos; ++at) ++lines;
  EXPECT_EQ(lines, 400000u);
  EXPECT_TRUE(absl::EndsWith(
      log, "stdout P " + std::string(16384, 'a') + "\nstdout P " + std::string(20000 - 16384, 'a') + "\n"));
}

TEST_F(ShimClientTest, ATerminalIsOneStreamWithoutCarriageReturns) {
  auto pod = LaunchPod();
  auto c = Script("c",
                  "tty=$(readlink /proc/self/fd/0); echo $tty; echo err >&2; stty size; test -c /dev/console && "
                  "echo console");
  c.plan.mutable_process()->set_tty(true);
  Run(*pod, c);
  EXPECT_EQ(AwaitExit("c").exit_code(), 0);
  EXPECT_THAT(Log("c"), HasSubstr("stdout F /dev/pts/0\nstdout F err\n"));
  EXPECT_THAT(Log("c"), HasSubstr("stdout F console\n"));
  EXPECT_THAT(Log("c"), testing::Not(HasSubstr("\r")));
}

TEST_F(ShimClientTest, ExecsReportCodeOutputAndFailure) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  ExecResult exec = Exec(*pod, "c", "echo hello; echo oops >&2; hostname; exit 5");
  ASSERT_TRUE(exec.started.ok()) << exec.started;
  EXPECT_EQ(exec.outcome->exit_code, 5);
  EXPECT_FALSE(exec.outcome->timed_out);
  EXPECT_EQ(exec.out, "hello\npod-host\n");
  EXPECT_EQ(exec.err, "oops\n");
  EXPECT_EQ(Exec(*pod, "c", "kill -9 $$").code(), 137);

  shim::v1::ExecPlan missing = ExecScript("c", "");
  missing.mutable_process()->set_argv(0, "nonesuch");
  auto failed = pod->Exec(missing, {}, [](absl::StatusOr<ExecOutcome>) { ADD_FAILURE() << "it never ran"; });
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(failed.status().message()), HasSubstr("executable file not found in $PATH"));
  EXPECT_EQ(Exec(*pod, "none", "true").started.code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(pod->Signal(ContainerId("c"), SIGKILL, true).ok());
  AwaitExit("c");
  EXPECT_EQ(Exec(*pod, "c", "true").started.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ShimClientTest, AnExecThatTakesTooLongIsKilledWithItsWholeTree) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  const absl::Time begin = absl::Now();
  // One child in its own session, one orphan.
  ExecResult exec = Exec(*pod, "c", "setsid sleep 77 & (sleep 78 &) ; sleep 79", absl::Milliseconds(300));
  ASSERT_TRUE(exec.started.ok()) << exec.started;
  EXPECT_TRUE(exec.outcome->timed_out);
  EXPECT_EQ(exec.outcome->exit_code, 137);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(3));
  const std::string processes = Exec(*pod, "c", "ps").out;
  EXPECT_THAT(processes, HasSubstr("sleep 100"));
  EXPECT_THAT(processes, testing::Not(HasSubstr("sleep 7")));
}

TEST_F(ShimClientTest, AnExecCanBeKilled) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  absl::Mutex mutex;
  std::vector<int> codes;
  auto id = pod->Exec(ExecScript("c", "sleep 50 & wait"), {}, [&](absl::StatusOr<ExecOutcome> outcome) {
    absl::MutexLock lock(&mutex);
    codes.push_back(outcome->exit_code);
  });
  ASSERT_TRUE(id.ok()) << id.status();
  ASSERT_TRUE(pod->KillExec(id->id).ok());
  absl::MutexLock lock(&mutex);
  auto done = [&] { return !codes.empty(); };
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&done), absl::Seconds(5)));
  EXPECT_THAT(codes, testing::ElementsAre(137));
  EXPECT_TRUE(pod->KillExec(id->id).ok());
}

// What ends things must not wait for a shim that hangs: others' hang-ups wait behind it.
TEST_F(ShimClientTest, AShimThatHangsIsToldAllTheSame) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  absl::Notification ended;
  auto exec = pod->Exec(ExecScript("c", "sleep 50"), {}, [&](absl::StatusOr<ExecOutcome>) { ended.Notify(); });
  ASSERT_TRUE(exec.ok()) << exec.status();
  ASSERT_EQ(kill(pod->pid(), SIGSTOP), 0);
  EXPECT_TRUE(pod->HangUpExec(exec->id, absl::Seconds(60)).ok());
  EXPECT_TRUE(pod->KillExec(exec->id).ok());
  EXPECT_TRUE(pod->EndInput(12345).ok());
  EXPECT_TRUE(pod->Detach(12345).ok());
  EXPECT_FALSE(ended.HasBeenNotified());
  ASSERT_EQ(kill(pod->pid(), SIGCONT), 0);
  EXPECT_TRUE(ended.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST_F(ShimClientTest, WhatStartsAfterItsCallerGaveUpIsEnded) {
  LaunchPod();
  call_timeout_ = absl::Milliseconds(300);
  StartLauncher();
  auto pod = launcher_->Reconnect(pod_id_, state_dir_);
  ASSERT_TRUE(pod.ok()) << pod.status();
  Run(**pod, Script("c", "sleep 100"));
  int pipe[2];
  ASSERT_EQ(pipe2(pipe, O_CLOEXEC), 0);
  sys::UniqueFd read_end(pipe[0]), write_end(pipe[1]);
  auto nothing = [](const auto&) { ADD_FAILURE() << "told of what it does not know"; };
  ASSERT_EQ(kill((*pod)->pid(), SIGSTOP), 0);
  EXPECT_TRUE(absl::IsDeadlineExceeded((*pod)->Exec(ExecScript("c", "sleep 77"), {}, nothing).status()));
  EXPECT_TRUE(absl::IsDeadlineExceeded((*pod)->Attach(ContainerId("c"), write_end.get(), -1, false, nothing).status()));
  ASSERT_EQ(kill((*pod)->pid(), SIGCONT), 0);
  write_end.Reset();
  pollfd closed = {read_end.get(), 0, 0};
  EXPECT_EQ(poll(&closed, 1, 10000), 1) << "the attachment goes on";
  bool ended = false;
  for (int i = 0; i < 100 && !ended; ++i) {
    ended = !absl::StrContains(Exec(**pod, "c", "ps").out, "sleep 77");
    if (!ended) usleep(50000);
  }
  EXPECT_TRUE(ended);
}

TEST_F(ShimClientTest, AnExecsBackgroundChildDoesNotDelayItsEnd) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  const absl::Time begin = absl::Now();
  ExecResult exec = Exec(*pod, "c", "sleep 60 & echo started");
  EXPECT_EQ(exec.outcome->exit_code, 0);
  EXPECT_EQ(exec.out, "started\n");
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
  EXPECT_THAT(Exec(*pod, "c", "ps").out, HasSubstr("sleep 60"));
}

TEST_F(ShimClientTest, FiftyExecsLeaveNoDescriptorAndNoProcess) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  Exec(*pod, "c", "true");
  const size_t before = DescriptorsOf(*pod);
  EXPECT_GT(before, 5u);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(Exec(*pod, "c", "true").code(), 0);
  EXPECT_EQ(DescriptorsOf(*pod), before);
  auto children = sys::ReadFile(absl::StrCat("/proc/", pod->pid(), "/task/", pod->pid(), "/children"));
  EXPECT_EQ(std::count(children->begin(), children->end(), ' '), 1) << *children;
}

}  // namespace
}  // namespace berth::client
