// Clients that follow a container and write to it: zygote, shim and containers are real. Needs root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "runtime/client/pod_fixture.h"
#include "runtime/sys/unix_socket.h"

namespace berth::client {
namespace {

using testing::HasSubstr;

constexpr int kPipeSize = 1 << 20;

// One attached client.
class Follower {
 public:
  Follower() {
    for (auto [read_end, write_end] : {std::pair(&out_, &out_write_), {&err_, &err_write_}}) {
      int fds[2];
      EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
      EXPECT_GE(fcntl(fds[0], F_SETPIPE_SZ, kPipeSize), kPipeSize);
      read_end->Reset(fds[0]);
      write_end->Reset(fds[1]);
    }
  }

  absl::Status Attach(PodShim& pod, const std::string& id, bool input = true) {
    auto attached = pod.Attach(ContainerId(id), out_write_.get(), err_write_.get(), input,
                               [told = told_](absl::StatusOr<AttachOutcome> outcome) {
                                 absl::MutexLock lock(&told->mutex);
                                 told->outcomes.push_back(std::move(outcome));
                               });
    out_write_.Reset();
    err_write_.Reset();
    if (attached.ok()) attached_ = *std::move(attached);
    return attached.status();
  }

  void Type(absl::string_view text) {
    EXPECT_EQ(write(attached_.input.get(), text.data(), text.size()), ssize_t(text.size()));
  }
  // What comes on standard output until there are `size` bytes of it, or it ends.
  std::string Read(size_t size) { return ReadFrom(out_.get(), size); }
  std::string ReadAll() { return Read(SIZE_MAX); }
  std::string ReadAllErrors() { return ReadFrom(err_.get(), SIZE_MAX); }
  // Until it holds `text`.
  std::string ReadUntil(absl::string_view text) {
    std::string seen;
    while (!absl::StrContains(seen, text)) {
      const std::string more = Read(1);
      if (more.empty()) break;
      seen += more;
    }
    return seen;
  }
  void CloseOutput() { out_.Reset(); }

  // Whether it was told exactly once that the attachment has ended, and how.
  absl::StatusOr<AttachOutcome> AwaitDone() {
    absl::MutexLock lock(&told_->mutex);
    auto done = [told = told_.get()] { return !told->outcomes.empty(); };
    if (!told_->mutex.AwaitWithTimeout(absl::Condition(&done), absl::Seconds(10))) {
      return absl::DeadlineExceededError("nobody told");
    }
    EXPECT_EQ(told_->outcomes.size(), 1u);
    return told_->outcomes[0];
  }
  bool IsDone() {
    absl::MutexLock lock(&told_->mutex);
    return !told_->outcomes.empty();
  }

  Attached attached_;

 private:
  static std::string ReadFrom(int fd, size_t size) {
    std::string all;
    char buffer[65536];
    while (all.size() < size) {
      pollfd p = {fd, POLLIN, 0};
      if (poll(&p, 1, 10000) != 1) {
        ADD_FAILURE() << "neither bytes nor an end after " << all.size();
        break;
      }
      const ssize_t n = read(fd, buffer, std::min(size - all.size(), sizeof buffer));
      if (n <= 0) break;
      all.append(buffer, static_cast<size_t>(n));
    }
    return all;
  }

  sys::UniqueFd out_, out_write_, err_, err_write_;
  // The pod, which tells, may outlive the client.
  struct Told {
    absl::Mutex mutex;
    std::vector<absl::StatusOr<AttachOutcome>> outcomes;
  };
  const std::shared_ptr<Told> told_ = std::make_shared<Told>();
};

class ShimAttachTest : public PodFixture {
 protected:
  PlannedContainer WithInput(const std::string& script, bool once = false) {
    PlannedContainer c = Script("c", script);
    c.plan.set_stdin(true);
    c.plan.set_stdin_once(once);
    return c;
  }
  PlannedContainer WithTerminal(const std::string& script, bool once = false) {
    PlannedContainer c = WithInput(script, once);
    c.plan.mutable_process()->set_tty(true);
    return c;
  }
  // How many descriptors the shim waits for.
  int WatchedBy(PodShim& pod) {
    int count = 0;
    for (const auto& info : std::filesystem::directory_iterator(absl::StrCat("/proc/", pod.pid(), "/fdinfo"))) {
      std::ifstream lines(info.path());
      for (std::string line; std::getline(lines, line);) count += absl::StartsWith(line, "tfd:") ? 1 : 0;
    }
    return count;
  }
};

TEST_F(ShimAttachTest, EveryClientGetsTheSameBytesAndTheLogIsWhole) {
  auto pod = LaunchPod();
  Run(*pod,
      WithInput("read x; i=0; while [ $i -lt 2000 ]; do echo line$i; i=$((i+1)); done; echo bad >&2; printf end"));
  Follower a, b, blind;
  ASSERT_TRUE(a.Attach(*pod, "c").ok());
  ASSERT_TRUE(b.Attach(*pod, "c", false).ok());
  EXPECT_TRUE(a.attached_.takes_input);
  EXPECT_FALSE(a.attached_.terminal);
  EXPECT_FALSE(b.attached_.takes_input);
  EXPECT_FALSE(b.attached_.input.valid());
  a.Type("go\n");
  std::string expected;
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&expected, "line", i, "\n");
  expected += "end";
  for (Follower* f : {&a, &b}) {
    EXPECT_EQ(f->ReadAll(), expected);
    EXPECT_EQ(f->ReadAllErrors(), "bad\n");
    auto done = f->AwaitDone();
    ASSERT_TRUE(done.ok()) << done.status();
    EXPECT_FALSE(done->lagged);
  }
  AwaitExit("c");
  for (int i = 0; i < 2000; ++i) ASSERT_THAT(Log("c"), HasSubstr(absl::StrCat("F line", i, "\n")));
}

TEST_F(ShimAttachTest, AClientThatNeverReadsIsDroppedAndHoldsNobodyUp) {
  auto pod = LaunchPod();
  constexpr size_t kRound = 512 * 1024;
  Run(*pod,
      WithInput(absl::StrCat("while read x; do yes 0123456789abcdef0123456789abcde | head -c ", kRound, "; done")));
  Follower stuck, good;
  ASSERT_TRUE(stuck.Attach(*pod, "c", false).ok());
  ASSERT_TRUE(good.Attach(*pod, "c").ok());
  // Each round is asked for when the one before was read: it is the other's pipe alone that fills.
  std::string all;
  for (int i = 0; i < 20; ++i) {
    good.Type("more\n");
    const std::string round = good.Read(kRound);
    ASSERT_EQ(round.size(), kRound);
    all += round;
  }
  auto dropped = stuck.AwaitDone();
  ASSERT_TRUE(dropped.ok()) << dropped.status();
  EXPECT_TRUE(dropped->lagged);
  EXPECT_FALSE(good.IsDone());
  const std::string had = stuck.ReadAll();  // it ends
  EXPECT_GT(had.size(), kRound);
  EXPECT_TRUE(absl::StartsWith(all, had));
  ASSERT_TRUE(pod->Signal(ContainerId("c"), SIGKILL, true).ok());
  AwaitExit("c");
  const std::string log = Log("c");
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), ssize_t(20 * kRound / 32));
}

TEST_F(ShimAttachTest, AClientThatIsGoneIsForgotten) {
  auto pod = LaunchPod();
  Run(*pod, WithInput("while read x; do echo $x; done"));
  Follower gone, good;
  ASSERT_TRUE(gone.Attach(*pod, "c", false).ok());
  ASSERT_TRUE(good.Attach(*pod, "c").ok());
  gone.CloseOutput();
  good.Type("one\n");
  EXPECT_EQ(good.ReadUntil("\n"), "one\n");
  auto dropped = gone.AwaitDone();
  ASSERT_TRUE(dropped.ok()) << dropped.status();
  EXPECT_FALSE(dropped->lagged);
  good.Type("two\n");
  EXPECT_EQ(good.ReadUntil("\n"), "two\n");
}

TEST_F(ShimAttachTest, InputStaysOpenForTheNextClient) {
  auto pod = LaunchPod();
  Run(*pod, WithInput("cat"));
  for (const char* line : {"a\n", "b\n", "c\n"}) {
    Follower f;
    ASSERT_TRUE(f.Attach(*pod, "c").ok());
    f.Type(line);
    EXPECT_EQ(f.ReadUntil("\n"), line);
    f.attached_.input.Reset();
    ASSERT_TRUE(pod->EndInput(f.attached_.id).ok());
    EXPECT_FALSE(f.IsDone());
    ASSERT_TRUE(pod->Detach(f.attached_.id).ok());
    EXPECT_TRUE(f.AwaitDone().ok());
    EXPECT_EQ(f.ReadAll(), "");
    EXPECT_TRUE(pod->Detach(f.attached_.id).ok());
  }
  EXPECT_FALSE(Exited("c"));
  EXPECT_EQ(Log("c"), "stdout F a\nstdout F b\nstdout F c\n");
}

TEST_F(ShimAttachTest, InputForOnceEndsWithItsFirstClient) {
  auto pod = LaunchPod();
  Run(*pod, WithInput("cat; echo over; sleep 100", true));
  Follower watcher, f, late;
  ASSERT_TRUE(watcher.Attach(*pod, "c", false).ok());
  ASSERT_TRUE(f.Attach(*pod, "c").ok());
  ASSERT_TRUE(late.Attach(*pod, "c").ok());
  EXPECT_TRUE(f.attached_.takes_input);
  EXPECT_FALSE(late.attached_.takes_input) << "it would hold the input open";
  // One without input changes nothing.
  ASSERT_TRUE(pod->Detach(watcher.attached_.id).ok());
  ASSERT_TRUE(pod->Detach(late.attached_.id).ok());
  f.Type("text\n");
  EXPECT_EQ(f.ReadUntil("\n"), "text\n");
  f.attached_.input.Reset();
  ASSERT_TRUE(pod->EndInput(f.attached_.id).ok());
  EXPECT_EQ(f.ReadUntil("\n"), "over\n") << "its output goes on";
  Follower next;
  ASSERT_TRUE(next.Attach(*pod, "c").ok());
  EXPECT_FALSE(next.attached_.takes_input);
}

TEST_F(ShimAttachTest, InputForOnceEndsWhenItsClientDetachesOrItsDaemonDies) {
  auto pod = LaunchPod();
  Run(*pod, WithInput("cat", true));
  {
    Follower f;
    ASSERT_TRUE(f.Attach(*pod, "c").ok());
    f.attached_.input.Reset();
    ASSERT_TRUE(pod->Detach(f.attached_.id).ok());
    EXPECT_EQ(AwaitExit("c").exit_code(), 0);
  }
  auto c = Script("d", "cat; exit 5");
  c.plan.set_stdin(true);
  c.plan.set_stdin_once(true);
  Run(*pod, c);
  Follower f;
  ASSERT_TRUE(f.Attach(*pod, "d").ok());
  f.attached_.input.Reset();
  pod.reset();
  launcher_.reset();
  EXPECT_FALSE(f.AwaitDone().ok());
  EXPECT_EQ(f.ReadAll(), "");
  StartLauncher();
  auto again = launcher_->Reconnect(pod_id_, state_dir_);
  ASSERT_TRUE(again.ok()) << again.status();
  for (int i = 0; i < 1000 && (*again)->State()->at(1).state() != shim::v1::CONTAINER_STATE_EXITED; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ((*again)->State()->at(1).exit().exit_code(), 5);
}

TEST_F(ShimAttachTest, WithoutInputNoneIsGiven) {
  auto pod = LaunchPod();
  Run(*pod, Script("c", "cat; echo over; sleep 100"));
  Follower f;
  ASSERT_TRUE(f.Attach(*pod, "c").ok());
  EXPECT_FALSE(f.attached_.takes_input);
  EXPECT_FALSE(f.attached_.input.valid());
}

TEST_F(ShimAttachTest, ATerminalIsWrittenToAndResized) {
  auto pod = LaunchPod();
  Run(*pod, WithTerminal("while read x; do echo got $x; stty size; done"));
  Follower f;
  ASSERT_TRUE(f.Attach(*pod, "c").ok());
  EXPECT_TRUE(f.attached_.terminal);
  EXPECT_TRUE(f.attached_.takes_input);
  EXPECT_NE(fcntl(f.attached_.input.get(), F_GETFL) & O_NONBLOCK, 0);
  const winsize size = {33, 77, 0, 0};
  ASSERT_EQ(ioctl(f.attached_.input.get(), TIOCSWINSZ, &size), 0);
  f.Type("it\n");
  EXPECT_EQ(f.ReadUntil("77\r\n"), "it\r\ngot it\r\n33 77\r\n");
  // The next client finds the terminal as it is.
  ASSERT_TRUE(pod->Detach(f.attached_.id).ok());
  Follower next;
  ASSERT_TRUE(next.Attach(*pod, "c").ok());
  next.Type("on\n");
  EXPECT_EQ(next.ReadUntil("77\r\n"), "on\r\ngot on\r\n33 77\r\n");
}

TEST_F(ShimAttachTest, ATerminalsInputForOnceEndsWithItsEndOfFileCharacter) {
  auto pod = LaunchPod();
  Run(*pod, WithTerminal("cat; exit 6", true));
  Follower f;
  ASSERT_TRUE(f.Attach(*pod, "c").ok());
  f.Type("x\n");
  f.ReadUntil("x\r\nx\r\n");
  ASSERT_TRUE(pod->EndInput(f.attached_.id).ok());
  EXPECT_EQ(AwaitExit("c").exit_code(), 6);
  EXPECT_TRUE(f.AwaitDone().ok());
}

TEST_F(ShimAttachTest, ATerminalWithoutInputHasASizeAllTheSame) {
  auto pod = LaunchPod();
  auto c = Script("c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done");
  c.plan.mutable_process()->set_tty(true);
  Run(*pod, c);
  ASSERT_TRUE(AwaitLog("c", "ready"));
  Follower f;
  ASSERT_TRUE(f.Attach(*pod, "c").ok());
  EXPECT_TRUE(f.attached_.terminal);
  EXPECT_FALSE(f.attached_.takes_input);
  const winsize size = {12, 34, 0, 0};
  ASSERT_EQ(ioctl(f.attached_.input.get(), TIOCSWINSZ, &size), 0);
  EXPECT_EQ(f.ReadUntil("34\r\n"), "12 34\r\n");
}

// The terminal lives on in the client: while the shim watched what it has closed, it would be woken again and again.
TEST_F(ShimAttachTest, ATerminalThatHasEndedIsNotWatchedThoughAClientHasIt) {
  auto pod = LaunchPod();
  const int before = WatchedBy(*pod);
  Run(*pod, WithTerminal("read x; exec <&- >&- 2>&-; exec sleep 1000"));
  Follower f;
  ASSERT_TRUE(f.Attach(*pod, "c").ok());
  EXPECT_EQ(WatchedBy(*pod), before + 2);  // the process and its terminal
  f.Type("go\n");
  for (int i = 0; i < 1000 && WatchedBy(*pod) != before + 1; ++i) usleep(10000);
  EXPECT_EQ(WatchedBy(*pod), before + 1);
  ASSERT_TRUE(pod->Signal(ContainerId("c"), SIGKILL, true).ok());
  AwaitExit("c");
  EXPECT_TRUE(f.AwaitDone().ok());
  EXPECT_EQ(WatchedBy(*pod), before);

  PlannedContainer ends = WithTerminal("read x");
  ends.plan.set_container_id("ends");
  Run(*pod, ends);
  Follower last;
  ASSERT_TRUE(last.Attach(*pod, "ends").ok());
  last.Type("go\n");
  AwaitExit("ends");
  EXPECT_TRUE(last.AwaitDone().ok());
  EXPECT_EQ(WatchedBy(*pod), before);
}

TEST_F(ShimAttachTest, ADaemonThatReturnsAttachesAgain) {
  auto pod = LaunchPod();
  Run(*pod, WithInput("while read x; do echo $x; done"));
  Follower before, after;
  ASSERT_TRUE(before.Attach(*pod, "c").ok());
  pod.reset();
  launcher_.reset();
  EXPECT_TRUE(absl::IsUnavailable(before.AwaitDone().status()));
  EXPECT_EQ(before.ReadAll(), "");
  StartLauncher();
  auto again = launcher_->Reconnect(pod_id_, state_dir_);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_TRUE(after.Attach(**again, "c").ok());
  after.Type("back\n");
  EXPECT_EQ(after.ReadUntil("\n"), "back\n");
}

TEST_F(ShimAttachTest, AKilledShimEndsItOnce) {
  auto pod = LaunchPod();
  Run(*pod, WithInput("cat"));
  Follower f;
  ASSERT_TRUE(f.Attach(*pod, "c").ok());
  ASSERT_EQ(kill(pod->pid(), SIGKILL), 0);
  EXPECT_TRUE(absl::IsUnavailable(f.AwaitDone().status()));
  EXPECT_EQ(f.ReadAll(), "");
  EXPECT_TRUE(AwaitGone(pod_id_));
}

TEST_F(ShimAttachTest, ManyClientsLeaveNoDescriptor) {
  auto pod = LaunchPod();
  Run(*pod, WithInput("cat"));
  const size_t before = DescriptorsOf(*pod);
  for (int i = 0; i < 300; ++i) {
    Follower f;
    ASSERT_TRUE(f.Attach(*pod, "c").ok());
    if (i % 2 == 0) {
      ASSERT_TRUE(pod->EndInput(f.attached_.id).ok());
    }
    ASSERT_TRUE(pod->Detach(f.attached_.id).ok());
    ASSERT_TRUE(f.AwaitDone().ok());
  }
  EXPECT_EQ(DescriptorsOf(*pod), before);
}

TEST_F(ShimAttachTest, OnlyRunningContainersAndNotTooMany) {
  auto pod = LaunchPod();
  EXPECT_TRUE(absl::IsNotFound(Follower().Attach(*pod, "c")));
  auto c = WithInput("cat");
  ASSERT_TRUE(pod->Create(c.plan, c.fds()).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Follower().Attach(*pod, "c")));
  ASSERT_TRUE(pod->Start(ContainerId("c")).ok());
  std::vector<std::unique_ptr<Follower>> many;
  for (int i = 0; i < 64; ++i) {
    many.push_back(std::make_unique<Follower>());
    ASSERT_TRUE(many.back()->Attach(*pod, "c").ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(Follower().Attach(*pod, "c")));
  ASSERT_TRUE(pod->Detach(many[0]->attached_.id).ok());
  Follower last;
  EXPECT_TRUE(last.Attach(*pod, "c").ok());
  last.Type("x\n");
  for (int i = 1; i < 64; ++i) EXPECT_EQ(many[size_t(i)]->ReadUntil("\n"), "x\n");
  ASSERT_TRUE(pod->Signal(ContainerId("c"), SIGKILL, true).ok());
  AwaitExit("c");
  EXPECT_TRUE(last.AwaitDone().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Follower().Attach(*pod, "c")));
}

}  // namespace
}  // namespace berth::client
