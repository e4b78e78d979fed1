// Binds and device nodes on real mounts, in a mount namespace of the test's own. Needs root.
#include "runtime/rootfs/bind.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "runtime/rootfs/device_nodes.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"
#include "runtime/sys/older_kernel.h"

namespace berth::rootfs {
namespace {

using ::testing::HasSubstr;

// dir/private, dir/shared and dir/slave are tmpfs mounts of that propagation; each holds the mount
// "sub".
class BindTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mounts need root";
    static const bool unshared =
        unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    ASSERT_TRUE(unshared);
    char name[] = "/tmp/berth-bind-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    for (const char* sub : {"/private", "/shared", "/slave"}) {
      const std::string path = dir_ + sub;
      ASSERT_EQ(mkdir(path.c_str(), 0755), 0);
      if (sub != std::string("/slave")) {
        ASSERT_EQ(mount("tmpfs", path.c_str(), "tmpfs", 0, ""), 0);
        ASSERT_EQ(mkdir((path + "/sub").c_str(), 0755), 0);
        ASSERT_EQ(mount("tmpfs", (path + "/sub").c_str(), "tmpfs", 0, ""), 0);
      }
    }
    ASSERT_EQ(mount(nullptr, (dir_ + "/shared").c_str(), nullptr, MS_SHARED, nullptr), 0);
    ASSERT_EQ(mount((dir_ + "/shared").c_str(), (dir_ + "/slave").c_str(), nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(mount(nullptr, (dir_ + "/slave").c_str(), nullptr, MS_SLAVE, nullptr), 0);
  }
  void TearDown() override {
    if (dir_.empty()) return;
    for (const char* sub : {"/slave", "/shared", "/private"}) umount2((dir_ + sub).c_str(), MNT_DETACH);
    EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok());
  }
  absl::Status Try(const char* sub, Propagation propagation) {
    return CheckPropagation({.host_path = dir_ + sub, .propagation = propagation});
  }
  static int MakeErrno(int dir, const char* path) { return mkdirat(dir, path, 0755) == 0 ? 0 : errno; }

  std::string dir_;
};

TEST_F(BindTest, ReadonlyIsOfTheTopMountOnly) {
  auto bind = OpenBind({.host_path = dir_ + "/private", .readonly = true});
  ASSERT_TRUE(bind.ok()) << bind.status();
  EXPECT_FALSE(bind->file);
  EXPECT_EQ(MakeErrno(bind->mount.get(), "x"), EROFS);
  EXPECT_EQ(MakeErrno(bind->mount.get(), "sub/x"), 0);
}

TEST_F(BindTest, RecursiveReadonlyReachesTheMountsBeneath) {
  auto bind = OpenBind({.host_path = dir_ + "/private", .readonly = true, .recursive_readonly = true});
  ASSERT_TRUE(bind.ok()) << bind.status();
  EXPECT_EQ(MakeErrno(bind->mount.get(), "x"), EROFS);
  EXPECT_EQ(MakeErrno(bind->mount.get(), "sub/x"), EROFS);
  EXPECT_EQ(MakeErrno(AT_FDCWD, (dir_ + "/private/sub/x").c_str()),
            0);  // the host's own stays as it was
}

TEST_F(BindTest, RecursiveReadonlyHasItsConditions) {
  for (const BindRequest& request :
       {BindRequest{.host_path = dir_, .recursive_readonly = true}, BindRequest{.host_path = dir_ + "/shared",
                                                                    .readonly = true,
                                                                    .recursive_readonly = true,
                                                                    .propagation = Propagation::kHostToContainer}}) {
    auto bind = OpenBind(request);
    EXPECT_EQ(bind.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(bind.status().message()), HasSubstr("RROUnsupported"));
  }
}

TEST_F(BindTest, OptionsAreOfTheTopMountAndStayWithTheSourcesOwn) {
  ASSERT_EQ(mount(nullptr, (dir_ + "/private").c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_NODEV, nullptr), 0);
  auto bind = OpenBind({.host_path = dir_ + "/private", .attrs = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID});
  ASSERT_TRUE(bind.ok()) << bind.status();
  const auto flags = [&](const char* path) {
    auto fd = sys::OpenAt(bind->mount.get(), path, O_PATH);
    struct statvfs fs;
    EXPECT_EQ(fstatvfs(fd->get(), &fs), 0);
    return fs.f_flag & (ST_NOEXEC | ST_NOSUID | ST_NODEV | ST_RDONLY);
  };
  EXPECT_EQ(flags("."), static_cast<unsigned long>(ST_NOEXEC | ST_NOSUID | ST_NODEV));
  EXPECT_EQ(flags("sub"), 0u);
}

// FALLBACK(linux<5.12) of cri/spec/plan_mounts.cc: this is the code that it goes by.
TEST_F(BindTest, WithoutMountSetattrNothingPretendsToBeReadonly) {
  auto report = sys::OnOlderKernel({{SYS_mount_setattr, ENOSYS}}, [&] {
    auto bind = OpenBind({.host_path = dir_ + "/private", .readonly = true, .recursive_readonly = true});
    return absl::StrCat(absl::IsUnimplemented(bind.status()));
  });
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(*report, "1");
}

TEST_F(BindTest, PropagationNeedsAFittingSource) {
  EXPECT_TRUE(Try("/private", Propagation::kPrivate).ok());
  EXPECT_EQ(Try("/private", Propagation::kHostToContainer).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Try("/private", Propagation::kBidirectional).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Try("/slave", Propagation::kHostToContainer).ok());
  EXPECT_EQ(Try("/slave", Propagation::kBidirectional).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Try("/shared", Propagation::kHostToContainer).ok());
  EXPECT_TRUE(Try("/shared", Propagation::kBidirectional).ok());
}

TEST_F(BindTest, MountsPropagateAsAsked) {
  const std::string target = dir_ + "/target";
  ASSERT_EQ(mkdir(target.c_str(), 0755), 0);
  for (Propagation propagation : {Propagation::kPrivate, Propagation::kHostToContainer, Propagation::kBidirectional}) {
    auto bind = OpenBind({.host_path = dir_ + "/shared", .propagation = propagation});
    ASSERT_TRUE(bind.ok()) << bind.status();
    auto at = sys::Open(target, O_PATH);
    ASSERT_TRUE(sys::AttachMount(bind->mount.get(), at->get(), target).ok());
    for (const char* side : {"/shared", "/target"}) {
      ASSERT_TRUE(mkdir((dir_ + "/shared/new").c_str(), 0755) == 0 || errno == EEXIST);
      ASSERT_EQ(mount("tmpfs", (dir_ + side + "/new").c_str(), "tmpfs", 0, ""), 0);
      ASSERT_EQ(mkdir((dir_ + side + "/new/mark").c_str(), 0755), 0);
      const bool from_host = side == std::string("/shared");
      const bool expected =
          from_host ? propagation != Propagation::kPrivate : propagation == Propagation::kBidirectional;
      EXPECT_EQ(access((dir_ + (from_host ? "/target" : "/shared") + "/new/mark").c_str(), F_OK) == 0, expected)
          << static_cast<int>(propagation) << side;
      EXPECT_EQ(umount2((dir_ + side + "/new").c_str(), MNT_DETACH), 0);
    }
    EXPECT_EQ(umount2(target.c_str(), MNT_DETACH), 0);
  }
}

TEST_F(BindTest, MissingAndRelativeSourcesAndFiles) {
  EXPECT_EQ(OpenBind({.host_path = dir_ + "/none"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenBind({.host_path = "tmp"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(OpenBind({.host_path = "/proc/self/status"})->file);
}

// ---- devices
// -------------------------------------------------------------------------------------------------------

TEST_F(BindTest, DefaultNodesCanBeClonedAgainAndAgain) {
  auto nodes = DeviceNodes::Open();
  ASSERT_TRUE(nodes.ok()) << nodes.status();
  for (int i = 0; i < 3; ++i) {
    auto devices = nodes->Clone();
    ASSERT_TRUE(devices.ok()) << devices.status();
    ASSERT_EQ(devices->size(), 6u);
    EXPECT_EQ((*devices)[0].path, "/dev/null");
    EXPECT_EQ((*devices)[0].minor, 3u);
    // Reading works on the detached bind too; changing the host's inode does not.
    const std::string fd_path = absl::StrCat("/proc/self/fd/", (*devices)[1].mount.get());
    auto zero = sys::Open(fd_path, O_RDWR);
    ASSERT_TRUE(zero.ok()) << zero.status();
    EXPECT_EQ(fchmod(zero->get(), 0600), -1);
    EXPECT_EQ(errno, EROFS);
  }
}

TEST_F(BindTest, HostDevicesOfAFileAndOfADirectory) {
  auto one = OpenHostDevices("/dev/zero", "/dev/other");
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ((*one)[0].path, "/dev/other");
  EXPECT_EQ((*one)[0].type, 'c');
  EXPECT_EQ(OpenHostDevices("/dev/none", "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenHostDevices("/proc/self/status", "").status().code(), absl::StatusCode::kInvalidArgument);
  auto all = OpenAllHostDevices();
  ASSERT_TRUE(all.ok()) << all.status();
  for (const HostDevice& device : *all) {
    EXPECT_NE(device.path, "/dev/null");
    EXPECT_NE(device.path.substr(0, 9), "/dev/pts/");
  }
}

}  // namespace
}  // namespace berth::rootfs
