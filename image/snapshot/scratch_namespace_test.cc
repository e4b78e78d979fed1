#include "image/snapshot/scratch_namespace.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::image {
namespace {

class ScratchNamespaceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mount namespaces need root";
    auto made = ScratchNamespace::Make();
    ASSERT_TRUE(made.ok()) << made.status();
    scratch_ = std::make_unique<ScratchNamespace>(*std::move(made));
  }
  std::unique_ptr<ScratchNamespace> scratch_;
};

TEST_F(ScratchNamespaceTest, ShowsNothingOfTheHostAndTheHostNothingOfIt) {
  const std::string before = *sys::ReadFile("/proc/self/mountinfo");
  const std::string here = std::filesystem::current_path();
  auto procfs = sys::MountDetached("proc", {}, 0);
  ASSERT_TRUE(procfs.ok()) << procfs.status();
  std::string table;
  for (int i = 0; i < 2; ++i) {
    absl::Status run = scratch_->Run([&]() -> absl::Status {
      EXPECT_TRUE(std::filesystem::is_empty("."));
      EXPECT_EQ(mkdir("p", 0700), 0) << errno;
      ASSIGN_OR_RETURN(sys::UniqueFd at, sys::Open("p", O_PATH));
      if (i == 0) RETURN_IF_ERROR(sys::AttachMount(procfs->get(), at.get(), "p"));
      if (i == 0) table = *sys::ReadFile("p/thread-self/mountinfo");
      return absl::OkStatus();
    });
    ASSERT_TRUE(run.ok()) << run;
  }
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 3) << table;  // root, working directory, procfs
  EXPECT_EQ(*sys::ReadFile("/proc/self/mountinfo"), before);
  EXPECT_EQ(std::filesystem::current_path(), here);
}

TEST_F(ScratchNamespaceTest, WhatIsClonedThereStays) {
  sys::UniqueFd clone;
  absl::Status run = scratch_->Run([&]() -> absl::Status {
    if (mkdir("t", 0700) != 0) return ErrnoError(errno, "mkdir");
    RETURN_IF_ERROR(
        sys::MountByPath("tmpfs", {sys::FsOption::String("mode", "711"), sys::FsOption::String("size", "64k")}, "t"));
    ASSIGN_OR_RETURN(clone, sys::CloneTree(AT_FDCWD, "t", false));
    return absl::OkStatus();
  });
  ASSERT_TRUE(run.ok()) << run;
  EXPECT_EQ(sys::StatFd(clone.get(), "t")->st_mode & 07777, mode_t{0711});
}

TEST_F(ScratchNamespaceTest, TheBodysErrorIsTheAnswer) {
  EXPECT_EQ(ErrnoOf(scratch_->Run([] { return ErrnoError(ESTALE, "x"); })), ESTALE);
}

TEST_F(ScratchNamespaceTest, OptionsThatFillMoreThanAPageAreNotCut) {
  EXPECT_EQ(
      ErrnoOf(sys::MountByPath("overlay", {sys::FsOption::String("lowerdir", std::string(4096, 'x'))}, "/nowhere")),
      E2BIG);
}

}  // namespace
}  // namespace berth::image
