// exec, attach and port-forward as a user runs them, against a streaming server in this process.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/testing/app_fixture.h"
#include "cli/testing/fake_streams.h"

namespace berth::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Connection = FakeStreams::Connection;
using StreamId = FakeStreams::StreamId;

// Bytes whose place shows when some are lost or repeated.
std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  uint32_t state = 1;
  for (char& c : bytes) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return bytes;
}

struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    read.Reset(ends[0]);
    write.Reset(ends[1]);
  }
  sys::UniqueFd read, write;
};

void WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

std::string ReadAll(int fd, size_t at_most = SIZE_MAX) {
  std::string all;
  std::string part(64 * 1024, '\0');
  while (all.size() < at_most) {
    ssize_t n = read(fd, part.data(), std::min(part.size(), at_most - all.size()));
    if (n <= 0) break;
    all.append(part, 0, static_cast<size_t>(n));
  }
  return all;
}

class StreamsTest : public AppTest {
 protected:
  StreamsTest() {
    container_ = fake_.AddContainer(fake_.AddPod("web"), "app");
    out_file_.Reset(open((directory_ + "/out").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    err_file_.Reset(open((directory_ + "/err").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    out_fd_ = out_file_.get();
    err_fd_ = err_file_.get();
  }
  void Serve(FakeStreams::Hooks hooks) {
    std::string socket = fake_.socket();
    server_ = std::make_unique<FakeStreams>(socket.substr(0, socket.rfind('/')) + "/streaming.sock", std::move(hooks));
  }
  // What `cat` does.
  static FakeStreams::Hooks Cat(int code = 0) {
    FakeStreams::Hooks hooks;
    hooks.data = [code](Connection& c, StreamId, const std::string& type, absl::string_view bytes, bool fin) {
      if (type != "stdin") return;
      c.Send("stdout", bytes);
      if (fin) c.Exit(code);
    };
    return hooks;
  }
  // Calls `then` when the client has opened the last of its streams.
  static FakeStreams::Hooks When(const std::string& last, std::function<void(Connection&)> then) {
    FakeStreams::Hooks hooks;
    hooks.opened = [last, then](Connection& c, StreamId, const std::string& type) {
      if (type == last) then(c);
    };
    return hooks;
  }
  std::string Out() const { return Contents(out_file_.get()); }
  std::string Err() const { return Contents(err_file_.get()); }
  static std::string Contents(int fd) {
    std::string all(static_cast<size_t>(lseek(fd, 0, SEEK_END)), '\0');
    return pread(fd, all.data(), all.size(), 0) < 0 ? "" : all;
  }

  std::string container_;
  std::unique_ptr<FakeStreams> server_;
  sys::UniqueFd out_file_, err_file_;
};

TEST_F(StreamsTest, ExecPassesOutputAndExitCode) {
  Serve(When("stderr", [](Connection& c) {
    c.Send("stdout", absl::string_view("a\0b\r\n", 5));
    c.Send("stderr", "oops\n");
    c.Exit(42);
  }));
  EXPECT_EQ(Run({"exec", "web", "ls", "-l", "--all"}), 42) << err_;
  EXPECT_EQ(Out(), std::string("a\0b\r\n", 5));
  EXPECT_EQ(Err(), "oops\n");
  EXPECT_EQ(err_, "");
  EXPECT_THAT(fake_.exec_stream.cmd(), ElementsAre("ls", "-l", "--all"));
  EXPECT_EQ(fake_.exec_stream.container_id(), container_);
  EXPECT_TRUE(fake_.exec_stream.stdout());
  EXPECT_TRUE(fake_.exec_stream.stderr());
  EXPECT_FALSE(fake_.exec_stream.stdin());
  EXPECT_FALSE(fake_.exec_stream.tty());
  ASSERT_EQ(server_->requests.size(), 1u);
  EXPECT_THAT(server_->requests[0], HasSubstr("POST /session/SECRET HTTP/1.1"));
}

TEST_F(StreamsTest, ManyBytesComeBackAsTheyWent) {
  Serve(Cat(7));
  const std::string bytes = Pattern(20 << 20);
  Pipe in, out;
  in_fd_ = in.read.get();
  out_fd_ = out.write.get();
  std::thread writer([&] {
    WriteAll(in.write.get(), bytes);
    in.write.Reset();
  });
  std::string back;
  std::thread reader([&] { back = ReadAll(out.read.get()); });
  EXPECT_EQ(Run({"exec", "-i", "web", "cat"}), 7) << err_;
  out.write.Reset();
  writer.join();
  reader.join();
  EXPECT_TRUE(back == bytes) << back.size();
  EXPECT_TRUE(fake_.exec_stream.stdin());
}

TEST_F(StreamsTest, OutputOfACommandThatHasEndedIsNotLostOnASlowReader) {
  const std::string bytes = Pattern(3 << 20);
  Serve(When("stderr", [&](Connection& c) {
    c.Send("stdout", bytes);
    c.Exit(0);
  }));
  Pipe out;
  out_fd_ = out.write.get();
  std::string back;
  std::thread reader([&] {
    while (back.size() < bytes.size()) {
      back += ReadAll(out.read.get(), 256 * 1024);
      absl::SleepFor(absl::Milliseconds(5));
    }
  });
  EXPECT_EQ(Run({"exec", "web", "x"}), 0) << err_;
  reader.join();
  EXPECT_TRUE(back == bytes);
}

TEST_F(StreamsTest, ReaderThatTakesNothingStopsTheServer) {
  std::atomic<size_t> left = 0;
  FakeStreams::Hooks hooks = When("stderr", [&](Connection& c) { c.Send("stdout", std::string(8 << 20, 'x')); });
  hooks.data = [&](Connection& c, StreamId, const std::string& type, absl::string_view, bool) {
    if (type != "stdin") return;
    left = c.unsent(c.stream("stdout"));
    c.Exit(0);
  };
  Serve(hooks);
  Pipe in, out;
  in_fd_ = in.read.get();
  out_fd_ = out.write.get();
  std::thread user([&] {
    absl::SleepFor(absl::Milliseconds(300));  // for what would be too much to arrive
    WriteAll(in.write.get(), "x");            // which goes through although the output does not
    while (left == 0) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_EQ(ReadAll(out.read.get(), 8 << 20).size(), size_t{8 << 20});
  });
  EXPECT_EQ(Run({"exec", "-i", "web", "x"}), 0) << err_;
  user.join();
  EXPECT_GE(left, size_t{7 << 20});
}

TEST_F(StreamsTest, OnlyServersWithWindowsGetUpdatesOfThem) {
  constexpr size_t kFrame = 8;  // and one byte, below
  for (bool windowless : {true, false}) {
    std::atomic<size_t> before = 0, after = 0;
    FakeStreams::Hooks hooks = When("stderr", [&](Connection& c) {
      before = server_->spdy_received.load();
      c.Send("stdout", std::string(200'000, 'x'));
    });
    hooks.data = [&](Connection& c, StreamId, const std::string&, absl::string_view bytes, bool) {
      after = server_->spdy_received.load();
      if (!bytes.empty()) c.Exit(0);
    };
    Serve(hooks);
    server_->windowless = windowless;
    Pipe in, out;
    in_fd_ = in.read.get();
    out_fd_ = out.write.get();
    std::thread user([&] {
      EXPECT_EQ(ReadAll(out.read.get(), 200'000).size(), 200'000u);
      WriteAll(in.write.get(), "x");
    });
    EXPECT_EQ(Run({"exec", "-i", "web", "x"}), 0) << err_;
    user.join();
    server_.reset();
    EXPECT_EQ(after - before == kFrame + 1, windowless) << after - before;
  }
}

TEST_F(StreamsTest, StdinThatTheCommandDoesNotTakeIsLeftUnread) {
  FakeStreams::Hooks hooks;
  Serve(hooks);
  server_->keep_window_shut = true;
  Pipe in;
  fcntl(in.write.get(), F_SETPIPE_SZ, 1 << 20);
  fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
  WriteAll(in.write.get(), std::string(1 << 20, 'x'));
  in_fd_ = in.read.get();
  std::thread user([&] {
    while (server_->received < FakeStreams::kWindow) absl::SleepFor(absl::Milliseconds(1));
    absl::SleepFor(absl::Milliseconds(100));  // for what would be too much
    server_.reset();
  });
  EXPECT_EQ(Run({"exec", "-i", "web", "x"}), 1);
  user.join();
  EXPECT_THAT(err_, HasSubstr("ended the connection before the command's end"));
  fcntl(in.read.get(), F_SETFL, O_NONBLOCK);
  EXPECT_GE(ReadAll(in.read.get()).size(), (size_t{1} << 20) - FakeStreams::kWindow - 64 * 1024);
}

TEST_F(StreamsTest, ServerThatGoesAwayIsAnErrorAndWhatItSentIsKept) {
  Serve(When("stderr", [](Connection& c) {
    c.Send("stdout", "half");
    c.Close();
  }));
  EXPECT_EQ(Run({"exec", "web", "x"}), 1);
  EXPECT_EQ(Out(), "half");
  EXPECT_EQ(err_, "berth: exec web: the streaming server ended the connection before the command's end\n");
}

TEST_F(StreamsTest, ServersRefusalsAreShown) {
  Serve({});
  server_->answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\nunknown token";
  EXPECT_EQ(Run({"exec", "web", "x"}), 1);
  EXPECT_EQ(err_, "berth: exec web: the streaming server refuses: 404 Not Found: unknown token\n");
  server_->answer = "";
  server_->refuse_streams = true;
  EXPECT_EQ(Run({"exec", "web", "x"}), 1);
  EXPECT_THAT(err_, HasSubstr("refuses the command's stream error"));
}

TEST_F(StreamsTest, SilentServerIsNotWaitedForForEver) {
  Serve({});
  server_->silent = true;
  EXPECT_EQ(Run({"--timeout", "200ms", "exec", "web", "x"}), 1);
  EXPECT_EQ(err_, "berth: exec web: timed out: no answer in time\n");
}

TEST_F(StreamsTest, CommandThatDoesNotStartHasTheCodesOfAShell) {
  for (auto [http, code] : {std::pair(404, 127), {403, 126}, {500, 1}}) {
    Serve(When("stderr", [http = http](Connection& c) {
      c.Fail(absl::StrCat(R"({"status":"Failure","reason":"InternalError","message":"exec: \u001b[2J","code":)", http,
                          "}"));
    }));
    EXPECT_EQ(Run({"exec", "web", "nope"}), code);
    EXPECT_EQ(err_, "berth: exec web: exec: ?[2J\n");
    server_.reset();
  }
}

TEST_F(StreamsTest, ReaderOfTheOutputThatLeavesEndsUsQuietly) {
  Serve(When("stderr", [](Connection& c) { c.Send("stdout", std::string(1 << 20, 'y')); }));
  Pipe out;
  out_fd_ = out.write.get();
  out.read.Reset();
  EXPECT_EQ(Run({"exec", "web", "yes"}), 128 + SIGPIPE);
  EXPECT_EQ(err_, "");
}

TEST_F(StreamsTest, SignalEndsTheSession) {
  std::atomic<bool> running = false;
  Serve(When("stderr", [&](Connection&) { running = true; }));
  std::thread user([&] {
    while (!running) absl::SleepFor(absl::Milliseconds(1));
    while (!session_->Signal(SIGTERM)) absl::SleepFor(absl::Milliseconds(1));
  });
  EXPECT_EQ(Run({"exec", "web", "sleep", "100"}), 128 + SIGTERM);
  user.join();
}

TEST_F(StreamsTest, ExecsOfWrongUsage) {
  EXPECT_EQ(Run({"exec", "-it", "web", "sh"}), 2);
  EXPECT_THAT(err_, HasSubstr("-it needs a terminal"));
  EXPECT_EQ(Run({"exec", "-i", "--limit", "1s", "web", "sh"}), 2);
  EXPECT_EQ(Run({"exec", "web", "--"}), 2);
}

TEST_F(StreamsTest, HttpsUrlWithoutTheDaemonsSocket) {
  fake_.url = "https://node:1/SECRET";
  EXPECT_EQ(Run({"exec", "web", "x"}), 1);
  EXPECT_THAT(err_, HasSubstr("berth speaks no TLS"));
  EXPECT_THAT(err_, Not(HasSubstr("SECRET")));
}

TEST_F(StreamsTest, AttachPassesStreamsAndEndsWithTheContainersCode) {
  auto& container = fake_.containers[container_];
  container.config.set_stdin(true);
  Serve(Cat());
  Pipe in;
  WriteAll(in.write.get(), "typed");
  in.write.Reset();
  in_fd_ = in.read.get();
  container.state = ::runtime::v1::CONTAINER_EXITED;
  container.exit_code = 9;
  EXPECT_EQ(Run({"attach", container_}), 9) << err_;
  EXPECT_EQ(Out(), "typed");
  EXPECT_TRUE(fake_.attach_stream.stdin());
  EXPECT_TRUE(fake_.attach_stream.stderr());
  EXPECT_FALSE(fake_.attach_stream.tty());
}

TEST_F(StreamsTest, AttachWithoutStdinLeavesItAlone) {
  auto& container = fake_.containers[container_];
  container.config.set_stdin(true);
  container.config.set_tty(true);
  container.state = ::runtime::v1::CONTAINER_EXITED;
  Serve(When("resize", [](Connection& c) {
    c.Send("stdout", "seen");
    c.Exit(0);
  }));
  EXPECT_EQ(Run({"attach", "--no-stdin", container_}), 0) << err_;
  EXPECT_EQ(Out(), "seen");
  EXPECT_FALSE(fake_.attach_stream.stdin());
  EXPECT_TRUE(fake_.attach_stream.tty());
  EXPECT_FALSE(fake_.attach_stream.stderr());
  EXPECT_EQ(Run({"attach", "--detach-keys", "ctrl-1", container_}), 2);
}

}  // namespace
}  // namespace berth::cli
