#include "runtime/sys/unix_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "runtime/sys/file.h"

namespace berth::sys {
namespace {

TEST(UnixSocket, PacketsKeepTheirBoundariesAndDescriptors) {
  auto pair = SeqpacketPair();
  ASSERT_TRUE(pair.ok());
  auto null = Open("/dev/null", O_RDWR);
  const int fds[] = {null->get(), null->get()};
  ASSERT_TRUE(SendPacket(pair->first.get(), "one", fds).ok());
  ASSERT_TRUE(SendPacket(pair->first.get(), "two", {}).ok());
  auto one = RecvPacket(pair->second.get(), 100);
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->data, "one");
  ASSERT_EQ(one->fds.size(), 2u);
  EXPECT_TRUE(fcntl(one->fds[0].get(), F_GETFD) & FD_CLOEXEC);
  EXPECT_EQ(RecvPacket(pair->second.get(), 100)->data, "two");
  EXPECT_EQ(RecvPacket(pair->second.get(), 100, MSG_DONTWAIT).status().code(), absl::StatusCode::kUnavailable);
}

TEST(UnixSocket, APacketThatDoesNotFitIsAnErrorNotACut) {
  auto pair = SeqpacketPair();
  ASSERT_TRUE(SendPacket(pair->first.get(), "longer", {}).ok());
  EXPECT_EQ(RecvPacket(pair->second.get(), 3).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(UnixSocket, TheEndIsToldApartFromSilence) {
  auto pair = SeqpacketPair();
  pair->first.Reset();
  EXPECT_EQ(RecvPacket(pair->second.get(), 3).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(SendPacket(pair->second.get(), "x", {}).code(), absl::StatusCode::kUnavailable);
}

TEST(UnixSocket, AFullQueueIsUnavailableWithEagain) {
  auto pair = SeqpacketPair();
  const std::string block(4096, 'x');
  absl::Status status;
  while (status.ok()) status = SendPacket(pair->first.get(), block, {}, MSG_DONTWAIT);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrnoOf(status), EAGAIN);
}

TEST(UnixSocket, ListensInADirectoryOfAnyLength) {
  char base[] = "/tmp/berth-socket-test-XXXXXX";
  ASSERT_NE(mkdtemp(base), nullptr);
  const std::string deep = absl::StrCat(base, "/", std::string(120, 'd'));
  ASSERT_TRUE(MakeDirs(deep, 0700).ok());
  auto dir = Open(deep, O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(ConnectSeqpacket(dir->get(), "s.sock").status().code(), absl::StatusCode::kNotFound);
  {
    auto listener = ListenSeqpacket(dir->get(), "s.sock");
    ASSERT_TRUE(listener.ok()) << listener.status();
    struct stat st;
    ASSERT_EQ(fstatat(dir->get(), "s.sock", &st, 0), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600u);
    EXPECT_EQ(AcceptConnection(listener->get()).status().code(), absl::StatusCode::kNotFound);
    auto client = ConnectSeqpacket(dir->get(), "s.sock");
    ASSERT_TRUE(client.ok()) << client.status();
    auto server = AcceptConnection(listener->get());
    ASSERT_TRUE(server.ok());
    EXPECT_EQ(PeerCredentials(server->get())->uid, getuid());
  }
  EXPECT_EQ(ConnectSeqpacket(dir->get(), "s.sock").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(ListenSeqpacket(dir->get(), "../s.sock").ok());
  EXPECT_TRUE(RemoveTreeAt(AT_FDCWD, base).ok());
}

TEST(UnixSocket, StreamByAPathLongerThanAnAddress) {
  char name[] = "/tmp/berth-stream-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string dir = absl::StrCat(name, "/", std::string(150, 'd'));
  ASSERT_TRUE(MakeDirs(dir, 0755).ok());
  const std::string path = dir + "/agent";
  EXPECT_TRUE(absl::IsNotFound(ConnectStream(path).status()));
  auto at = Open(dir, O_PATH | O_DIRECTORY);
  ASSERT_TRUE(at.ok());
  {
    auto packets = ListenSeqpacket(at->get(), "agent");
    ASSERT_TRUE(packets.ok()) << packets.status();
    EXPECT_TRUE(absl::IsInvalidArgument(ConnectStream(path).status())) << "no stream";
  }
  EXPECT_TRUE(absl::IsNotFound(ConnectStream(path).status())) << "nobody listens any more";
  ASSERT_EQ(unlink(path.c_str()), 0);
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/agent", at->get());
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  EXPECT_TRUE(ConnectStream(path).ok()) << ConnectStream(path).status();
  ASSERT_TRUE(RemoveTreeAt(AT_FDCWD, name).ok());
}

}  // namespace
}  // namespace berth::sys
