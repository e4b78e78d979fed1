// Commands of sessions on real pods. Needs root.
#include "cri/pod/stream_commands.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "runtime/client/pod_fixture.h"

namespace berth::pod {
namespace {

using streaming::Command;
using streaming::CommandEnd;
using testing::HasSubstr;
using testing::Not;

// How a command ended, once.
class Ending {
 public:
  streaming::Backend::Done Callback() {
    return [state = state_](absl::StatusOr<CommandEnd> end) {
      absl::MutexLock lock(&state->mutex);
      EXPECT_FALSE(state->end.has_value()) << "told more than once";
      state->end = std::move(end);
    };
  }
  absl::StatusOr<CommandEnd> Await() {
    absl::MutexLock lock(&state_->mutex);
    auto told = [s = state_.get()] { return s->end.has_value(); };
    if (!state_->mutex.AwaitWithTimeout(absl::Condition(&told), absl::Seconds(15))) {
      return absl::DeadlineExceededError("nobody told");
    }
    return *state_->end;
  }
  int Code() {
    auto end = Await();
    EXPECT_TRUE(end.ok()) << end.status();
    return end.ok() ? end->exit_code : -1;
  }

 private:
  struct State {
    absl::Mutex mutex;
    std::optional<absl::StatusOr<CommandEnd>> end;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

std::string ReadUntil(const sys::UniqueFd& fd, absl::string_view text) {
  std::string seen;
  char byte;
  while (text.empty() || !absl::StrContains(seen, text)) {
    pollfd p = {fd.get(), POLLIN, 0};
    if (poll(&p, 1, 10000) != 1 || read(fd.get(), &byte, 1) != 1) break;
    seen += byte;
  }
  return seen;
}
std::string ReadAll(const sys::UniqueFd& fd) { return ReadUntil(fd, ""); }

void Write(const sys::UniqueFd& fd, absl::string_view text) {
  EXPECT_EQ(write(fd.get(), text.data(), text.size()), ssize_t(text.size()));
}

class StreamCommandsTest : public client::PodFixture {
 protected:
  void SetUp() override {
    PodFixture::SetUp();
    if (!IsSkipped()) pod_ = LaunchPod();
  }
  void RunContainer(const std::string& script, bool input = false, bool once = false, bool tty = false) {
    client::PlannedContainer c = Script("c", script);
    c.plan.set_stdin(input);
    c.plan.set_stdin_once(once);
    c.plan.mutable_process()->set_tty(tty);
    Run(*pod_, c);
  }
  absl::StatusOr<std::unique_ptr<Command>> StartScript(const std::string& script, streaming::ExecRequest request,
                                                       Ending& ending) {
    ExecLaunch launch;
    launch.shim = pod_;
    launch.plan = ExecScript("c", script);
    launch.plan.mutable_process()->set_tty(request.tty);
    return StartExec(std::move(launch), request, pool_, ending.Callback());
  }
  absl::StatusOr<std::unique_ptr<Command>> Attach(streaming::AttachRequest request, Ending& ending) {
    request.container_id = "c";
    return AttachTo(pod_, request, pool_, ending.Callback());
  }
  std::string Processes() { return PodFixture::Exec(*pod_, "c", "ps").out; }

  std::shared_ptr<client::PodShim> pod_;
  WorkerPool pool_{2, 100};
};

TEST_F(StreamCommandsTest, AnExecHasThePipesThatItsRequestAsksFor) {
  RunContainer("sleep 100");
  Ending ending;
  auto command = StartScript("cat; echo bad >&2; exit 3", {.in = true, .out = true, .err = true}, ending);
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_FALSE((*command)->terminal.valid());
  for (const sys::UniqueFd* fd : {&(*command)->in, &(*command)->out, &(*command)->err}) {
    EXPECT_NE(fcntl(fd->get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(fcntl(fd->get(), F_GETFD), FD_CLOEXEC);
  }
  EXPECT_EQ(fcntl((*command)->out.get(), F_GETPIPE_SZ), 1 << 20);
  Write((*command)->in, "text\n");
  (*command)->EndInput();
  EXPECT_FALSE((*command)->in.valid());
  EXPECT_EQ(ReadAll((*command)->out), "text\n");
  EXPECT_EQ(ReadAll((*command)->err), "bad\n");
  EXPECT_EQ(ending.Code(), 3);

  Ending other;
  auto quiet = StartScript("cat && readlink /proc/self/fd/0 && readlink /proc/self/fd/2", {.out = true}, other);
  ASSERT_TRUE(quiet.ok());
  EXPECT_FALSE((*quiet)->in.valid());
  EXPECT_FALSE((*quiet)->err.valid());
  EXPECT_EQ(ReadAll((*quiet)->out), "/dev/null\n/dev/null\n");
  EXPECT_EQ(other.Code(), 0);
}

TEST_F(StreamCommandsTest, AnExecWithATerminal) {
  RunContainer("sleep 100");
  Ending ending;
  auto command = StartScript("busybox tty; echo $TERM; read x; stty size; cat; exit 4",
                             {.tty = true, .in = true, .out = true}, ending);
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(ReadUntil((*command)->out, "xterm\r\n"), "/dev/pts/0\r\nxterm\r\n");
  const winsize size = {20, 30, 0, 0};
  EXPECT_EQ(ioctl((*command)->terminal.get(), TIOCSWINSZ, &size), 0);
  Write((*command)->in, "\nx\n");
  ReadUntil((*command)->out, "30\r\n");
  EXPECT_THAT(ReadUntil((*command)->out, "x\r\n"), HasSubstr("x\r\n"));
  (*command)->EndInput();
  EXPECT_EQ(ending.Code(), 4);
}

TEST_F(StreamCommandsTest, AnExecThatItsSessionLeavesIsHungUp) {
  RunContainer("sleep 100");
  Ending plain, terminal;
  auto with_pipe = StartScript("trap 'exit 5' HUP; echo ready; while :; do sleep 0.02; done", {.out = true}, plain);
  auto with_terminal = StartScript("trap 'exit 6' HUP; echo ready; while :; do sleep 0.02; done",
                                   {.tty = true, .in = true, .out = true}, terminal);
  ASSERT_TRUE(with_pipe.ok() && with_terminal.ok());
  for (auto* command : {&with_pipe, &with_terminal}) {
    ReadUntil((**command)->out, "ready");
    command->value().reset();
  }
  EXPECT_EQ(plain.Code(), 5);
  EXPECT_EQ(terminal.Code(), 6);
}

TEST_F(StreamCommandsTest, AnExecThatEndedIsNotSignalled) {
  RunContainer("sleep 100");
  Ending ending;
  // Its orphan goes on, as without a session.
  auto command = StartScript("setsid sleep 66 & echo started", {.out = true}, ending);
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(ending.Code(), 0);
  command->reset();
  EXPECT_THAT(Processes(), HasSubstr("sleep 66"));
}

TEST_F(StreamCommandsTest, AFailureToStartIsAnErrorAndNoEnd) {
  RunContainer("sleep 100");
  Ending ending;
  ExecLaunch launch;
  launch.shim = pod_;
  launch.plan = ExecScript("c", "");
  launch.plan.mutable_process()->set_argv(0, "nonesuch");
  auto command = StartExec(std::move(launch), {.out = true}, pool_, [](absl::StatusOr<CommandEnd>) { ADD_FAILURE(); });
  EXPECT_TRUE(absl::IsNotFound(command.status())) << command.status();
}

TEST_F(StreamCommandsTest, AnAttachedContainerIsFollowedToItsEnd) {
  RunContainer("while read x; do echo got $x; done; echo bad >&2; exit 7", true, true);
  Ending ending;
  auto command = Attach({.in = true, .out = true, .err = true}, ending);
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(fcntl((*command)->out.get(), F_GETPIPE_SZ), 1 << 20);
  Write((*command)->in, "it\n");
  EXPECT_EQ(ReadUntil((*command)->out, "\n"), "got it\n");
  (*command)->EndInput();
  EXPECT_EQ(ReadAll((*command)->err), "bad\n");
  EXPECT_EQ(ReadAll((*command)->out), "");
  EXPECT_EQ(ending.Code(), 0) << "its status has the real one";
  EXPECT_EQ(AwaitExit("c").exit_code(), 7);
}

TEST_F(StreamCommandsTest, AnAttachedContainerGoesOnWithoutItsClient) {
  RunContainer("while read x; do echo got $x; done", true);
  for (const char* word : {"a", "b"}) {
    Ending ending;
    auto command = Attach({.in = true, .out = true}, ending);
    ASSERT_TRUE(command.ok());
    Write((*command)->in, absl::StrCat(word, "\n"));
    EXPECT_EQ(ReadUntil((*command)->out, "\n"), absl::StrCat("got ", word, "\n"));
    (*command)->EndInput();
    command->reset();
    EXPECT_EQ(ending.Code(), 0);
  }
  EXPECT_FALSE(Exited("c"));
}

TEST_F(StreamCommandsTest, AnAttachedTerminal) {
  RunContainer("while read x; do stty size; done; exit 8", true, true, true);
  Ending ending;
  auto command = Attach({.tty = true, .in = true, .out = true}, ending);
  ASSERT_TRUE(command.ok());
  const winsize size = {20, 30, 0, 0};
  EXPECT_EQ(ioctl((*command)->terminal.get(), TIOCSWINSZ, &size), 0);
  Write((*command)->in, "\n");
  EXPECT_EQ(ReadUntil((*command)->out, "30\r\n"), "\r\n20 30\r\n");
  (*command)->EndInput();
  EXPECT_EQ(ending.Code(), 0);
  EXPECT_EQ(AwaitExit("c").exit_code(), 8);
}

TEST_F(StreamCommandsTest, AClientThatFallsBehindIsToldSo) {
  RunContainer("read x; yes | head -c 3000000", true);
  Ending ending;
  auto command = Attach({.in = true, .out = true}, ending);
  ASSERT_TRUE(command.ok());
  Write((*command)->in, "\n");
  absl::Status end = ending.Await().status();
  EXPECT_TRUE(absl::IsResourceExhausted(end)) << end;
  EXPECT_THAT(std::string(end.message()), HasSubstr("does not keep up"));
  EXPECT_EQ(AwaitExit("c").exit_code(), 0);
}

}  // namespace
}  // namespace berth::pod
