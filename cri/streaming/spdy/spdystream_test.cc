// A session against the SPDY library of Kubernetes' clients, in both roles (tests/clients/spdystream).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "cri/streaming/spdy/test_peer.h"

namespace berth::streaming::spdy {
namespace {

std::string Program() {
  const char* cache = std::getenv("BERTH_CACHE");
  return absl::StrCat(cache != nullptr && *cache != '\0' ? cache : BERTH_SOURCE_DIR "/.cache", "/clients/spdystream");
}

// Sends back what it gets, or sends and wants it back; one thread, one socket.
class Endpoint : public TestPeer {
 public:
  explicit Endpoint(Session::Role role) : TestPeer(role) {}

  struct Stream {
    std::string to_send;
    bool ends = false, ended = false;
  };
  std::map<StreamId, Stream> streams;
  int resets = 0, pongs = 0, ends = 0;

  void OnStream(StreamId id, const Headers& headers, bool) override {
    if (!headers.empty() && headers[0].first == "refuse") return session.Reset(id, RstStatus::kRefusedStream);
    streams[id];
    session.Reply(id, headers, false);
  }
  void OnData(StreamId id, absl::string_view bytes, bool fin) override {
    if (echoes) {
      streams[id].to_send.append(bytes.data(), bytes.size());
      streams[id].ends = fin;
    } else {
      received[id].append(bytes.data(), bytes.size());
      ends += fin;
    }
    session.Consumed(id, bytes.size());
  }
  void OnReset(StreamId id, RstStatus) override {
    ++resets;
    streams.erase(id);
  }
  void OnPong(uint32_t) override { ++pongs; }

  bool echoes = true;

  // Until the other has closed it, or `done`. False when it has not moved for a while.
  bool Run(int socket, const std::function<bool()>& done) {
    char buffer[65536];
    while (!done()) {
      Fill();
      pollfd wait{.fd = socket, .events = static_cast<short>(POLLIN | (out_.empty() ? 0 : POLLOUT))};
      if (poll(&wait, 1, 20000) <= 0) return false;
      if ((wait.revents & POLLOUT) != 0) {
        const ssize_t n = send(socket, out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) out_.erase(0, static_cast<size_t>(n));
      }
      if ((wait.revents & (POLLIN | POLLHUP)) != 0) {
        const ssize_t n = recv(socket, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n == 0) return true;
        if (n < 0) continue;
        const absl::Status status = session.Receive({buffer, static_cast<size_t>(n)});
        EXPECT_EQ(status, absl::OkStatus());
        if (!status.ok()) return false;
      }
    }
    Fill();
    return send(socket, out_.data(), out_.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(out_.size());
  }

 private:
  void Fill() {
    out_ += session.TakeOutput();
    for (auto& [id, stream] : streams) {
      if (out_.size() > 1 << 20) return;
      const size_t size = std::min({session.SendWindow(id), stream.to_send.size(), size_t{40000}});
      const bool fin = stream.ends && !stream.ended && size == stream.to_send.size() && session.SendWindow(id) > 0;
      if (size == 0 && !fin) continue;
      out_ += Data(id, stream.to_send.substr(0, size), fin);
      stream.to_send.erase(0, size);
      stream.ended |= fin;
    }
  }

  std::string out_;
};

class SpdystreamTest : public ::testing::Test {
 protected:
  // The other end of `socket_` as `role`.
  void Start(const char* role) {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    socket_ = pair[0];
    child_ = fork();
    if (child_ == 0) {
      if (pair[1] == 3) fcntl(3, F_SETFD, 0);
      dup2(pair[1], 3);
      execl(program_.c_str(), "spdystream", role, nullptr);
      _exit(127);
    }
    close(pair[1]);
  }
  int Finish() {
    close(socket_);
    int status = -1;
    waitpid(child_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void SetUp() override {
    if (access(program_.c_str(), X_OK) != 0) GTEST_SKIP() << program_ << " is not there (tests/clients/make builds it)";
  }

  const std::string program_ = Program();
  int socket_ = -1;
  pid_t child_ = -1;
};

TEST_F(SpdystreamTest, AsAClient) {
  Start("client");
  Endpoint server(Session::Role::kServer);
  EXPECT_TRUE(server.Run(socket_, [] { return false; })) << "it closes the connection";
  EXPECT_EQ(server.resets, 4);
  EXPECT_EQ(server.session.open_streams(), 0u);
  EXPECT_EQ(Finish(), 0);
}

TEST_F(SpdystreamTest, AsAServer) {
  Start("server");
  Endpoint client(Session::Role::kClient);
  client.echoes = false;
  std::map<StreamId, std::string> sent;
  for (size_t i = 0; i < 20; ++i) {
    const StreamId id = client.session.Open({{"streamtype", "data"}, {"requestid", absl::StrCat(i)}}, false).value();
    sent[id] = std::string(i * 20000, static_cast<char>('a' + i));
    client.streams[id] = {.to_send = sent[id], .ends = true};
    client.received[id];
  }
  client.session.Ping();
  EXPECT_TRUE(client.Run(socket_, [&] { return client.ends == 20 && client.pongs == 1; }));
  EXPECT_EQ(client.received, sent);
  EXPECT_EQ(client.session.open_streams(), 0u);
  client.session.GoAway(GoAwayStatus::kOk);
  EXPECT_TRUE(client.Run(socket_, [] { return false; })) << "it closes the connection";
  EXPECT_EQ(Finish(), 0);
}

}  // namespace
}  // namespace berth::streaming::spdy
