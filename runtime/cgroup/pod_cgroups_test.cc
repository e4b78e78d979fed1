// With the systemd that is this machine's init; the cases without one need neither systemd nor root.
#include "runtime/cgroup/pod_cgroups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "runtime/cgroup/systemd_units.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/file.h"

namespace berth::cgroup {
namespace {

using ::testing::HasSubstr;

TEST(PodPathTest, TheParentHasTheDriversForm) {
  EXPECT_EQ(*PathOfPod(Driver::kCgroupfs, "/kubepods/podX", "7"), "/kubepods/podX/7");
  EXPECT_EQ(*PathOfPod(Driver::kSystemd, "kubepods-podX.slice", "7"),
            "/kubepods.slice/kubepods-podX.slice/berth-7.scope");
  const auto refused = [](Driver driver, absl::string_view parent) {
    absl::Status status = PathOfPod(driver, parent, "7").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << parent;
    return std::string(status.message());
  };
  EXPECT_THAT(refused(Driver::kCgroupfs, "kubepods-podX.slice"), HasSubstr("the cgroup driver is cgroupfs"));
  EXPECT_THAT(refused(Driver::kCgroupfs, "kubepods"), HasSubstr("not an absolute path"));
  EXPECT_THAT(refused(Driver::kCgroupfs, "/a/../.."), HasSubstr("not an absolute path"));
  EXPECT_THAT(refused(Driver::kSystemd, "/kubepods/podX"), HasSubstr("the cgroup driver is systemd"));
  EXPECT_THAT(refused(Driver::kSystemd, "kubepods--podX.slice"), HasSubstr("between dashes"));
}

TEST(PodPathTest, ContainersAreBesideTheShimOrBeneathTheScope) {
  EXPECT_EQ(PathOfContainer("/kubepods/podX/7", "c"), "/kubepods/podX/c");
  EXPECT_EQ(PathOfContainer("/a.slice/berth-7.scope", "c"), "/a.slice/berth-7.scope/c");
}

TEST(DriverTest, SystemdNeedsSystemd) {
  if (geteuid() != 0) GTEST_SKIP() << "cgroups need root";
  auto hierarchy = Hierarchy::Probe();
  if (!hierarchy.ok()) GTEST_SKIP() << hierarchy.status();
  EXPECT_EQ(*ChooseDriver("cgroupfs", **hierarchy), Driver::kCgroupfs);
  EXPECT_EQ(ChooseDriver("runc", **hierarchy).status().code(), absl::StatusCode::kInvalidArgument);
  const bool possible = SystemdIsInit() && (*hierarchy)->version() == Version::kV2;
  EXPECT_EQ(*ChooseDriver("auto", **hierarchy), possible ? Driver::kSystemd : Driver::kCgroupfs);
  EXPECT_EQ(ChooseDriver("systemd", **hierarchy).status().code(),
            possible ? absl::StatusCode::kOk : absl::StatusCode::kFailedPrecondition);
}

class ScopeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "cgroups need root";
    auto hierarchy = Hierarchy::Probe();
    if (!hierarchy.ok() || !ChooseDriver("systemd", **hierarchy).ok()) {
      GTEST_SKIP() << "this machine is not run by systemd with cgroup v2";
    }
    h_ = *std::move(hierarchy);
    pods_ = std::make_unique<PodCgroups>(*h_, Driver::kSystemd, BERTH_SHIM);
  }
  void TearDown() override {
    if (!pods_) return;
    EXPECT_TRUE(pods_->Remove(path_).ok());
    pods_->RemoveParent(parent_);
    pods_->RemoveParent("berthtest.slice");
    EXPECT_NE(access((root_ + "/berthtest.slice").c_str(), F_OK), 0);
  }
  // A process in the shim's leaf, as the zygote makes it.
  pid_t Start(const Cgroup& cgroup) {
    std::vector<int> fds;
    shim::v1::CgroupJoin join;
    cgroup.AddTo(&fds, &join);
    auto child = sys::Clone(0, fds[join.v2_dir_fd()]);
    EXPECT_TRUE(child.ok()) << child.status();
    if (child->pid != 0) return child->pid;
    for (;;) pause();
  }
  std::string Read(absl::string_view path) {
    auto text = sys::ReadFile(absl::StrCat(root_, path));
    return text.ok() ? *text : std::string(text.status().message());
  }

  const std::string root_ = "/sys/fs/cgroup";
  const std::string parent_ = absl::StrCat("berthtest-", getpid(), ".slice");
  const std::string path_ = *PathOfPod(Driver::kSystemd, parent_, "1");
  std::unique_ptr<Hierarchy> h_;
  std::unique_ptr<PodCgroups> pods_;
};

TEST_F(ScopeTest, OneScopeHasTheShimAndContainersAndGoesWithThem) {
  auto made = pods_->Make(path_);
  ASSERT_TRUE(made.ok()) << made.status();
  const pid_t shim = Start(made->shim);
  pods_->Finish(path_, *std::move(made));
  EXPECT_EQ(Read(path_ + "/cgroup.procs"), "");
  EXPECT_EQ(Read(path_ + "/shim/cgroup.procs"), absl::StrCat(shim, "\n"));
  EXPECT_EQ(Read(path_ + "/cgroup.subtree_control"), Read(path_ + "/cgroup.controllers"));
  auto container = h_->Create(PathOfContainer(path_, "c"), {});
  ASSERT_TRUE(container.ok()) << container.status();
  EXPECT_EQ(pods_->Make(path_).status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(h_->Kill(path_).ok());
  EXPECT_EQ(waitpid(shim, nullptr, 0), shim);
  absl::Status removed = pods_->Remove(path_);
  EXPECT_TRUE(removed.ok()) << removed;
  EXPECT_EQ(h_->Open(path_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(pods_->Remove(path_).ok());
}

TEST_F(ScopeTest, AScopeWithoutAShimIsGoneWithItsHolder) {
  ASSERT_TRUE(pods_->Make(path_).ok());  // and dropped: the launch of the shim failed
  absl::Status removed = pods_->Remove(path_);
  EXPECT_TRUE(removed.ok()) << removed;
  EXPECT_EQ(h_->Open(path_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ScopeTest, AParentThatOthersUseStays) {
  auto made = pods_->Make(path_);
  ASSERT_TRUE(made.ok()) << made.status();
  pods_->RemoveParent(parent_);
  EXPECT_TRUE(h_->Open(path_).ok());
}

}  // namespace
}  // namespace berth::cgroup
