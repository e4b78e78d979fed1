#include "runtime/container/execute.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>

#include "runtime/sys/file.h"

namespace berth::container {
namespace {

using testing::ElementsAre;

TEST(Execute, PathIsSearchedOnlyForNamesWithoutSlash) {
  EXPECT_THAT(ExecutableCandidates("sh", {"A=b", "PATH=/x:/y/::z"}), ElementsAre("/x/sh", "/y/sh", "z/sh"));
  EXPECT_THAT(ExecutableCandidates("./sh", {"PATH=/x"}), ElementsAre("./sh"));
  EXPECT_THAT(ExecutableCandidates("sh", {"PATH="}), ElementsAre());
  EXPECT_EQ(ExecutableCandidates("sh", {}).front(), "/usr/local/sbin/sh");
  EXPECT_THAT(ExecutableCandidates("sh", {"PATH=/old", "PATH=/new"}), ElementsAre("/new/sh"));
}

class ExecuteTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-execute-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
    root_ = *sys::Open(dir_, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(sys::ReplaceFileAt(root_.get(), "plain", "not a program", 0600).ok());
    ASSERT_TRUE(sys::ReplaceFileAt(root_.get(), "noexec", "not a program", 0700).ok());
    ASSERT_TRUE(sys::MakeDirs(dir_ + "/directory", 0755).ok());
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  absl::Status Run(const std::string& program) { return Execute({program}, {"PATH=/nowhere:" + dir_}); }
  std::string dir_;
  sys::UniqueFd root_;
};

TEST_F(ExecuteTest, FailuresAreToldApart) {
  absl::Status missing = Run("missing");
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.message(), "exec: \"missing\": executable file not found in $PATH");
  EXPECT_EQ(Run("/missing").message(), "exec: \"/missing\": no such file or directory");
  EXPECT_EQ(Run("plain").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Run("directory").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Run(dir_ + "/directory").message(), "exec: \"" + dir_ + "/directory\": is a directory");
  EXPECT_EQ(Run(dir_ + "/plain/below").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Run("noexec").message(), "exec: \"noexec\": exec format error");
  EXPECT_EQ(Execute({}, {}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Execute({""}, {}).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace berth::container
