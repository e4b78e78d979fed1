#include "cli/stream/forwarder.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/stream/connect.h"
#include "cli/stream/upgrade.h"
#include "cli/testing/fake_streams.h"

namespace berth::cli::stream {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Peer = FakeStreams::Connection;
using StreamId = FakeStreams::StreamId;

class ForwarderTest : public ::testing::Test {
 protected:
  ForwarderTest() {
    char name[] = "/tmp/berth-forward-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~ForwarderTest() override {
    Stop();
    std::filesystem::remove_all(directory_);
  }

  static FakeStreams::Hooks Echo() {
    FakeStreams::Hooks hooks;
    hooks.data = [](Peer& peer, StreamId id, const std::string& type, absl::string_view bytes, bool fin) {
      if (type != "data") return;
      peer.Send(id, bytes, fin);
      if (fin) peer.Send(ErrorOf(peer, id), "", true);
    };
    return hooks;
  }
  // The error stream of the same connection was opened just before.
  static StreamId ErrorOf(Peer&, StreamId data) { return data - 2; }

  void Start(FakeStreams::Hooks server) {
    server_ = std::make_unique<FakeStreams>(directory_ + "/streaming.sock", std::move(server));
    auto listeners = Listen({"127.0.0.1", 0, 80});
    ASSERT_TRUE(listeners.ok()) << listeners.status();
    port_ = listeners->front().local;
    Forwarder::Hooks hooks;
    hooks.connect = [this]() -> absl::StatusOr<std::unique_ptr<SpdyClient>> {
      ASSIGN_OR_RETURN(Url url, ParseUrl("http://127.0.0.1:1/portforward/x"));
      absl::Time deadline = absl::Now() + absl::Seconds(10);
      ASSIGN_OR_RETURN(sys::UniqueFd socket, Connect(directory_ + "/berth.sock", url, deadline));
      ASSIGN_OR_RETURN(std::string early, Upgrade(socket.get(), url, kForwardProtocol, deadline));
      return std::make_unique<SpdyClient>(std::move(socket), std::move(early));
    };
    hooks.check = [this] { return gone_ ? absl::NotFoundError("the pod is gone") : absl::OkStatus(); };
    hooks.complain = [this](absl::string_view text) {
      std::lock_guard<std::mutex> lock(mu_);
      complaints_.emplace_back(text);
    };
    auto session = hooks.connect();
    ASSERT_TRUE(session.ok()) << session.status();
    forwarder_ = std::make_unique<Forwarder>(*std::move(listeners), *std::move(session), std::move(hooks));
    thread_ = std::thread([this] { end_ = forwarder_->Run(); });
  }
  void Stop() {
    if (!thread_.joinable()) return;
    gone_ = true;
    server_.reset();  // ends the session, or lets the next connection fail
    (void)Dial();
    thread_.join();
  }

  sys::UniqueFd Dial() const {
    sys::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!DialWith(fd.get())) fd.Reset();
    return fd;
  }
  bool DialWith(int fd) const {
    timeval patience = {20, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  static void Write(const sys::UniqueFd& fd, absl::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t n = send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  // Up to the end; "!" and the errno behind it when that is an error.
  static std::string Read(const sys::UniqueFd& fd, size_t at_most = SIZE_MAX) {
    std::string all, part(64 * 1024, '\0');
    while (all.size() < at_most) {
      ssize_t n = recv(fd.get(), part.data(), std::min(part.size(), at_most - all.size()), 0);
      if (n < 0) return absl::StrCat(all, "!", errno);
      if (n == 0) break;
      all.append(part, 0, static_cast<size_t>(n));
    }
    return all;
  }
  static std::string Numbers(int seed, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) absl::StrAppend(&text, seed, ":", i, " ");
    return text;
  }
  void Await(const std::function<bool()>& done) {
    for (int i = 0; i < 10000 && !done(); ++i) absl::SleepFor(absl::Milliseconds(1));
    ASSERT_TRUE(done());
  }

  std::string directory_;
  std::unique_ptr<FakeStreams> server_;
  std::unique_ptr<Forwarder> forwarder_;
  std::thread thread_;
  uint16_t port_ = 0;
  std::atomic<bool> gone_ = false;
  std::mutex mu_;
  std::vector<std::string> complaints_;
  absl::Status end_;
};

TEST_F(ForwarderTest, BytesAndTheirEndGoBothWays) {
  Start(Echo());
  std::string bytes = Numbers(1, 200'000);
  sys::UniqueFd fd = Dial();
  std::thread writer([&] {
    Write(fd, bytes);
    shutdown(fd.get(), SHUT_WR);
  });
  EXPECT_TRUE(Read(fd) == bytes);
  writer.join();
  EXPECT_THAT(complaints_, ElementsAre());
}

TEST_F(ForwarderTest, PodThatEndsFirstStillReads) {
  std::mutex mu;
  std::string got;
  bool ended = false;
  FakeStreams::Hooks hooks;
  hooks.opened = [](Peer& peer, StreamId id, const std::string& type) {
    if (type == "data") peer.Send(id, "bye", true);
    EXPECT_EQ(peer.header(id, "port"), "80");
    EXPECT_EQ(peer.header(id, "requestid"), "1");
  };
  hooks.data = [&](Peer&, StreamId, const std::string& type, absl::string_view bytes, bool fin) {
    if (type != "data") return;
    std::lock_guard<std::mutex> lock(mu);
    got.append(bytes.data(), bytes.size());
    ended |= fin;
  };
  Start(hooks);
  sys::UniqueFd fd = Dial();
  EXPECT_EQ(Read(fd), "bye");
  Write(fd, "more");
  fd.Reset();
  Await([&] {
    std::lock_guard<std::mutex> lock(mu);
    return ended;
  });
  EXPECT_EQ(got, "more");
}

TEST_F(ForwarderTest, ManyAtOnceAndOneThatIsCutDisturbsNone) {
  std::atomic<int> resets = 0;
  FakeStreams::Hooks hooks = Echo();
  hooks.reset = [&](Peer&, StreamId, const std::string& type) { resets += type == "data"; };
  Start(hooks);
  sys::UniqueFd cut = Dial();
  Write(cut, "x");
  EXPECT_EQ(Read(cut, 1), "x");
  std::vector<std::thread> users;
  std::atomic<int> good = 0;
  for (int i = 0; i < 40; ++i) {
    users.emplace_back([&, i] {
      sys::UniqueFd fd = Dial();
      std::string bytes = Numbers(i, 20'000);
      std::thread writer([&] {
        Write(fd, bytes);
        shutdown(fd.get(), SHUT_WR);
      });
      good += Read(fd) == bytes;
      writer.join();
    });
  }
  linger now = {1, 0};
  setsockopt(cut.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  cut.Reset();
  for (std::thread& user : users) user.join();
  EXPECT_EQ(good, 40);
  Await([&] { return resets == 1; });
  EXPECT_EQ(server_->connections, 1);
}

TEST_F(ForwarderTest, ConnectionsBeyondTheDescriptorsWaitForTheirTurn) {
  Start(Echo());
  {
    const sys::UniqueFd first = Dial();  // what sanitizers need descriptors for is done once
    Write(first, "first");
    shutdown(first.get(), SHUT_WR);
    EXPECT_EQ(Read(first), "first");
  }
  std::vector<sys::UniqueFd> clients;
  for (int i = 0; i < 40; ++i) clients.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = static_cast<rlim_t>(clients.back().get()) + 6;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  for (sys::UniqueFd& client : clients) EXPECT_TRUE(DialWith(client.get()));
  for (size_t i = 0; i < clients.size(); ++i) {
    Write(clients[i], absl::StrCat("client ", i));
    shutdown(clients[i].get(), SHUT_WR);
    EXPECT_EQ(Read(clients[i]), absl::StrCat("client ", i));
  }
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(ForwarderTest, ReaderThatTakesNothingStopsNobodyElse) {
  FakeStreams::Hooks hooks = Echo();
  hooks.opened = [](Peer& peer, StreamId id, const std::string& type) {
    if (type == "data" && id <= 4) peer.Send(id, std::string(32 << 20, 'x'));
  };
  Start(hooks);
  sys::UniqueFd stalled = Dial();
  EXPECT_EQ(Read(stalled, 1), "x");
  for (int i = 0; i < 3; ++i) {
    sys::UniqueFd fd = Dial();
    std::string bytes = Numbers(i, 100'000);
    std::thread writer([&] {
      Write(fd, bytes);
      shutdown(fd.get(), SHUT_WR);
    });
    EXPECT_TRUE(Read(fd) == bytes);
    writer.join();
  }
}

TEST_F(ForwarderTest, FailureInThePodResetsTheConnectionAndIsTold) {
  FakeStreams::Hooks hooks;
  hooks.opened = [](Peer& peer, StreamId id, const std::string& type) {
    if (type != "data") return;
    peer.Send(ErrorOf(peer, id), "connection refused\n", true);
    peer.Reset(id);
  };
  Start(hooks);
  sys::UniqueFd fd = Dial();
  EXPECT_EQ(Read(fd), absl::StrCat("!", ECONNRESET));
  Await([&] {
    std::lock_guard<std::mutex> lock(mu_);
    return !complaints_.empty();
  });
  EXPECT_THAT(complaints_, ElementsAre(absl::StrCat("127.0.0.1:", port_, " -> 80: connection refused")));
}

TEST_F(ForwarderTest, SessionThatHasEndedIsMadeAnew) {
  FakeStreams::Hooks hooks = Echo();
  hooks.opened = [](Peer& peer, StreamId, const std::string& type) {
    if (type == "data" && peer.number == 1) peer.Close();
  };
  Start(hooks);
  EXPECT_EQ(Read(Dial()), absl::StrCat("!", ECONNRESET));
  sys::UniqueFd fd = Dial();
  Write(fd, "again");
  EXPECT_EQ(Read(fd, 5), "again");
  EXPECT_EQ(server_->connections, 2);
}

TEST_F(ForwarderTest, EndsWhenThePodIsGone) {
  Start(Echo());
  sys::UniqueFd fd = Dial();
  Write(fd, "x");
  EXPECT_EQ(Read(fd, 1), "x");
  gone_ = true;
  server_.reset();
  thread_.join();
  EXPECT_EQ(end_, absl::NotFoundError("the pod is gone"));
}

}  // namespace
}  // namespace berth::cli::stream
