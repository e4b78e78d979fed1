// The program itself in a terminal, under a session leader that sees it stop and go on as a shell does.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <mutex>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/testing/fake_cri.h"
#include "cli/testing/fake_streams.h"

namespace berth::cli {
namespace {

using ::testing::HasSubstr;
using Peer = FakeStreams::Connection;
using StreamId = FakeStreams::StreamId;

class TerminalTest : public ::testing::Test {
 protected:
  TerminalTest() {
    std::string socket = fake_.socket();
    container_ = fake_.AddContainer(fake_.AddPod("web"), "app");
    FakeStreams::Hooks hooks;
    hooks.data = [this](Peer& peer, StreamId, const std::string& type, absl::string_view bytes, bool) {
      std::lock_guard<std::mutex> lock(mu_);
      (type == "resize" ? sizes_ : typed_).append(bytes.data(), bytes.size());
      if (type == "stdin" && !bytes.empty()) peer.Send("stdout", absl::StrCat("<", bytes, ">\n"));
      if (absl::StrContains(bytes, "exit")) peer.Exit(5);
    };
    server_ = std::make_unique<FakeStreams>(socket.substr(0, socket.rfind('/')) + "/streaming.sock", hooks);
  }
  ~TerminalTest() override {
    if (program_ > 0) kill(program_, SIGKILL);
    if (leader_ > 0) kill(leader_, SIGKILL), waitpid(leader_, nullptr, 0);
  }

  void Start(const std::vector<std::string>& arguments) {
    winsize size = {30, 100, 0, 0};
    int master, slave, reports[2];
    ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, &size), 0);
    ASSERT_EQ(pipe2(reports, O_CLOEXEC), 0);
    master_.Reset(master);
    slave_.Reset(slave);
    for (int fd : {master, slave}) fcntl(fd, F_SETFD, FD_CLOEXEC);
    reports_.Reset(reports[0]);
    sys::UniqueFd report(reports[1]);
    ASSERT_EQ(tcgetattr(slave, &before_), 0);
    std::vector<std::string> words = {BERTH_PROGRAM, "--socket", fake_.socket()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    leader_ = fork();
    if (leader_ == 0) Lead(master, slave, report.get(), argv.data());
    ASSERT_EQ(read(reports_.get(), &program_, sizeof program_), ssize_t{sizeof program_});
  }
  // Between fork and exec.
  [[noreturn]] static void Lead(int master, int terminal, int report, char** argv) {
    close(master);
    setsid();
    ioctl(terminal, TIOCSCTTY, 0);
    signal(SIGHUP, SIG_IGN);
    static pid_t program;
    program = fork();
    if (program == 0) {
      signal(SIGHUP, SIG_DFL);
      setpgid(0, 0);
      sigset_t set, old;
      sigemptyset(&set);
      sigaddset(&set, SIGTTOU);
      sigprocmask(SIG_BLOCK, &set, &old);
      tcsetpgrp(terminal, getpid());
      sigprocmask(SIG_SETMASK, &old, nullptr);
      for (int fd : {0, 1, 2}) dup2(terminal, fd);
      execv(argv[0], argv);
      _exit(126);
    }
    if (write(report, &program, sizeof program) < 0) _exit(1);
    signal(SIGHUP, [](int) { kill(program, SIGHUP); });  // as shells do
    int status;
    while (waitpid(program, &status, WUNTRACED | WCONTINUED) > 0) {
      if (write(report, &status, sizeof status) < 0) _exit(1);
    }
    _exit(0);
  }

  // The next change of the program's state, as waitpid(2) has it; -1 if there is none for long.
  int NextStatus() {
    pollfd one = {reports_.get(), POLLIN, 0};
    int status = -1;
    if (poll(&one, 1, 10'000) == 1 && read(reports_.get(), &status, sizeof status) <= 0) status = -1;
    if (status != -1 && (WIFEXITED(status) || WIFSIGNALED(status))) program_ = 0;
    return status;
  }
  int ExitCode() {
    int status = NextStatus();
    return status != -1 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void Type(absl::string_view keys) const { ASSERT_GT(write(master_.get(), keys.data(), keys.size()), 0); }
  bool Raw() const {
    termios now;
    return tcgetattr(slave_.get(), &now) == 0 && (now.c_lflag & (ICANON | ECHO | ISIG)) == 0;
  }
  void ExpectAsBefore() const {
    termios now;
    ASSERT_EQ(tcgetattr(slave_.get(), &now), 0);
    EXPECT_EQ(now.c_lflag, before_.c_lflag);
    EXPECT_EQ(now.c_iflag, before_.c_iflag);
    EXPECT_EQ(now.c_oflag, before_.c_oflag);
  }
  void Await(const std::function<bool()>& done) const {
    for (int i = 0; i < 10'000 && !done(); ++i) absl::SleepFor(absl::Milliseconds(1));
    ASSERT_TRUE(done());
  }
  std::string Sizes() {
    std::lock_guard<std::mutex> lock(mu_);
    return sizes_;
  }
  std::string Typed() {
    std::lock_guard<std::mutex> lock(mu_);
    return typed_;
  }
  // All that the terminal shows so far.
  std::string Shown() const {
    std::string all(64 * 1024, '\0');
    fcntl(master_.get(), F_SETFL, O_NONBLOCK);
    ssize_t n = read(master_.get(), all.data(), all.size());
    return all.substr(0, n < 0 ? 0 : static_cast<size_t>(n));
  }

  FakeCri fake_;
  std::string container_;
  std::unique_ptr<FakeStreams> server_;
  std::mutex mu_;
  std::string sizes_, typed_;
  sys::UniqueFd master_, slave_, reports_;
  termios before_ = {};
  pid_t leader_ = 0, program_ = 0;
};

TEST_F(TerminalTest, EveryKeyGoesToTheCommandAndTheTerminalIsAsBefore) {
  Start({"exec", "-it", "web", "sh"});
  Await([&] { return Raw(); });
  Await([&] { return Sizes() == "{\"Width\":100,\"Height\":30}\n"; });
  Type("\x03\x1a\x04");  // Ctrl-C, Ctrl-Z, Ctrl-D
  Await([&] { return Typed() == "\x03\x1a\x04"; });
  Type("exit");
  EXPECT_EQ(ExitCode(), 5);
  ExpectAsBefore();
  EXPECT_THAT(Shown(), HasSubstr("<exit>"));
  EXPECT_TRUE(fake_.exec_stream.tty());
  EXPECT_TRUE(fake_.exec_stream.stdin());
  EXPECT_FALSE(fake_.exec_stream.stderr());
}

TEST_F(TerminalTest, NewSizesAreSent) {
  Start({"exec", "-it", "web", "sh"});
  Await([&] { return Raw(); });
  winsize size = {50, 120, 0, 0};
  ASSERT_EQ(ioctl(master_.get(), TIOCSWINSZ, &size), 0);
  Await([&] { return absl::EndsWith(Sizes(), "{\"Width\":120,\"Height\":50}\n"); });
}

TEST_F(TerminalTest, SignalsLeaveTheTerminalAsBefore) {
  for (int number : {SIGTERM, SIGINT, SIGHUP}) {
    Start({"exec", "-it", "web", "sh"});
    Await([&] { return Raw(); });
    kill(program_, number);
    EXPECT_EQ(ExitCode(), 128 + number);
    ExpectAsBefore();
    waitpid(leader_, nullptr, 0);
    leader_ = 0;
  }
}

TEST_F(TerminalTest, StoppedItGivesTheTerminalBackAndGoesOnRaw) {
  Start({"exec", "-it", "web", "sh"});
  Await([&] { return Raw() && !Sizes().empty(); });
  kill(program_, SIGTSTP);
  int status = NextStatus();
  EXPECT_TRUE(status != -1 && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP) << status;
  ExpectAsBefore();
  size_t sizes = Sizes().size();
  kill(program_, SIGCONT);
  Await([&] { return Raw() && Sizes().size() > sizes; });
  EXPECT_TRUE(WIFCONTINUED(NextStatus()));
  Type("exit");
  EXPECT_EQ(ExitCode(), 5);
  ExpectAsBefore();
}

TEST_F(TerminalTest, TerminalThatGoesAwayEndsIt) {
  Start({"exec", "-it", "web", "sh"});
  Await([&] { return Raw(); });
  slave_.Reset();
  master_.Reset();
  EXPECT_EQ(ExitCode(), 128 + SIGHUP);
}

TEST_F(TerminalTest, ServerThatGoesAwayLeavesTheTerminalAsBefore) {
  Start({"exec", "-it", "web", "sh"});
  Await([&] { return Raw() && !Sizes().empty(); });
  server_.reset();
  EXPECT_EQ(ExitCode(), 1);
  ExpectAsBefore();
  EXPECT_THAT(Shown(),
              HasSubstr("berth: exec web: the streaming server ended the connection before the command's end\r\n"));
}

TEST_F(TerminalTest, DetachKeysLeaveAContainerRunning) {
  fake_.containers[container_].config.set_stdin(true);
  fake_.containers[container_].config.set_tty(true);
  Start({"attach", "web"});
  Await([&] { return Raw(); });
  Type("a\x10");
  Await([&] { return Typed() == "a"; });
  Type("\x11");
  EXPECT_EQ(ExitCode(), 0);
  ExpectAsBefore();
  EXPECT_EQ(Typed(), "a");
  EXPECT_THAT(Shown(), HasSubstr("Left web running"));
}

TEST_F(TerminalTest, WithoutATerminalOfItsOwnKeysStayHere) {
  Start({"exec", "-i", "web", "cat"});
  Await([&] { return server_->connections == 1; });
  Type("line\n");
  Await([&] { return Typed() == "line\n"; });
  EXPECT_FALSE(Raw());
  Type("\x03");
  EXPECT_EQ(ExitCode(), 128 + SIGINT);
}

}  // namespace
}  // namespace berth::cli
