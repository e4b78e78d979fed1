// Execs with a terminal of the container's own, and how execs are hung up. Needs root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "runtime/client/pod_fixture.h"
#include "runtime/sys/mount.h"
#include "runtime/sys/terminal.h"

namespace berth::client {
namespace {

using testing::HasSubstr;
using testing::Not;

class ShimTerminalTest : public PodFixture {
 protected:
  struct Running {
    StartedExec exec;
    absl::StatusOr<ExecOutcome> outcome = absl::UnknownError("not done");
    bool done = false;
    absl::Mutex mutex;

    int AwaitCode() {
      absl::MutexLock lock(&mutex);
      EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&done), absl::Seconds(15))) << "it does not end";
      EXPECT_TRUE(outcome.ok()) << outcome.status();
      return outcome.ok() ? outcome->exit_code : -1;
    }
    void Type(absl::string_view text) {
      EXPECT_EQ(write(exec.terminal.get(), text.data(), text.size()), ssize_t(text.size()));
    }
    // What the terminal shows, until it holds `text` or is hung up.
    std::string ReadUntil(absl::string_view text) {
      std::string seen;
      char byte;
      while (!absl::StrContains(seen, text)) {
        pollfd p = {exec.terminal.get(), POLLIN, 0};
        if (poll(&p, 1, 10000) != 1 || read(exec.terminal.get(), &byte, 1) != 1) break;
        seen += byte;
      }
      return seen;
    }
  };

  absl::Status Start(PodShim& pod, Running& running, const std::string& script, bool tty = true, uint32_t uid = 0) {
    shim::v1::ExecPlan plan = ExecScript("c", script);
    plan.mutable_process()->set_tty(tty);
    plan.mutable_process()->set_uid(uid);
    auto started = pod.Exec(plan, {}, [&running](absl::StatusOr<ExecOutcome> outcome) {
      absl::MutexLock lock(&running.mutex);
      EXPECT_FALSE(running.done) << "told more than once";
      running.outcome = std::move(outcome);
      running.done = true;
    });
    if (started.ok()) running.exec = *std::move(started);
    return started.status();
  }
};

TEST_F(ShimTerminalTest, AnExecHasATerminalOfTheContainersOwn) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  Running r;
  ASSERT_TRUE(
      Start(*pod, r, "busybox tty; read x; stty size; stat -c '%u %g' $(busybox tty); echo oops >&2; exit 7", true, 33)
          .ok());
  ASSERT_TRUE(r.exec.terminal.valid());
  EXPECT_NE(fcntl(r.exec.terminal.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(r.ReadUntil("\n"), "/dev/pts/0\r\n");
  const winsize size = {40, 132, 0, 0};
  ASSERT_EQ(ioctl(r.exec.terminal.get(), TIOCSWINSZ, &size), 0);
  r.Type("\n");
  EXPECT_EQ(r.ReadUntil("oops\r\n"), "\r\n40 132\r\n33 5\r\noops\r\n");
  EXPECT_EQ(r.AwaitCode(), 7);
  EXPECT_EQ(r.ReadUntil("?"), "") << "it is hung up";
  // A second one beside a container's own.
  Running other;
  ASSERT_TRUE(Start(*pod, other, "ls -l /proc/self/fd").ok());
  EXPECT_EQ(other.AwaitCode(), 0);
  EXPECT_THAT(other.ReadUntil("?"), Not(HasSubstr("ptmx")));
}

TEST_F(ShimTerminalTest, ControlCharactersReachTheForegroundJob) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  Running r;
  ASSERT_TRUE(Start(*pod, r, "trap 'echo int' INT; echo ready; cat; cat; echo over").ok());
  r.ReadUntil("ready\r\n");
  r.Type("x\n");
  EXPECT_EQ(r.ReadUntil("x\r\nx\r\n"), "x\r\nx\r\n");  // the first cat runs
  r.Type("\x03");
  EXPECT_THAT(r.ReadUntil("int\r\n"), HasSubstr("int\r\n"));
  sys::TypeEndOfFile(r.exec.terminal.get());
  EXPECT_THAT(r.ReadUntil("over\r\n"), HasSubstr("over\r\n"));
  EXPECT_EQ(r.AwaitCode(), 0);
}

TEST_F(ShimTerminalTest, ItIsHungUpWhenTheMasterCloses) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  Running r;
  ASSERT_TRUE(Start(*pod, r, "trap 'exit 3' HUP; echo ready; while :; do sleep 0.02; done").ok());
  r.ReadUntil("ready");
  r.exec.terminal.Reset();
  EXPECT_EQ(r.AwaitCode(), 3);
}

TEST_F(ShimTerminalTest, ManyLeaveNoDescriptorAndNoTerminal) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  const size_t before = DescriptorsOf(*pod);
  for (int i = 0; i < 30; ++i) {
    Running r;
    ASSERT_TRUE(Start(*pod, r, i % 2 == 0 ? "true" : "read x").ok());
    if (i % 2 == 1) r.exec.terminal.Reset();
    r.AwaitCode();
  }
  EXPECT_EQ(DescriptorsOf(*pod), before);
  EXPECT_EQ(Exec(*pod, "c", "ls /dev/pts").out, "ptmx\n");
}

TEST_F(ShimTerminalTest, InAUserNamespaceToo) {
  shim::v1::SandboxPlan sandbox = Sandbox();
  for (auto* mappings : {sandbox.mutable_uids(), sandbox.mutable_gids()}) {
    shim::v1::IdMapping* m = mappings->Add();
    m->set_host_id(200000);
    m->set_length(65536);
  }
  auto pod = LaunchPod(sandbox);
  auto c = Script("c", "sleep 100");
  auto userns = pod->OpenUserns();
  ASSERT_TRUE(sys::MapMountIds(c.owned[size_t(c.plan.rootfs_fd())].get(), userns->get()).ok());
  Run(*pod, c);
  Running r;
  absl::Status started =
      Start(*pod, r, "busybox tty; stat -c '%u %g' $(busybox tty); echo x >$(busybox tty)", true, 33);
  ASSERT_TRUE(started.ok()) << started;
  EXPECT_EQ(r.ReadUntil("x\r\n"), "/dev/pts/0\r\n33 5\r\nx\r\n");
  EXPECT_EQ(r.AwaitCode(), 0);
}

TEST_F(ShimTerminalTest, AProgramThatIsNotThereIsAnErrorAsWithoutATerminal) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  shim::v1::ExecPlan plan = ExecScript("c", "");
  plan.mutable_process()->set_tty(true);
  plan.mutable_process()->set_argv(0, "nonesuch");
  auto failed = pod->Exec(plan, {}, [](absl::StatusOr<ExecOutcome>) { ADD_FAILURE() << "it never ran"; });
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kNotFound) << failed.status();
}

// The container owns its mount namespace: what lies at /dev/pts is what it says.
TEST_F(ShimTerminalTest, AForgedDevptsIsRefusedAndNotOpened) {
  struct Case {
    const char* name;
    const char* script;
    const char* message;
  };
  for (const Case& c :
       {Case{"symlink",
             "busybox umount /dev/pts && busybox rmdir /dev/pts && busybox mkdir /tmp/pts && "
             "busybox mount -t devpts none /tmp/pts && busybox ln -s /tmp/pts /dev/pts",
             "'/dev/pts' of the container is not a devpts"},
        Case{"tmpfs", "busybox mount -t tmpfs none /dev/pts && busybox mkfifo /dev/pts/ptmx",
             "'/dev/pts' of the container is not a devpts"},
        Case{"none", "busybox umount /dev/pts && busybox rmdir /dev/pts",
             "'/dev/pts' of the container is not a devpts"},
        Case{"fifo", "busybox mkfifo /tmp/fifo && busybox mount --bind /tmp/fifo /dev/pts/ptmx",
             "something is mounted over '/dev/pts/ptmx'"},
        Case{"null", "busybox mount --bind /dev/null /dev/pts/ptmx", "something is mounted over '/dev/pts/ptmx'"}}) {
    pod_id_ = PodId(RandomHexId());
    auto pod = LaunchPod();
    Run(*pod, Script("c", absl::StrCat(c.script,
                                       " && echo forged; for f in /tmp/fifo /dev/pts/ptmx; do "
                                       "if test -p $f; then (cat $f; echo opened) & fi; done; sleep 100")));
    ASSERT_TRUE(AwaitLog("c", "forged")) << c.name << Log("c");
    Running r;
    absl::Status refused = Start(*pod, r, "echo never");
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << c.name << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(c.message)) << c.name;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("terminal: ")) << c.name;
    EXPECT_THAT(Log("c"), Not(HasSubstr("opened"))) << c.name;
    EXPECT_EQ(Exec(*pod, "c", "true").code(), 0) << c.name << ": without a terminal nothing is amiss";
    ASSERT_TRUE(pod->Shutdown().ok());
    ASSERT_EQ(unlink((logs_ + "/c.log").c_str()), 0);
  }
}

TEST_F(ShimTerminalTest, AHangUpReachesTheWholeTree) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  Running r;
  ASSERT_TRUE(
      Start(*pod, r,
            "setsid sh -c \"trap 'echo child >/tmp/hup; exit' HUP; >/tmp/ready; while :; do sleep 0.02; done\" & "
            "trap 'wait; exit 4' HUP; while :; do sleep 0.02; done",
            false)
          .ok());
  ASSERT_EQ(Exec(*pod, "c", "while ! test -e /tmp/ready; do sleep 0.02; done; sleep 0.1").code(), 0);
  ASSERT_TRUE(pod->HangUpExec(r.exec.id, absl::Seconds(60)).ok());
  EXPECT_EQ(r.AwaitCode(), 4);
  EXPECT_EQ(Exec(*pod, "c", "cat /tmp/hup").out, "child\n");
  EXPECT_TRUE(pod->HangUpExec(r.exec.id, absl::Seconds(1)).ok()) << "it has ended";
}

TEST_F(ShimTerminalTest, WhatDoesNotEndFromAHangUpIsKilled) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "sleep 100"));
  Running r;
  ASSERT_TRUE(Start(*pod, r, "trap '' HUP; >/tmp/ready; (setsid sleep 77 &) ; sleep 78", false).ok());
  ASSERT_EQ(Exec(*pod, "c", "while ! test -e /tmp/ready; do sleep 0.02; done; sleep 0.1").code(), 0);
  ASSERT_TRUE(pod->HangUpExec(r.exec.id, absl::Milliseconds(200)).ok());
  EXPECT_EQ(r.AwaitCode(), 137);
  EXPECT_FALSE(r.outcome->timed_out);
  EXPECT_THAT(Exec(*pod, "c", "ps").out, Not(HasSubstr("sleep 7")));
}

}  // namespace
}  // namespace berth::client
