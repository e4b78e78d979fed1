#include "runtime/sys/stream_listener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "runtime/sys/file.h"
#include "runtime/sys/unix_socket.h"

namespace berth::sys {
namespace {

class UnixStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    char base[] = "/tmp/berth-stream-test-XXXXXX";
    ASSERT_NE(mkdtemp(base), nullptr);
    dir_ = base;
  }
  void TearDown() override { ASSERT_TRUE(RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  std::string dir_;
};

TEST_F(UnixStreamTest, IsOursAloneAndReplacesOneThatIsStale) {
  const std::string path = dir_ + "/socket";
  const mode_t old = umask(0);
  auto first = ListenUnixStream(path);
  umask(old);
  ASSERT_TRUE(first.ok()) << first.status();
  struct stat found;
  ASSERT_EQ(stat(path.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  EXPECT_TRUE(ConnectStream(path).ok());
  EXPECT_EQ(ListenUnixStream(path).status().code(), absl::StatusCode::kUnavailable);
  first->Reset();
  EXPECT_TRUE(ListenUnixStream(path).ok());
}

TEST_F(UnixStreamTest, RemovesNothingElse) {
  ASSERT_TRUE(Open(dir_ + "/file", O_CREAT | O_WRONLY, 0600).ok());
  EXPECT_EQ(ListenUnixStream(dir_ + "/file").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(Open(dir_ + "/file", O_RDONLY).ok());
  EXPECT_EQ(ListenUnixStream(std::string(108, 'x')).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(StreamListener, ListensOnBothFamilies) {
  for (const char* address : {"127.0.0.1", "::1"}) {
    auto listener = ListenTcp(address, 0);
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_TRUE(fcntl(listener->get(), F_GETFD) & FD_CLOEXEC);
    auto port = LocalPort(listener->get());
    ASSERT_TRUE(port.ok());
    EXPECT_NE(*port, 0);
    EXPECT_EQ(ListenTcp(address, *port).status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(AcceptConnection(listener->get()).status().code(), absl::StatusCode::kNotFound);
  }
  EXPECT_EQ(ListenTcp("localhost", 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(StreamListener, KnowsLoopback) {
  EXPECT_TRUE(*IsLoopback("127.0.0.1"));
  EXPECT_TRUE(*IsLoopback("127.9.9.9"));
  EXPECT_TRUE(*IsLoopback("::1"));
  EXPECT_FALSE(*IsLoopback("0.0.0.0"));
  EXPECT_FALSE(*IsLoopback("::"));
  EXPECT_FALSE(*IsLoopback("10.0.0.1"));
  EXPECT_FALSE(IsLoopback("localhost").ok());
}

TEST(StreamListener, OptionsAreForTcpAlone) {
  UniqueFd tcp(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), local(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_TRUE(SetInteractive(local.get(), absl::Seconds(30)).ok());
  ASSERT_TRUE(SetInteractive(tcp.get(), absl::Seconds(30)).ok());
  int idle = 0;
  socklen_t size = sizeof idle;
  ASSERT_EQ(getsockopt(tcp.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, &size), 0);
  EXPECT_EQ(idle, 30);
}

}  // namespace
}  // namespace berth::sys
