// Containers in cgroups of their own: joining, killing all, and the OOM fact, on version 1 and version 2 where the
// machine has them. Needs root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cgroup/kill.h"
#include "runtime/client/pod_fixture.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"

namespace berth::client {
namespace {

using testing::HasSubstr;

constexpr char kRoot[] = "/sys/fs/cgroup";
constexpr const char* kV1[] = {"memory", "freezer", "pids"};

class ShimCgroupTest : public PodFixture {
 protected:
  void SetUp() override {
    PodFixture::SetUp();
    name_ = "berth-test-" + RandomHexId().substr(0, 12);
  }
  void TearDown() override {
    PodFixture::TearDown();
    for (auto dir = made_.rbegin(); dir != made_.rend(); ++dir) {
      for (int i = 0; i < 500 && rmdir(dir->c_str()) != 0 && errno == EBUSY; ++i) {
        absl::SleepFor(absl::Milliseconds(2));
      }
      EXPECT_NE(access(dir->c_str(), F_OK), 0) << *dir;
    }
  }
  static bool HaveV1() { return access("/sys/fs/cgroup/memory/tasks", F_OK) == 0; }
  static std::string V2Root() {
    for (const char* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
      if (access(absl::StrCat(root, "/cgroup.controllers").c_str(), F_OK) == 0) return root;
    }
    return "";
  }
  std::string MakeDir(const std::string& path) {
    EXPECT_EQ(mkdir(path.c_str(), 0755), 0) << path;
    made_.push_back(path);
    return path;
  }
  int AddFile(PlannedContainer& c, const std::string& path, int flags) {
    auto fd = sys::Open(path, flags);
    EXPECT_TRUE(fd.ok()) << fd.status();
    return fd.ok() ? c.Add(*std::move(fd)) : -1;
  }
  shim::v1::CgroupJoin* NewJoin(PlannedContainer& c) {
    shim::v1::CgroupJoin* join = c.plan.mutable_cgroup();
    join->set_v2_dir_fd(-1);
    join->set_oom_fd(-1);
    join->set_kill_fd(-1);
    join->set_v1_procs_fd(-1);
    join->set_v1_freezer_fd(-1);
    return join;
  }
  void JoinV1(PlannedContainer& c) {
    shim::v1::CgroupJoin* join = NewJoin(c);
    for (const char* hierarchy : kV1) {
      const std::string dir = MakeDir(absl::StrCat(kRoot, "/", hierarchy, "/", name_));
      join->add_v1_tasks_fds(AddFile(c, dir + "/tasks", O_WRONLY));
    }
    join->set_oom_fd(AddFile(c, absl::StrCat(kRoot, "/memory/", name_, "/memory.oom_control"), O_RDONLY));
    join->set_v1_procs_fd(AddFile(c, absl::StrCat(kRoot, "/freezer/", name_, "/cgroup.procs"), O_RDONLY));
    join->set_v1_freezer_fd(AddFile(c, absl::StrCat(kRoot, "/freezer/", name_, "/freezer.state"), O_WRONLY));
  }
  void JoinV2(PlannedContainer& c) {
    const std::string dir = MakeDir(absl::StrCat(V2Root(), "/", name_));
    shim::v1::CgroupJoin* join = NewJoin(c);
    join->set_v2_dir_fd(AddFile(c, dir, O_RDONLY | O_DIRECTORY));
    join->set_kill_fd(AddFile(c, dir + "/cgroup.kill", O_WRONLY));
  }
  std::string Members(const std::string& dir) { return sys::ReadFile(dir + "/cgroup.procs").value_or("(none)"); }

  std::string name_;
  std::vector<std::string> made_;
};

// Children in sessions of their own, in the pid namespace of the host: only the cgroup finds them.
constexpr char kScattered[] = "for i in 1 2 3; do setsid sleep 70 & (setsid sleep 71 &) ; done; echo ready; sleep 72";

TEST_F(ShimCgroupTest, Version1IsJoinedWithItsExecsAndKilledAsAWhole) {
  if (!HaveV1()) GTEST_SKIP() << "no cgroup v1 here";
  auto pod = LaunchPod();
  auto c = Script("c", absl::StrCat("cat /proc/self/cgroup; ", kScattered));
  c.plan.set_pid(shim::v1::NAMESPACE_HOST);
  c.plan.set_cgroup_ns(shim::v1::NAMESPACE_HOST);
  JoinV1(c);
  Run(*pod, c);
  ASSERT_TRUE(AwaitLog("c", "ready"));
  for (const char* hierarchy : kV1) EXPECT_THAT(Log("c"), HasSubstr(absl::StrCat(hierarchy, ":/", name_)));
  EXPECT_THAT(Exec(*pod, "c", "cat /proc/self/cgroup").out, HasSubstr("memory:/" + name_));
  const std::string dir = absl::StrCat(kRoot, "/freezer/", name_);
  EXPECT_GE(cgroup::ParsePids(Members(dir)).size(), 7u);
  ASSERT_TRUE(pod->Signal(ContainerId("c"), SIGKILL, true).ok());
  EXPECT_EQ(AwaitExit("c").exit_code(), 137);
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(Members(dir), "");
}

TEST_F(ShimCgroupTest, Version2IsJoinedAndKilledAsAWhole) {
  if (V2Root().empty()) GTEST_SKIP() << "no cgroup v2 here";
  auto pod = LaunchPod();
  auto c = Script("c", absl::StrCat("cat /proc/self/cgroup; ", kScattered));
  c.plan.set_pid(shim::v1::NAMESPACE_HOST);
  c.plan.set_cgroup_ns(shim::v1::NAMESPACE_HOST);
  JoinV2(c);
  Run(*pod, c);
  ASSERT_TRUE(AwaitLog("c", "ready"));
  EXPECT_THAT(Log("c"), HasSubstr("0::/" + name_ + "\n"));
  EXPECT_THAT(Exec(*pod, "c", "cat /proc/self/cgroup").out, HasSubstr("0::/" + name_ + "\n"));
  const std::string dir = absl::StrCat(V2Root(), "/", name_);
  EXPECT_GE(cgroup::ParsePids(Members(dir)).size(), 7u);
  ASSERT_TRUE(pod->Signal(ContainerId("c"), SIGKILL, true).ok());
  EXPECT_EQ(AwaitExit("c").exit_code(), 137);
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(Members(dir), "");
}

TEST_F(ShimCgroupTest, TheCgroupNamespaceBeginsAtTheContainersCgroup) {
  if (!HaveV1()) GTEST_SKIP() << "no cgroup v1 here";
  auto pod = LaunchPod();
  auto c = Script("c", "cat /proc/self/cgroup");
  JoinV1(c);
  Run(*pod, c);
  AwaitExit("c");
  EXPECT_THAT(Log("c"), HasSubstr("memory:/\n"));
}

TEST_F(ShimCgroupTest, WhatAContainerLeftInASharedPidNamespaceEndsWithIt) {
  if (!HaveV1()) GTEST_SKIP() << "no cgroup v1 here";
  shim::v1::SandboxPlan plan = Sandbox();
  plan.set_shared_pid(true);
  auto pod = LaunchPod(plan);
  auto c = Script("c", "setsid sleep 70 & sleep 0.1");
  c.plan.set_pid(shim::v1::NAMESPACE_POD);
  JoinV1(c);
  Run(*pod, c);
  EXPECT_EQ(AwaitExit("c").exit_code(), 0);
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(Members(absl::StrCat(kRoot, "/freezer/", name_)), "");
}

TEST_F(ShimCgroupTest, OtherSignalsGoToAllToo) {
  if (!HaveV1()) GTEST_SKIP() << "no cgroup v1 here";
  auto pod = LaunchPod();
  auto c = Script("c",
                  "trap 'echo first' USR1; "
                  "sh -c \"trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.01; done\" & "
                  "wait; wait; exit 6");
  JoinV1(c);
  Run(*pod, c);
  ASSERT_TRUE(AwaitLog("c", "ready"));
  ASSERT_TRUE(pod->Signal(ContainerId("c"), SIGUSR1, true).ok());
  AwaitExit("c");
  EXPECT_THAT(Log("c"), HasSubstr("child"));
  EXPECT_THAT(Log("c"), HasSubstr("first"));
}

TEST_F(ShimCgroupTest, RunningOutOfMemoryIsAFactOfTheExit) {
  if (!HaveV1()) GTEST_SKIP() << "no cgroup v1 here";
  auto pod = LaunchPod();
  auto c = Script("c", "exec yes > /tmp/fill");  // a tmpfs, charged to the container
  JoinV1(c);
  ASSERT_TRUE(
      sys::WriteFileAt(AT_FDCWD, absl::StrCat(kRoot, "/memory/", name_, "/memory.limit_in_bytes"), "16777216").ok());
  Run(*pod, c);
  const shim::v1::ExitRecord exit = AwaitExit("c");
  EXPECT_EQ(exit.exit_code(), 137);
  EXPECT_TRUE(exit.oom_killed());
  EXPECT_TRUE(ShimLauncher::ReadExitRecords(state_dir_)[0].oom_killed());
}

TEST_F(ShimCgroupTest, TheShimLivesInThePodsCgroup) {
  if (V2Root().empty()) GTEST_SKIP() << "no cgroup v2 here";
  shim::v1::SandboxPlan plan = Sandbox();
  const std::string dir = MakeDir(absl::StrCat(V2Root(), "/", name_));
  auto fd = sys::Open(dir, O_RDONLY | O_DIRECTORY);
  plan.mutable_cgroup()->set_v2_dir_fd(0);
  plan.mutable_cgroup()->set_oom_fd(-1);
  plan.mutable_cgroup()->set_kill_fd(-1);
  plan.mutable_cgroup()->set_v1_procs_fd(-1);
  plan.mutable_cgroup()->set_v1_freezer_fd(-1);
  auto pod = LaunchPod(plan, {fd->get()});
  ASSERT_NE(pod, nullptr);
  EXPECT_EQ(Members(dir), absl::StrCat(pod->pid(), "\n"));
}

}  // namespace
}  // namespace berth::client
