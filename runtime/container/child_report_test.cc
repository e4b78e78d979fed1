#include "runtime/container/child_report.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>

#include "runtime/sys/unix_socket.h"

namespace berth::container {
namespace {

TEST(ChildReport, StepsAndErrorsArrive) {
  auto pair = sys::SeqpacketPair();
  StepTimer timer;
  timer.Begin("a step with a name longer than there is room for");
  timer.Begin("mounts");
  timer.End();
  SendReport(pair->first.get(), MakeReport(ChildReport::kFailed, timer, ErrnoError(EACCES, std::string(600, 'x'))),
             pair->first.get());
  auto received = ReceiveReport(pair->second.get(), MSG_DONTWAIT);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->report.kind, ChildReport::kFailed);
  EXPECT_EQ(received->report.step_count, 2u);
  EXPECT_STREQ(received->report.steps[1].name, "mounts");
  EXPECT_EQ(received->report.error_number, EACCES);
  EXPECT_EQ(StatusOf(received->report).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(StatusOf(received->report).message(), std::string(511, 'x'));
  EXPECT_TRUE(received->fd.valid());
}

TEST(ChildReport, SilenceAndEndAreToldApart) {
  auto pair = sys::SeqpacketPair();
  EXPECT_EQ(ReceiveReport(pair->second.get(), MSG_DONTWAIT).status().code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(sys::SendPacket(pair->first.get(), "short", {}).ok());
  EXPECT_EQ(ReceiveReport(pair->second.get(), MSG_DONTWAIT).status().code(), absl::StatusCode::kInternal);
  pair->first.Reset();
  EXPECT_EQ(ReceiveReport(pair->second.get(), MSG_DONTWAIT).status().code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace berth::container
