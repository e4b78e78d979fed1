#include "runtime/security/users.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "runtime/sys/file.h"

namespace berth::security {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const UserFiles kFiles = {
    "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken line\nbad:x:abc:1::/:\n"
    "app:x:1000:1001:App:/home/app:/bin/sh\r\n4294967296:x:0:0::/:\nhuge:x:3000000000:1::/"
    ":\nevil:x:7:7::/x\x1by:\n",
    "root:x:0:\nwheel:x:10:root,app\nstaff:x:50:app\nstaff2:x:50:app\nbad:x:zz:app\nnet:x:1001:"
    "\nbig:x:4000000000:app\n"};

std::string Show(const UserRequest& request, const UserFiles& files = kFiles) {
  auto user = ResolveUser(request, files);
  if (!user.ok()) {
    EXPECT_EQ(user.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(user.status().message());
  }
  std::string out = absl::StrCat(user->uid, ":", user->gid, " ", user->home);
  for (uint32_t group : user->groups) absl::StrAppend(&out, " ", group);
  return out;
}

TEST(UsersTest, ImageUserForms) {
  EXPECT_EQ(Show({}), "0:0 /root 0 10");
  EXPECT_EQ(Show({}, {}), "0:0 / 0");
  EXPECT_EQ(Show({.image_user = "app"}), "1000:1001 /home/app 1001 10 50");
  EXPECT_EQ(Show({.image_user = "1000"}), "1000:1001 /home/app 1001 10 50");
  EXPECT_EQ(Show({.image_user = "app:staff"}), "1000:50 /home/app 50 10");
  EXPECT_EQ(Show({.image_user = "1000:0"}), "1000:0 /home/app 0 10 50");
  EXPECT_EQ(Show({.image_user = "5:6"}), "5:6 / 6");
  EXPECT_EQ(Show({.image_user = "1000:"}), "1000:1001 /home/app 1001 10 50");
}

// CVE-2026-30892, CVE-2024-40635, CVE-2026-46680: nothing that looks like a number becomes another
// number or a name.
TEST(UsersTest, NumbersAreNumbersOrErrors) {
  EXPECT_EQ(Show({.image_user = "1"}, {}), "1:0 / 0");
  EXPECT_EQ(Show({.image_user = "1:"}, {}), "1:0 / 0");
  EXPECT_EQ(Show({.image_user = "2147483647"}, {}), "2147483647:0 / 0");
  EXPECT_THAT(Show({.image_user = "2147483648"}), HasSubstr("2147483648 is not within"));
  EXPECT_THAT(Show({.image_user = "4294967296"}), HasSubstr("4294967296 is not within"));
  EXPECT_THAT(Show({.image_user = "99999999999999999999"}), HasSubstr("'99999999999999999999' is not within"));
  EXPECT_THAT(Show({.image_user = "1:4294967295"}), HasSubstr("is not within"));
  for (const char* user : {"0x1", " 1", "-1", "1 ", "+1", "1.0"}) {
    EXPECT_THAT(Show({.image_user = user}), HasSubstr("is not in the image's /etc/passwd")) << user;
  }
  EXPECT_THAT(Show({.image_user = ":5"}), HasSubstr("user is empty"));
  EXPECT_THAT(Show({.image_user = "huge"}), HasSubstr("3000000000"));
  EXPECT_THAT(Show({.image_user = "nobody"}), HasSubstr("'nobody'"));
  EXPECT_THAT(Show({.image_user = "app:none"}), HasSubstr("'none'"));
  EXPECT_THAT(Show({.image_user = "bad"}), HasSubstr("'bad'"));
}

TEST(UsersTest, RequestReplacesTheImage) {
  EXPECT_EQ(Show({.image_user = "nobody", .run_as_user = 1000}), "1000:1001 /home/app 1001 10 50");
  EXPECT_EQ(Show({.image_user = "nobody", .run_as_user = 77}), "77:0 / 0");
  EXPECT_EQ(Show({.run_as_username = "app"}), "1000:1001 /home/app 1001 10 50");
  EXPECT_EQ(Show({.run_as_user = 1000, .run_as_group = 5}), "1000:5 /home/app 5 10 50");
  EXPECT_THAT(Show({.run_as_username = "ghost"}), HasSubstr("run_as_username: user 'ghost'"));
  EXPECT_THAT(Show({.run_as_group = 5}), HasSubstr("run_as_group is given without"));
  EXPECT_THAT(Show({.image_user = "app", .run_as_group = 5}), HasSubstr("run_as_group is given without"));
  EXPECT_THAT(Show({.run_as_user = 1, .run_as_username = "app"}), HasSubstr("both"));
  EXPECT_THAT(Show({.run_as_user = -1}), HasSubstr("run_as_user -1"));
  EXPECT_THAT(Show({.run_as_user = int64_t{1} << 31}), HasSubstr("run_as_user"));
  EXPECT_THAT(Show({.run_as_user = 1, .run_as_group = -1}), HasSubstr("run_as_group -1"));
}

TEST(UsersTest, SupplementalGroupsAndPolicy) {
  EXPECT_EQ(Show({.run_as_user = 1000, .supplemental_groups = {7, 50, 7}}), "1000:1001 /home/app 1001 10 50 7");
  EXPECT_EQ(Show({.run_as_user = 1000, .supplemental_groups = {7}, .strict_groups = true}),
            "1000:1001 /home/app 1001 7");
  EXPECT_THAT(Show({.supplemental_groups = {-5}}), HasSubstr("supplemental group -5"));
}

TEST(UsersTest, HomeWithControlBytesIsNotUsed) { EXPECT_EQ(Show({.image_user = "evil"}), "7:7 / 7"); }

class UserFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-users-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    ASSERT_EQ(mkdir((dir_ + "/etc").c_str(), 0755), 0);
    root_ = sys::Open(dir_, O_PATH | O_DIRECTORY).value();
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  void Put(const char* path, absl::string_view text) {
    auto fd = sys::Open(dir_ + path, O_WRONLY | O_CREAT, 0644);
    ASSERT_TRUE(fd.ok());
    ASSERT_TRUE(sys::WriteAll(fd->get(), text, path).ok());
  }
  absl::StatusCode Code() { return ReadUserFiles(root_.get()).status().code(); }
  std::string dir_;
  sys::UniqueFd root_;
};

TEST_F(UserFilesTest, ReadsAndToleratesWhatIsMissing) {
  EXPECT_EQ(ReadUserFiles(root_.get())->passwd, "");
  Put("/etc/passwd", "x");
  EXPECT_EQ(ReadUserFiles(root_.get())->passwd, "x");
  EXPECT_EQ(ReadUserFiles(root_.get())->group, "");
}

TEST_F(UserFilesTest, SymlinkedDirectoryStaysInside) {
  ASSERT_EQ(rmdir((dir_ + "/etc").c_str()), 0);
  ASSERT_EQ(symlink("../../../../etc", (dir_ + "/etc").c_str()), 0);
  EXPECT_EQ(Code(), absl::StatusCode::kFailedPrecondition);  // a link to itself, once inside
}

TEST_F(UserFilesTest, OnlyRegularFiles) {  // CVE-2026-47262, CVE-2024-9676
  ASSERT_EQ(mkfifo((dir_ + "/etc/passwd").c_str(), 0644), 0);
  EXPECT_EQ(Code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_EQ(unlink((dir_ + "/etc/passwd").c_str()), 0);
  ASSERT_EQ(symlink("/etc/group", (dir_ + "/etc/passwd").c_str()), 0);
  EXPECT_EQ(Code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(UserFilesTest, HugeFilesAreNotRead) {
  Put("/etc/group", "");
  ASSERT_EQ(truncate((dir_ + "/etc/group").c_str(), int64_t{2} << 30), 0);
  EXPECT_EQ(Code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace berth::security
