#include "runtime/shim/seccomp_listener.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/json.h"
#include "runtime/sys/pidfd.h"

namespace berth::shim {
namespace {

TEST(ProcessStateTest, IsCompletedWithPidsAndTheNamesOfDescriptors) {
  auto text =
      CompleteProcessState(R"({"ociVersion":"1.2.0","metadata":"m","state":{"id":"c","status":"creating"}})", 12, 7);
  ASSERT_TRUE(text.ok()) << text.status();
  auto json = ParseJson(*text);
  ASSERT_TRUE(json.ok()) << *text;
  EXPECT_EQ(*json, Json::parse(R"({"ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": 12, "metadata": "m",
                                   "state": {"id": "c", "status": "creating", "pid": 7}})"));
}

TEST(ProcessStateTest, WhatEndsOtherwiseIsRefused) {
  for (const char* text : {"", "{}", "}"})
    EXPECT_TRUE(absl::IsInvalidArgument(CompleteProcessState(text, 1, 1).status()));
}

class MailboxTest : public ::testing::Test {
 protected:
  // A child that runs `body` and would wait for ever.
  sys::UniqueFd Child(void (*body)(security::ListenerMailbox&)) {
    mailbox_ = security::ListenerMailbox::Create().value();
    pid_ = fork();
    if (pid_ == 0) {
      alarm(30);
      body(*mailbox_);
      _exit(0);
    }
    return sys::OpenPidfd(pid_).value();
  }
  void TearDown() override {
    kill(pid_, SIGKILL);  // our child, not reaped yet
    waitpid(pid_, nullptr, 0);
  }
  security::ListenerMailbox::Pointer mailbox_;
  pid_t pid_ = -1;
};

TEST_F(MailboxTest, ADescriptorChangesHands) {
  sys::UniqueFd pidfd = Child([](security::ListenerMailbox& m) {
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], "x", 1) != 1) return;
    m.Offer(ends[0]);
  });
  auto taken = mailbox_->Take(pidfd.get(), 20000);
  if (ErrnoOf(taken.status()) == EPERM) GTEST_SKIP() << "taking descriptors of others needs CAP_SYS_PTRACE";
  ASSERT_TRUE(taken.ok()) << taken.status();
  char c = 0;
  EXPECT_EQ(read(taken->get(), &c, 1), 1);
  EXPECT_EQ(c, 'x');
  EXPECT_TRUE(sys::WaitPidfdExited(pidfd.get(), 20000)) << "the child still waits";
}

TEST_F(MailboxTest, AChildThatExitsIsNotWaitedFor) {
  sys::UniqueFd pidfd = Child([](security::ListenerMailbox&) {});
  EXPECT_TRUE(absl::IsAborted(mailbox_->Take(pidfd.get(), 20000).status()));
}

TEST_F(MailboxTest, WaitingHasAnEnd) {
  sys::UniqueFd pidfd = Child([](security::ListenerMailbox&) { pause(); });
  EXPECT_TRUE(absl::IsDeadlineExceeded(mailbox_->Take(pidfd.get(), 10).status()));
}

}  // namespace
}  // namespace berth::shim
