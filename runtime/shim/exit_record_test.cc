#include "runtime/shim/exit_record.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "runtime/sys/file.h"

namespace berth::shim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ExitRecordTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: to mount";
    if (unshare(CLONE_NEWNS) != 0) GTEST_SKIP() << "no mount namespaces here";
    ASSERT_EQ(mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_NE(mkdtemp(path_.data()), nullptr);
    ASSERT_EQ(mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=256k"), 0);
    dir_ = *sys::Open(path_, O_RDONLY | O_DIRECTORY);
  }
  void TearDown() override {
    dir_.Reset();
    umount2(path_.c_str(), MNT_DETACH);
    rmdir(path_.c_str());
  }
  void FillDisk() {
    auto file = sys::OpenAt(dir_.get(), "filler", O_WRONLY | O_CREAT | O_APPEND, 0600);
    ASSERT_TRUE(file.ok());
    const std::string block(4096, 'f');
    while (write(file->get(), block.data(), block.size()) > 0) continue;
    ASSERT_EQ(errno, ENOSPC);
  }
  static v1::ExitRecord Record() {
    v1::ExitRecord record;
    record.set_container_id("c1");
    record.set_exit_code(41);
    return record;
  }
  std::string path_ = "/tmp/berth-exit-record-XXXXXX";
  sys::UniqueFd dir_;
};

TEST_F(ExitRecordTest, IsWrittenToADiskThatBecameFull) {
  ASSERT_TRUE(ReserveExitRecord(dir_.get(), "c1").ok());
  FillDisk();
  v1::ExitRecord long_one = Record();
  long_one.set_error(std::string(10000, 'e'));
  ASSERT_TRUE(WriteExitRecord(dir_.get(), long_one).ok());
  v1::ExitRecord read;
  auto bytes = sys::ReadFileAt(dir_.get(), "c1.exit");
  ASSERT_TRUE(bytes.ok() && read.ParseFromString(*bytes));
  EXPECT_EQ(read.exit_code(), 41);
  EXPECT_EQ(read.error(), std::string(3072, 'e'));
}

TEST_F(ExitRecordTest, AFullDiskRefusesTheContainerAndKeepsNothing) {
  FillDisk();
  absl::Status full = ReserveExitRecord(dir_.get(), "c1");
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
  EXPECT_THAT(std::string(full.message()), testing::HasSubstr("'.c1.exit.new'"));
  EXPECT_THAT(*sys::ListDir(dir_.get()), ElementsAre("filler"));
}

TEST_F(ExitRecordTest, IsRemovedWithItsRoom) {
  ASSERT_TRUE(ReserveExitRecord(dir_.get(), "c1").ok());
  RemoveExitRecord(dir_.get(), "c1");
  EXPECT_THAT(*sys::ListDir(dir_.get()), IsEmpty());
  ASSERT_TRUE(WriteExitRecord(dir_.get(), Record()).ok());  // also without any
  RemoveExitRecord(dir_.get(), "c1");
  EXPECT_THAT(*sys::ListDir(dir_.get()), IsEmpty());
}

}  // namespace
}  // namespace berth::shim
