// Sessions with real programs and sockets behind them, driven by a SPDY client over a socket pair.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <map>
#include <set>
#include <thread>

#include "cri/streaming/session.h"
#include "cri/streaming/socket_stream.h"
#include "cri/streaming/spdy/session.h"
#include "runtime/base/json.h"

namespace berth::streaming {
namespace {

using testing::HasSubstr;

struct Pipe {
  sys::UniqueFd read_end, write_end;
  explicit Pipe(bool our_end_reads) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) abort();
    read_end.Reset(fds[0]);
    write_end.Reset(fds[1]);
    fcntl(our_end_reads ? fds[0] : fds[1], F_SETFL, O_NONBLOCK);
  }
};

// A program of this machine: what an exec is without a container around it.
class Program final : public Command {
 public:
  Program(const ExecRequest& request, Backend::Done done, std::atomic<int>& alive) : alive_(alive) {
    Pipe in_pipe(false), out_pipe(true), err_pipe(true);
    std::vector<char*> argv;
    for (const std::string& arg : request.argv) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    ++alive_;
    pid_ = fork();
    if (pid_ == 0) {
      setpgid(0, 0);
      signal(SIGPIPE, SIG_DFL);
      dup2(in_pipe.read_end.get(), 0);
      dup2(out_pipe.write_end.get(), 1);
      dup2(err_pipe.write_end.get(), 2);
      execvp(argv[0], argv.data());
      _exit(127);
    }
    if (request.in) in = std::move(in_pipe.write_end);
    if (request.out) out = std::move(out_pipe.read_end);
    if (request.err) err = std::move(err_pipe.read_end);
    waiter_ = std::thread([pid = pid_, done = std::move(done)] {
      int status = 0;
      waitpid(pid, &status, 0);
      done(CommandEnd{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)});
    });
  }
  ~Program() override {
    kill(-pid_, SIGKILL);
    waiter_.join();
    --alive_;
  }
  void EndInput() override { in.Reset(); }

 private:
  std::atomic<int>& alive_;
  pid_t pid_;
  std::thread waiter_;
};

class Programs final : public Backend {
 public:
  absl::StatusOr<std::unique_ptr<Command>> Exec(const ExecRequest& request, Done done) override {
    if (request.argv[0] == "missing") return absl::NotFoundError("exec: \"missing\": not found");
    return std::make_unique<Program>(request, std::move(done), alive);
  }
  // The id is the script of the "container".
  absl::StatusOr<std::unique_ptr<Command>> Attach(const AttachRequest& request, Done done) override {
    const ExecRequest exec{"", {"sh", "-c", request.container_id}, false, request.in, request.out, request.err};
    return std::make_unique<Program>(exec, std::move(done), alive);
  }
  absl::StatusOr<sys::UniqueFd> OpenSocket(const std::string& pod, int family) override {
    if (pod != "pod") return absl::NotFoundError("no such pod");
    return sys::UniqueFd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }
  std::atomic<int> alive = 0;
};

class Client final : private spdy::Events {
 public:
  explicit Client(int fd) : fd_(fd), session_(spdy::Session::Role::kClient, spdy::Limits(), *this) {}

  spdy::StreamId Open(const spdy::Headers& headers) {
    const spdy::StreamId id = *session_.Open(headers, false);
    Flush();
    return id;
  }
  // All of it, unless the server resets the stream.
  void Send(spdy::StreamId id, absl::string_view bytes, bool fin) {
    do {
      ASSERT_TRUE(Await([&] { return bytes.empty() || session_.SendWindow(id) > 0 || reset.count(id) > 0; }));
      if (reset.count(id) > 0) return;
      const size_t n = std::min(bytes.size(), session_.SendWindow(id));
      const auto header = session_.Data(id, n, fin && n == bytes.size());
      Write(std::string(header.data(), header.size()) + std::string(bytes.substr(0, n)));
      bytes.remove_prefix(n);
    } while (!bytes.empty());
  }
  // Reads until `done`, or false when the connection ends or nothing comes for a while.
  template <typename Condition>
  bool Await(Condition done) {
    std::string buffer(64 * 1024, 0);
    while (!done()) {
      pollfd p = {fd_.get(), POLLIN, 0};
      if (poll(&p, 1, 10000) != 1) return false;
      const ssize_t n = read(fd_.get(), buffer.data(), buffer.size());
      closed = n <= 0;
      if (closed) return false;
      if (!session_.Receive(absl::string_view(buffer.data(), static_cast<size_t>(n))).ok()) return false;
      Flush();
    }
    return true;
  }
  bool AwaitEnd(spdy::StreamId id) {
    return Await([&] { return ended.count(id) > 0; });
  }
  void Reset(spdy::StreamId id) {
    session_.Reset(id, spdy::RstStatus::kCancel);
    Flush();
  }
  void Hold(spdy::StreamId id) { held_.insert(id); }  // takes nothing any more
  void Unhold(spdy::StreamId id) {
    held_.erase(id);
    session_.Consumed(id, data[id].size());
    Flush();
  }
  void Leave() { fd_.Reset(); }

  std::map<spdy::StreamId, std::string> data;
  std::set<spdy::StreamId> ended, reset;
  bool closed = false;  // by the server

 private:
  void Write(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  void Flush() {
    if (session_.has_output()) Write(session_.TakeOutput());
  }
  void OnStream(spdy::StreamId, const spdy::Headers&, bool) override {}
  void OnReply(spdy::StreamId, const spdy::Headers&, bool) override {}
  void OnHeaders(spdy::StreamId, const spdy::Headers&, bool) override {}
  void OnData(spdy::StreamId id, absl::string_view bytes, bool fin) override {
    data[id].append(bytes.data(), bytes.size());
    if (held_.count(id) == 0) session_.Consumed(id, bytes.size());
    if (fin) ended.insert(id);
  }
  void OnReset(spdy::StreamId id, spdy::RstStatus) override { reset.insert(id); }
  void OnWindow(spdy::StreamId) override {}
  void OnPong(uint32_t) override {}
  void OnGoAway(spdy::GoAwayStatus) override {}

  sys::UniqueFd fd_;
  spdy::Session session_;
  std::set<spdy::StreamId> held_;
};

class SessionsTest : public testing::Test {
 protected:
  SessionsTest() {
    signal(SIGPIPE, SIG_IGN);  // as in the daemon
    thread_ = std::thread([this] { io_.run(); });
  }
  ~SessionsTest() override {
    client_.reset();
    work_.reset();
    thread_.join();  // returns when no session is left
    for (std::thread& worker : workers_) worker.join();
    EXPECT_EQ(programs_.alive, 0);
  }

  Client& Serve(const Request& request, const std::string& protocol) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) abort();
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    boost::asio::post(io_, [this, request, protocol, fd = fds[0]] {
      auto socket = AdoptSocket(io_, sys::UniqueFd(fd));
      RunSpdy(context_, request, protocol, std::make_shared<SocketStream>(io_, *std::move(socket), nullptr), "");
    });
    client_ = std::make_unique<Client>(fds[1]);
    return *client_;
  }

  struct ExecStreams {
    Client& client;
    spdy::StreamId error, in = 0, out = 0, err = 0;
    Json status() { return ParseJson(client.data[error]).value_or(Json()); }
  };
  ExecStreams Exec(std::vector<std::string> argv, bool in) {
    Client& client = Serve(ExecRequest{"c", std::move(argv), false, in, true, true}, kCommandProtocols[0]);
    ExecStreams s{client, client.Open({{"streamtype", "error"}})};
    if (in) s.in = client.Open({{"streamtype", "stdin"}});
    s.out = client.Open({{"streamtype", "stdout"}});
    s.err = client.Open({{"streamtype", "stderr"}});
    return s;
  }
  ExecStreams Shell(const std::string& script, bool in = false) { return Exec({"sh", "-c", script}, in); }

  struct Forwarded {
    spdy::StreamId error, data;
  };
  Forwarded Connect(Client& client, uint16_t port, int request) {
    const std::string port_text = absl::StrCat(port), id = absl::StrCat(request);
    Forwarded f;
    f.error = client.Open({{"streamtype", "error"}, {"port", port_text}, {"requestid", id}});
    f.data = client.Open({{"streamtype", "data"}, {"port", port_text}, {"requestid", id}});
    return f;
  }

  Programs programs_;
  std::vector<std::thread> workers_;  // grows on the io thread
  SessionContext context_{programs_,
                          [this](std::function<void()> work) {
                            workers_.emplace_back(std::move(work));
                            return absl::OkStatus();
                          },
                          absl::Hours(1), absl::Seconds(1)};
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ = boost::asio::make_work_guard(io_);
  std::thread thread_;
  std::unique_ptr<Client> client_;
};

TEST_F(SessionsTest, AnExecsStreamsAndCode) {
  ExecStreams s = Shell("echo out; echo err >&2; exit 3");
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  EXPECT_EQ(s.client.data[s.out], "out\n");
  EXPECT_EQ(s.client.data[s.err], "err\n");
  EXPECT_EQ(s.status()["reason"], "NonZeroExitCode");
  EXPECT_EQ(s.status()["details"]["causes"][0]["message"], "3");
}

TEST_F(SessionsTest, InputAndItsEnd) {
  ExecStreams s = Shell("cat; echo end", true);
  s.client.Send(s.in, "one\ntwo\n", true);
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  EXPECT_EQ(s.client.data[s.out], "one\ntwo\nend\n");
  EXPECT_EQ(s.status()["status"], "Success");
}

TEST_F(SessionsTest, AProgramThatIsNotThere) {
  ExecStreams s = Exec({"missing"}, false);
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  EXPECT_EQ(s.status()["reason"], "InternalError");
  EXPECT_THAT(s.status()["message"].get<std::string>(), HasSubstr("\"missing\": not found"));
}

// More than any buffer on the way holds, so that pages are spliced in parts.
TEST_F(SessionsTest, MuchOutputIsWhole) {
  ExecStreams s = Shell("seq 1 2000000");
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  std::string expected;
  for (int i = 1; i <= 2000000; ++i) absl::StrAppend(&expected, i, "\n");
  EXPECT_TRUE(s.client.data[s.out] == expected) << s.client.data[s.out].size();
}

TEST_F(SessionsTest, MuchInputIsWhole) {
  ExecStreams s = Shell("sleep 0.2; md5sum", true);
  s.client.Send(s.in, std::string(20 << 20, 'x'), true);
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  EXPECT_EQ(s.client.data[s.out], "b9dc45e76c3e084bb92d9af5a383533a  -\n") << "of 20 MiB of x";
}

TEST_F(SessionsTest, WhoeverHoldsThePipesIsNotWaitedFor) {
  ExecStreams s = Shell("sleep 1000 & echo done");
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  EXPECT_EQ(s.client.data[s.out], "done\n");
}

TEST_F(SessionsTest, WhoeverWritesOnAndOnIsNotWaitedFor) {
  ExecStreams s = Shell("yes & exit 3");
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  EXPECT_EQ(s.status()["details"]["causes"][0]["message"], "3");
}

// What a frame's header announced is gone when it is to be sent: that ends the session. It may happen that a frame was
// complete when the command began to read, which is no fault; hence more than one try.
TEST_F(SessionsTest, ACommandThatReadsItsOwnOutput) {
  const std::string flag = testing::TempDir() + "/drained" + std::to_string(getpid());
  bool broken = false;
  for (int i = 0; i < 20 && !broken; ++i) {
    ExecStreams s = Shell(
        "dd if=/dev/zero bs=1M count=3 2>/dev/null & sleep 0.1; cat </proc/self/fd/1 >/dev/null & "
        "wait %1; sleep 0.1; kill %2; touch " +
        flag);
    while (access(flag.c_str(), F_OK) != 0) usleep(10000);
    unlink(flag.c_str());
    broken = !s.client.AwaitEnd(s.error);
    EXPECT_EQ(s.client.closed, broken);
  }
  EXPECT_TRUE(broken);
}

TEST_F(SessionsTest, InputThatNobodyReadsIsNoError) {
  ExecStreams s = Shell("exec <&-; sleep 0.3; echo done", true);
  s.client.Send(s.in, std::string(1 << 20, 'x'), true);
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  EXPECT_EQ(s.client.data[s.out], "done\n");
}

// One stream that the client does not take holds up neither the other nor the client's resetting it within a frame.
TEST_F(SessionsTest, AStreamIsResetWhileItIsSent) {
  ExecStreams s = Shell("cat /dev/zero & for i in $(seq 100); do echo $i >&2; sleep 0.01; done; kill $!");
  s.client.Hold(s.out);
  ASSERT_TRUE(s.client.Await([&] { return s.client.data[s.out].size() >= 256 * 1024; }));
  s.client.Reset(s.out);
  ASSERT_TRUE(s.client.AwaitEnd(s.error));
  EXPECT_THAT(s.client.data[s.err], testing::EndsWith("\n100\n"));
}

// What an attached client does not take is taken off the container's pipe all the same, and kept for it.
TEST_F(SessionsTest, AnAttachedContainerDoesNotWaitForItsClient) {
  const std::string mark = testing::TempDir() + absl::StrCat("sessions_test.", getpid());
  const std::string script = "seq 1 500000; touch " + mark + "; echo end";  // 3.4 MB
  Client& client = Serve(AttachRequest{script, false, false, true, false}, kCommandProtocols[0]);
  const spdy::StreamId error = client.Open({{"streamtype", "error"}}), out = client.Open({{"streamtype", "stdout"}});
  client.Hold(out);
  ASSERT_TRUE(client.Await([&] { return client.data[out].size() >= 64 * 1024; }));
  for (int i = 0; i < 1000 && access(mark.c_str(), F_OK) != 0; ++i) usleep(10000);
  EXPECT_EQ(access(mark.c_str(), F_OK), 0) << "the container waits";
  unlink(mark.c_str());
  client.Unhold(out);
  ASSERT_TRUE(client.AwaitEnd(error));
  std::string expected;
  for (int i = 1; i <= 500000; ++i) absl::StrAppend(&expected, i, "\n");
  EXPECT_TRUE(client.data[out] == expected + "end\n") << client.data[out].size();
}

// What waits for that frame's end is let go of, which the leak checker sees.
TEST_F(SessionsTest, AStreamIsResetWhileItIsSentAndTheClientLeaves) {
  ExecStreams s = Shell("cat /dev/zero");
  ASSERT_TRUE(s.client.Await([&] { return !s.client.data[s.out].empty(); }));
  usleep(100000);  // the socket is full by now
  s.client.Reset(s.out);
  s.client.Leave();
}

TEST_F(SessionsTest, AClientThatLeavesEndsItsCommand) {
  ExecStreams s = Shell("echo begun; sleep 1000");
  ASSERT_TRUE(s.client.Await([&] { return s.client.data[s.out] == "begun\n"; }));
  s.client.Leave();  // TearDown sees that it has ended
}

// The client sends on and on, the command reads nothing, and so we do not either: its leaving is seen all the same.
TEST_F(SessionsTest, AClientThatLeavesBesideAFullPipe) {
  ExecStreams s = Shell("echo begun; sleep 1000", true);
  ASSERT_TRUE(s.client.Await([&] { return s.client.data[s.out] == "begun\n"; }));
  std::thread sender([&] { s.client.Send(s.in, std::string(1 << 18, 'x'), false); });
  sender.join();
  s.client.Leave();
}

TEST_F(SessionsTest, StreamsThatNeverComeEndTheConnection) {
  Client& client = Serve(ExecRequest{"c", {"true"}, false, false, true, true}, kCommandProtocols[0]);
  client.Open({{"streamtype", "error"}});
  EXPECT_FALSE(client.Await([] { return false; }));
}

TEST_F(SessionsTest, AStreamThatNobodyAskedForIsReset) {
  Client& client = Serve(ExecRequest{"c", {"true"}, false, false, true, true}, kCommandProtocols[0]);
  const spdy::StreamId stray = client.Open({{"streamtype", "stdin"}});
  EXPECT_TRUE(client.Await([&] { return client.reset.count(stray) > 0; }));
}

// A server on loopback that answers each connection with what `serve` does.
class Listener {
 public:
  explicit Listener(std::function<void(int)> serve, int family = AF_INET) {
    fd_.Reset(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address = {};
    socklen_t size = sizeof address;
    if (family == AF_INET) {
      auto& v4 = reinterpret_cast<sockaddr_in&>(address);
      v4.sin_family = AF_INET;
      v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else {
      auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
      v6.sin6_family = AF_INET6;
      v6.sin6_addr = in6addr_loopback;
    }
    if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd_.get(), 100) != 0) return;
    getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(reinterpret_cast<sockaddr_in&>(address).sin_port);  // at the same place in both
    thread_ = std::thread([this, serve = std::move(serve)] {
      for (;;) {
        sys::UniqueFd connection(accept(fd_.get(), nullptr, nullptr));
        if (!connection) return;
        serve(connection.get());
      }
    });
  }
  ~Listener() {
    shutdown(fd_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }
  uint16_t port = 0;

 private:
  sys::UniqueFd fd_;
  std::thread thread_;
};

std::string ReadAll(int fd) {
  std::string all;
  char buffer[65536];
  ssize_t n;
  while ((n = read(fd, buffer, sizeof buffer)) > 0) all.append(buffer, static_cast<size_t>(n));
  return all;
}

// Answers only once it has seen the end of what the client sends.
void AnswerAfterTheEnd(int fd) {
  const std::string reply = absl::StrCat("got ", ReadAll(fd).size());
  (void)!write(fd, reply.data(), reply.size());
}

TEST_F(SessionsTest, ConnectionsAreForwardedWithTheirHalfClose) {
  Listener listener(AnswerAfterTheEnd);
  Client& client = Serve(PortForwardRequest{"pod", {}}, kForwardProtocol);
  for (int i = 0; i < 20; ++i) {
    const Forwarded f = Connect(client, listener.port, i);
    client.Send(f.data, std::string(100000, 'x'), true);
    ASSERT_TRUE(client.AwaitEnd(f.data));
    EXPECT_EQ(client.data[f.data], "got 100000");
    ASSERT_TRUE(client.AwaitEnd(f.error));
    EXPECT_EQ(client.data[f.error], "");
  }
}

// Pages of the socket are spliced by way of a pipe.
TEST_F(SessionsTest, MuchFromAPodIsWhole) {
  std::string all;
  for (int i = 1; i <= 2000000; ++i) absl::StrAppend(&all, i, "\n");
  Listener listener([&](int fd) {
    for (absl::string_view rest = all; !rest.empty();) {
      const ssize_t n = write(fd, rest.data(), rest.size());
      if (n <= 0) return;
      rest.remove_prefix(static_cast<size_t>(n));
    }
  });
  Client& client = Serve(PortForwardRequest{"pod", {}}, kForwardProtocol);
  const Forwarded f = Connect(client, listener.port, 1);
  ASSERT_TRUE(client.AwaitEnd(f.data));
  EXPECT_TRUE(client.data[f.data] == all) << client.data[f.data].size();
  client.Send(f.data, "", true);
  ASSERT_TRUE(client.AwaitEnd(f.error));
}

TEST_F(SessionsTest, AServerThatEndsFirstCanStillBeWrittenTo) {
  std::string rest;
  {
    Listener listener([&](int fd) {
      (void)!write(fd, "hello", 5);
      shutdown(fd, SHUT_WR);
      rest = ReadAll(fd);
    });
    Client& client = Serve(PortForwardRequest{"pod", {}}, kForwardProtocol);
    const Forwarded f = Connect(client, listener.port, 1);
    ASSERT_TRUE(client.AwaitEnd(f.data));
    client.Send(f.data, "late", true);
    ASSERT_TRUE(client.AwaitEnd(f.error));
  }
  EXPECT_EQ(rest, "late");
}

TEST_F(SessionsTest, AServerOnIPv6Alone) {
  Listener listener(AnswerAfterTheEnd, AF_INET6);
  if (listener.port == 0) GTEST_SKIP() << "no IPv6 on this machine's loopback";
  Client& client = Serve(PortForwardRequest{"pod", {}}, kForwardProtocol);
  const Forwarded f = Connect(client, listener.port, 1);
  client.Send(f.data, "x", true);
  ASSERT_TRUE(client.AwaitEnd(f.data));
  EXPECT_EQ(client.data[f.data], "got 1");
}

TEST_F(SessionsTest, ARefusedPortIsToldAndTheSessionGoesOn) {
  uint16_t closed;
  {
    closed = Listener([](int) {}).port;
  }
  Listener listener(AnswerAfterTheEnd);
  Client& client = Serve(PortForwardRequest{"pod", {}}, kForwardProtocol);
  const Forwarded bad = Connect(client, closed, 1);
  ASSERT_TRUE(client.AwaitEnd(bad.error));
  EXPECT_THAT(client.data[bad.error], HasSubstr(absl::StrCat("cannot connect to localhost:", closed, " in pod pod")));
  EXPECT_THAT(client.data[bad.error], HasSubstr("IPv6: "));
  const Forwarded good = Connect(client, listener.port, 2);
  client.Send(good.data, "x", true);
  ASSERT_TRUE(client.AwaitEnd(good.data));
}

// What was sent to connections that never came to be does not stay in the books, where it would stop the reading.
TEST_F(SessionsTest, ManyRefusedConnectionsWithInput) {
  uint16_t closed;
  {
    closed = Listener([](int) {}).port;
  }
  Client& client = Serve(PortForwardRequest{"pod", {}}, kForwardProtocol);
  for (int i = 0; i < 40; ++i) {
    const Forwarded bad = Connect(client, closed, i);
    client.Send(bad.data, std::string(60 * 1024, 'x'), false);
    ASSERT_TRUE(client.AwaitEnd(bad.error)) << i;
  }
}

// One connection that is stuck does not hold up the others, for a client that keeps windows.
TEST_F(SessionsTest, AStuckConnectionBesideOthers) {
  std::atomic<bool> release = false;
  std::atomic<int> number = 0;
  Listener listener([&](int fd) {
    if (number++ == 0) {
      std::thread([&, copy = dup(fd)] {
        while (!release) usleep(1000);
        ReadAll(copy);
        close(copy);
      }).detach();
      return;
    }
    AnswerAfterTheEnd(fd);
  });
  Client& client = Serve(PortForwardRequest{"pod", {}}, kForwardProtocol);
  const Forwarded stuck = Connect(client, listener.port, 1);
  client.Send(stuck.data, std::string(200 * 1024, 'x'), false);
  const Forwarded other = Connect(client, listener.port, 2);
  client.Send(other.data, "x", true);
  ASSERT_TRUE(client.AwaitEnd(other.data));
  client.Send(stuck.data, "", true);
  release = true;
  ASSERT_TRUE(client.AwaitEnd(stuck.error));
}

TEST_F(SessionsTest, PortsThatAreNone) {
  Client& client = Serve(PortForwardRequest{"pod", {}}, kForwardProtocol);
  for (const char* port : {"0", "65536", "x", ""}) {
    const spdy::StreamId id = client.Open({{"streamtype", "error"}, {"port", port}, {"requestid", "1"}});
    EXPECT_TRUE(client.Await([&] { return client.reset.count(id) > 0; })) << port;
  }
}

}  // namespace
}  // namespace berth::streaming
