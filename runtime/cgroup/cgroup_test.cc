// The real cgroup trees of this machine, under a cgroup of the test's own.
#include "runtime/cgroup/cgroup.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/time/clock.h"
#include "runtime/cgroup/device_program.h"
#include "runtime/cgroup/oom_score.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/file.h"
#include "runtime/sys/older_kernel.h"

namespace berth::cgroup {
namespace {

// Until the kernel ends it.
int EatMemory() {
  for (;;) {
    auto* p = static_cast<volatile char*>(malloc(1 << 20));
    for (int i = 0; i < 1 << 20; i += 4096) p[i] = 1;
  }
}

using ::testing::HasSubstr;
constexpr char kUnified[] = "/sys/fs/cgroup/unified";

std::string TestPath() { return absl::StrCat("/berth-test-", getpid()); }

std::string ReadV1(absl::string_view controller, absl::string_view path, absl::string_view file) {
  auto text = sys::ReadFile(absl::StrCat("/sys/fs/cgroup/", controller, path, "/", file));
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : std::string(text.status().message());
}

// A child that joins as the shim's children do, runs `body` and exits with what it returns.
pid_t Start(const Cgroup& cgroup, const std::function<int()>& body) {
  std::vector<int> fds;
  shim::v1::CgroupJoin join;
  cgroup.AddTo(&fds, &join);
  auto child = sys::Clone(0, join.v2_dir_fd() >= 0 ? fds[join.v2_dir_fd()] : -1);
  EXPECT_TRUE(child.ok()) << child.status();
  if (child->pid != 0) return child->pid;
  for (int index : join.v1_tasks_fds()) {
    if (write(fds[index], "0", 1) != 1) _exit(99);
  }
  alarm(20);
  _exit(body());
}
int Wait(pid_t pid) {
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
int Forever() {
  for (;;) pause();
}

class V1Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "cgroups need root";
    auto hierarchy = Hierarchy::Probe();
    if (!hierarchy.ok() || (*hierarchy)->version() != Version::kV1) GTEST_SKIP() << "this machine has no cgroup v1";
    h_ = *std::move(hierarchy);
  }
  void TearDown() override {
    if (!h_) return;
    EXPECT_TRUE(h_->Remove(TestPath()).ok());
  }
  const std::string path_ = TestPath() + "/pod/container";
  std::unique_ptr<Hierarchy> h_;
};

TEST_F(V1Test, CreatesWithLimitsAndRemoves) {
  auto cgroup = h_->Create(path_, {.cpu_shares = 512,
                                   .cpu_quota = 20000,
                                   .cpu_period = 50000,
                                   .cpuset_cpus = "0",
                                   .memory = 64 << 20,
                                   .pids = 20,
                                   .hugepages = {{"2MB", 0}},
                                   .devices = DefaultDeviceRules()});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  EXPECT_EQ(ReadV1("cpu", path_, "cpu.shares"), "512");
  EXPECT_EQ(ReadV1("cpu", path_, "cpu.cfs_quota_us"), "20000");
  EXPECT_EQ(ReadV1("cpuset", path_, "cpuset.cpus"), "0");
  EXPECT_NE(ReadV1("cpuset", path_, "cpuset.mems"), "");
  EXPECT_EQ(ReadV1("memory", path_, "memory.limit_in_bytes"), absl::StrCat(64 << 20));
  EXPECT_EQ(ReadV1("pids", path_, "pids.max"), "20");
  EXPECT_THAT(ReadV1("devices", path_, "devices.list"), HasSubstr("c 1:3 rwm"));
  auto stats = h_->ReadStats(path_);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->memory_limit, uint64_t{64 << 20});
  EXPECT_TRUE(h_->Remove(TestPath()).ok());
  EXPECT_NE(access(("/sys/fs/cgroup/memory" + TestPath()).c_str(), F_OK), 0);
  EXPECT_EQ(h_->Open(path_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(h_->ReadStats(path_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(h_->Remove(path_).ok());
  EXPECT_TRUE(h_->Kill(path_).ok());
}

TEST_F(V1Test, UpdatesInAnyDirection) {
  ASSERT_TRUE(h_->Create(path_, {.cpu_quota = 20000, .cpu_period = 50000, .memory = 64 << 20}).ok());
  for (int64_t mib : {32, 256, 16}) {
    absl::Status status =
        h_->Update(path_, {.cpu_quota = mib * 1000, .cpu_period = 100000, .memory = mib << 20}).status();
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(ReadV1("memory", path_, "memory.limit_in_bytes"), absl::StrCat(mib << 20));
  }
  EXPECT_TRUE(h_->Update(path_, {.memory = -1}).ok());
  EXPECT_EQ(h_->ReadStats(path_)->memory_limit, std::nullopt);
}

TEST_F(V1Test, AnUpdateThatFailsChangesNothing) {
  ASSERT_TRUE(h_->Create(path_, {}).ok());
  const auto look = [&] {
    return absl::StrCat(ReadV1("cpu", path_, "cpu.shares"), " ", ReadV1("cpu", path_, "cpu.cfs_quota_us"), " ",
                        ReadV1("cpu", path_, "cpu.cfs_period_us"), " ",
                        ReadV1("memory", path_, "memory.limit_in_bytes"), " ", ReadV1("cpuset", path_, "cpuset.cpus"));
  };
  const std::string before = look();
  auto refused = h_->Update(
      path_, {.cpu_shares = 512, .cpu_quota = 20000, .cpu_period = 50000, .cpuset_cpus = "4000", .memory = 64 << 20});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << refused.status();
  EXPECT_EQ(look(), before);
}

TEST_F(V1Test, AnUpdateCanBeTakenBack) {
  ASSERT_TRUE(h_->Create(path_, {.cpu_shares = 300}).ok());
  const std::string unlimited = ReadV1("memory", path_, "memory.limit_in_bytes");
  auto former = h_->Update(path_, {.cpu_shares = 512, .memory = 64 << 20});
  ASSERT_TRUE(former.ok()) << former.status();
  absl::Status restored = h_->Restore(path_, *former);
  EXPECT_TRUE(restored.ok()) << restored;
  EXPECT_EQ(ReadV1("cpu", path_, "cpu.shares"), "300");
  EXPECT_EQ(ReadV1("memory", path_, "memory.limit_in_bytes"), unlimited);
}

TEST_F(V1Test, LessMemoryThanIsUsedIsRefused) {
  auto cgroup = h_->Create(path_, {.memory = 64 << 20});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  const pid_t pid = Start(*cgroup, [] {
    auto* p = static_cast<volatile char*>(malloc(24 << 20));
    for (int i = 0; i < 24 << 20; i += 4096) p[i] = 1;
    return Forever();
  });
  for (int i = 0; i < 2000 && h_->ReadStats(path_)->memory_rss < 24 << 20; ++i) absl::SleepFor(absl::Milliseconds(5));
  absl::Status refused = h_->Update(path_, {.memory = 8 << 20}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("memory_limit_in_bytes"));
  EXPECT_EQ(h_->ReadStats(path_)->memory_limit, uint64_t{64 << 20});
  ASSERT_TRUE(h_->Kill(path_).ok());
  EXPECT_EQ(Wait(pid), 128 + SIGKILL);
}

TEST_F(V1Test, OomScoresThatWereInheritedAreReplaced) {
  auto cgroup = h_->Create(path_, {});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  const auto with_score = [&](const char* score) {
    return Start(*cgroup, [score] {
      if (!sys::WriteFileAt(AT_FDCWD, "/proc/self/oom_score_adj", score).ok()) return 1;
      return Forever();
    });
  };
  const auto score = [](pid_t pid) { return *sys::ReadFile(absl::StrCat("/proc/", pid, "/oom_score_adj")); };
  const pid_t inherited = with_score("500"), own = with_score("700");
  for (int i = 0; i < 2000 && (score(inherited) != "500\n" || score(own) != "700\n"); ++i) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  absl::Status replaced = ReplaceOomScore(*h_, path_, 500, 600);
  EXPECT_TRUE(replaced.ok()) << replaced;
  EXPECT_EQ(score(inherited), "600\n");
  EXPECT_EQ(score(own), "700\n");
  ASSERT_TRUE(h_->Kill(path_).ok());
  Wait(inherited);
  Wait(own);
}

TEST_F(V1Test, UnusedMeansNeitherProcessesNorChildren) {
  auto cgroup = h_->Create(path_, {});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  EXPECT_TRUE(h_->IsUnused(path_));
  EXPECT_FALSE(h_->IsUnused(TestPath()));
  EXPECT_FALSE(h_->IsUnused(path_ + "/none"));
  const pid_t pid = Start(*cgroup, [] { return Forever(); });
  for (int i = 0; i < 2000 && h_->IsUnused(path_); ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_FALSE(h_->IsUnused(path_));
  ASSERT_TRUE(h_->Kill(path_).ok());
  Wait(pid);
}

TEST_F(V1Test, ALimitWithoutItsControllerNamesTheFieldAndLeavesNothing) {
  auto cgroup = h_->Create(path_, {.hugepages = {{"2MB", 2 << 20}}});
  if (cgroup.ok()) GTEST_SKIP() << "this machine has the hugetlb controller";
  EXPECT_EQ(cgroup.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(cgroup.status().message()), HasSubstr("hugepage_limits"));
  EXPECT_NE(access(("/sys/fs/cgroup/memory" + path_).c_str(), F_OK), 0);
}

TEST_F(V1Test, RefusesBadPathsAndValues) {
  EXPECT_EQ(h_->Create("/a/../../b", {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(h_->Create(path_, {.unified = {{"memory.high", "1"}}}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  auto refused = h_->Create(path_, {.cpuset_cpus = "4000"});
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("cpuset_cpus = 4000"));
  EXPECT_NE(access(("/sys/fs/cgroup/cpuset" + path_).c_str(), F_OK), 0);
  EXPECT_EQ(h_->Remove("/").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(h_->Kill("/..").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(V1Test, ProcessesJoinAreSeenAndKilledWithTheirChildren) {
  auto cgroup = h_->Create(path_, {});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  const pid_t pid = Start(*cgroup, [] {
    for (int i = 0; i < 5; ++i) {
      if (fork() == 0) return Forever();
    }
    return Forever();
  });
  for (int i = 0; i < 200 && h_->ReadStats(path_)->pids < 6; ++i) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(h_->ReadStats(path_)->pids, 6u);
  EXPECT_EQ(h_->Remove(path_, absl::Milliseconds(20)).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(h_->Kill(TestPath()).ok());  // from above
  EXPECT_EQ(Wait(pid), 128 + SIGKILL);
  EXPECT_TRUE(h_->Remove(path_).ok());
}

TEST_F(V1Test, CountsOomKills) {
  auto cgroup = h_->Create(path_, {.memory = 8 << 20});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  EXPECT_EQ(Wait(Start(*cgroup, EatMemory)), 128 + SIGKILL);
  EXPECT_GE(h_->ReadStats(path_)->oom_kills, 1u);
}

TEST_F(V1Test, DeviceRulesAreInForce) {
  auto cgroup = h_->Create(path_, {.devices = {{{'c', 1, 3}}}});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  EXPECT_EQ(Wait(Start(*cgroup,
                       [] {
                         const bool null = open("/dev/null", O_RDWR) >= 0;
                         const bool zero = open("/dev/zero", O_RDWR) >= 0;
                         return (null ? 1 : 0) + (zero ? 2 : 0) + (errno == EPERM ? 4 : 0);
                       })),
            5);
}

TEST_F(V1Test, MountsShowTheContainersOwnDirectories) {
  ASSERT_TRUE(h_->Create(path_, {.pids = 7}).ok());
  auto mounts = h_->Mounts(path_, false);
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  bool pids = false;
  for (const HierarchyMount& mount : *mounts) {
    if (mount.name != "pids") continue;
    pids = true;
    EXPECT_EQ(*sys::ReadFileAt(mount.mount.get(), "pids.max"), "7\n");
    EXPECT_EQ(ErrnoOf(sys::WriteFileAt(mount.mount.get(), "pids.max", "8")), EROFS);
  }
  EXPECT_TRUE(pids);
}

// ---- v2: what works without controllers
// ----------------------------------------------------------------------------

class V2Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "cgroups need root";
    for (const char* root : {"/sys/fs/cgroup", kUnified}) {
      if (auto hierarchy = Hierarchy::OpenV2(root); hierarchy.ok()) {
        h_ = *std::move(hierarchy);
        root_ = root;
        return;
      }
    }
    GTEST_SKIP() << "this machine has no cgroup v2";
  }
  void TearDown() override {
    if (!h_) return;
    EXPECT_TRUE(h_->Remove(TestPath()).ok());
  }
  const std::string path_ = TestPath() + "/pod/container";
  std::unique_ptr<Hierarchy> h_;
  std::string root_;
};

TEST_F(V2Test, ChildrenAreBornInItAndKilledAtOnce) {
  auto cgroup = h_->Create(path_, {});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  const pid_t pid = Start(*cgroup, [] { return Forever(); });
  auto procs = sys::ReadFile(absl::StrCat(root_, path_, "/cgroup.procs"));
  ASSERT_TRUE(procs.ok());
  EXPECT_EQ(*procs, absl::StrCat(pid, "\n"));
  ASSERT_TRUE(h_->Kill(TestPath()).ok());
  EXPECT_EQ(Wait(pid), 128 + SIGKILL);
  EXPECT_TRUE(h_->Remove(path_).ok());
  EXPECT_EQ(h_->Open(path_).status().code(), absl::StatusCode::kNotFound);
}

// FALLBACK(linux<5.14) of runtime/cgroup/kill.cc
TEST_F(V2Test, WithoutCgroupKillMembersAreSignalled) {
  auto cgroup = h_->Create(path_, {});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  const pid_t pid = Start(*cgroup, [] { return Forever(); });
  const std::string top = TestPath();  // named after this process
  auto report = sys::OnOlderKernel({{SYS_openat, ENOENT, 1, {}, 0, "cgroup.kill"}}, [&] {
    auto opened = h_->Open(path_);
    std::vector<int> fds;
    shim::v1::CgroupJoin join;
    opened->AddTo(&fds, &join);
    return absl::StrCat(join.kill_fd(), " ", h_->Kill(top).ToString());
  });
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(*report, "-1 OK");
  EXPECT_EQ(Wait(pid), 128 + SIGKILL);
}

TEST_F(V2Test, KillDescriptorKills) {
  auto cgroup = h_->Create(path_, {});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  std::vector<int> fds;
  shim::v1::CgroupJoin join;
  cgroup->AddTo(&fds, &join);
  ASSERT_GE(join.kill_fd(), 0);
  EXPECT_EQ(join.v1_procs_fd(), -1);
  EXPECT_EQ(join.v1_tasks_fds_size(), 0);
  const pid_t pid = Start(*cgroup, [] { return Forever(); });
  EXPECT_EQ(write(fds[join.kill_fd()], "1", 1), 1);
  EXPECT_EQ(Wait(pid), 128 + SIGKILL);
}

// One without domains: what is threaded cannot hold a container, and a clone into it would only say EOPNOTSUPP.
TEST_F(V2Test, NothingIsMadeBeneathAThreadedCgroup) {
  // By hand: with a domain controller enabled above it, no cgroup can become threaded.
  ASSERT_TRUE(h_->Create(TestPath(), {}).ok());
  ASSERT_EQ(mkdir(absl::StrCat(root_, TestPath(), "/threads").c_str(), 0755), 0);
  ASSERT_TRUE(sys::WriteFileAt(AT_FDCWD, absl::StrCat(root_, TestPath(), "/threads/cgroup.type"), "threaded").ok());
  absl::Status status = h_->Create(TestPath() + "/threads/container", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("threaded"));
  EXPECT_EQ(h_->Open(TestPath() + "/threads/container").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(V2Test, LimitsAreUpdatedAndTakenBack) {
  auto cgroup = h_->Create(path_, {.cpu_quota = 20000, .cpu_period = 50000, .memory = 64 << 20, .pids = 30});
  if (!cgroup.ok()) GTEST_SKIP() << "not all controllers are v2's: " << cgroup.status();
  const auto read = [&](const char* file) { return *sys::ReadFile(absl::StrCat(root_, path_, "/", file)); };
  EXPECT_EQ(read("cpu.max"), "20000 50000\n");
  EXPECT_EQ(read("memory.max"), absl::StrCat(64 << 20, "\n"));
  auto former = h_->Update(path_, {.cpu_quota = -1, .cpuset_cpus = "0", .memory = -1, .pids = -1});
  ASSERT_TRUE(former.ok()) << former.status();
  EXPECT_EQ(read("cpu.max"), "max 100000\n");
  EXPECT_EQ(read("cpuset.cpus"), "0\n");
  ASSERT_TRUE(h_->Restore(path_, *former).ok());
  EXPECT_EQ(read("cpu.max"), "20000 50000\n");
  EXPECT_EQ(read("cpuset.cpus"), "\n");
  EXPECT_EQ(read("memory.max"), absl::StrCat(64 << 20, "\n"));
  EXPECT_EQ(read("pids.max"), "30\n");
  EXPECT_FALSE(h_->Update(path_, {.cpu_quota = 30000, .pids = 40, .unified = {{"memory.high", "nonsense"}}}).ok());
  EXPECT_EQ(read("cpu.max"), "20000 50000\n");
  EXPECT_EQ(read("pids.max"), "30\n");
}

TEST_F(V2Test, CountsOomKillsOfTheCgroupAndThoseBeneath) {
  auto cgroup = h_->Create(path_, {.memory = 8 << 20});
  if (!cgroup.ok()) GTEST_SKIP() << "memory is not v2's: " << cgroup.status();
  EXPECT_EQ(Wait(Start(*cgroup, EatMemory)), 128 + SIGKILL);
  EXPECT_GE(h_->ReadStats(path_)->oom_kills, 1u);  // still readable when the last process has died
}

TEST_F(V2Test, ALimitWithoutItsControllerNamesTheField) {
  auto cgroup = h_->Create(path_, {.unified = {{"nosuch.max", "1"}}});
  EXPECT_THAT(std::string(cgroup.status().message()), HasSubstr("unified nosuch.max"));
  EXPECT_EQ(h_->Open(path_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(V2Test, DeviceProgramIsInForceAndReplaced) {
  const auto probe = [](const Cgroup& cgroup) {
    return Wait(Start(cgroup, [] {
      int result = 0;
      if (open("/dev/null", O_RDWR) >= 0) result += 1;
      if (open("/dev/zero", O_RDONLY) >= 0) result += 2;
      if (open("/dev/zero", O_RDWR) >= 0) result += 4;
      const std::string node = absl::StrCat("/tmp/berth-node-", getpid());
      if (mknod(node.c_str(), S_IFCHR | 0600, makedev(1, 7)) == 0) result += 8;
      unlink(node.c_str());
      return result;
    }));
  };
  auto cgroup = h_->Create(path_, {.devices = {{{'c', 1, 3}, {'c', 1, 5, "r"}}}});
  ASSERT_TRUE(cgroup.ok()) << cgroup.status();
  EXPECT_EQ(probe(*cgroup), 1 + 2);
  ASSERT_TRUE(h_->Update(path_, {.devices = DefaultDeviceRules()}).ok());
  EXPECT_EQ(probe(*cgroup), 1 + 2 + 4 + 8);
  ASSERT_TRUE(h_->Update(path_, {.devices = std::vector<DeviceRule>{}}).ok());
  EXPECT_EQ(probe(*cgroup), 0);
  ASSERT_TRUE(h_->Update(path_, {.devices = AllDeviceRules()}).ok());
  ASSERT_TRUE(h_->Update(path_, {.devices = AllDeviceRules()}).ok());  // the same again
  EXPECT_EQ(probe(*cgroup), 1 + 2 + 4 + 8);
}

TEST_F(V2Test, FewDeviceProgramsAreKept) {
  const auto open_programs = [] {
    std::error_code gone;
    int count = 0;
    for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd"))
      count += std::filesystem::read_symlink(fd, gone).native() == "anon_inode:bpf-prog" ? 1 : 0;
    return count;
  };
  ASSERT_TRUE(h_->Create(path_, {}).ok());
  for (uint32_t minor = 0; minor < 100; ++minor) {
    const auto updated = h_->Update(path_, {.devices = {{{'c', 250, minor}}}});
    ASSERT_TRUE(updated.ok()) << updated.status();
    ASSERT_GE(open_programs(), 1);
    ASSERT_LE(open_programs(), 32);
  }
}

TEST(DeviceProgramTest, JumpsStayInside) {
  const auto program = CompileDeviceRules(DefaultDeviceRules());
  for (size_t i = 0; i < program.size(); ++i) {
    if (BPF_CLASS(program[i].code) == BPF_JMP32) {
      ASSERT_GE(program[i].off, 0);
      ASSERT_LT(i + 1 + program[i].off, program.size());
    }
  }
}

TEST(ProbeTest, APlaceWithoutCgroupsIsUnavailable) {
  EXPECT_EQ(Hierarchy::Probe("/tmp").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Hierarchy::OpenV2("/proc").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace berth::cgroup
