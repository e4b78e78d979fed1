#include "runtime/base/fault.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "runtime/base/status.h"

namespace berth {
namespace {

static_assert(std::string_view(fault::InTree("/home/a/image/berth/cri/pod/engine.cc")) == "cri/pod/engine.cc");
static_assert(std::string_view(fault::InTree("../../runtime/sys/file.cc")) == "runtime/sys/file.cc");
static_assert(std::string_view(fault::InTree("runtime/sys/file.cc")) == "runtime/sys/file.cc");

#ifdef BERTH_FAULTS

constexpr int kRoom = 8;

struct File {
  fault::Control control = {};
  fault::Passed passed[kRoom] = {};
};

int line = 0;

absl::StatusOr<int> One() { return 1; }

absl::Status Work(int* done) {
  line = __LINE__ + 1;
  ASSIGN_OR_RETURN(int one, One(), "one");
  *done += one;
  RETURN_IF_ERROR(absl::OkStatus(), "two");
  *done += one;
  return absl::OkStatus();
}

class FaultTest : public testing::Test {
 protected:
  void SetUp() override {
    int done = 0;
    ASSERT_TRUE(Work(&done).ok());  // learns the line
    memcpy(file_.control.magic, "BFAULTS1", 8);
    strcpy(file_.control.file, "runtime/base/fault_test.cc");
    file_.control.line = line;
    file_.control.action = fault::kFail;
    file_.control.error_number = ENOSPC;
    fault::control = &file_.control;
  }
  void TearDown() override { fault::control = nullptr; }

  File file_;
};

TEST_F(FaultTest, NothingHappensUnlessArmed) {
  int done = 0;
  EXPECT_TRUE(Work(&done).ok());
  EXPECT_EQ(done, 2);
  EXPECT_EQ(file_.control.fired, 0u);
}

TEST_F(FaultTest, FailsOnceWithTheContextOfTheStep) {
  file_.control.armed = 1;
  int done = 0;
  absl::Status status = Work(&done);
  EXPECT_EQ(ErrnoOf(status), ENOSPC);
  EXPECT_EQ(status.message().substr(0, 4), "one:");
  EXPECT_EQ(done, 0);
  EXPECT_EQ(file_.control.fired_pid, getpid());
  EXPECT_TRUE(Work(&done).ok());
}

TEST_F(FaultTest, IsSkippedAsOftenAsAsked) {
  file_.control.skip = 2;
  file_.control.repeat = 1;
  file_.control.armed = 1;
  int done = 0;
  EXPECT_TRUE(Work(&done).ok());
  EXPECT_TRUE(Work(&done).ok());
  EXPECT_FALSE(Work(&done).ok());
  EXPECT_FALSE(Work(&done).ok());
  EXPECT_EQ(file_.control.fired, 2u);
}

TEST_F(FaultTest, OfAnotherProgramOrLineIsNotTaken) {
  file_.control.armed = 1;
  file_.control.program = fault::kShim;
  int done = 0;
  EXPECT_TRUE(Work(&done).ok());
  file_.control.program = fault::kAnyProgram;
  ++file_.control.line;
  EXPECT_TRUE(Work(&done).ok());
}

TEST_F(FaultTest, Kills) {
  file_.control.action = fault::kKill;
  file_.control.armed = 1;
  const pid_t child = fork();
  if (child == 0) {
    int done = 0;
    Work(&done).IgnoreError();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

#endif

}  // namespace
}  // namespace berth
