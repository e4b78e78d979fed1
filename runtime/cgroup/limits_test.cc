#include "runtime/cgroup/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/cgroup/path.h"
#include "runtime/cgroup/stats.h"

namespace berth::cgroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Lines(const absl::StatusOr<std::vector<FileWrite>>& plan) {
  std::vector<std::string> out;
  if (!plan.ok()) return {std::string(plan.status().message())};
  for (const FileWrite& w : *plan)
    out.push_back(absl::StrCat(w.file, "=", w.value, w.optional || w.controller_optional ? "?" : ""));
  return out;
}

TEST(WeightTest, FollowsTheCurve) {
  EXPECT_EQ(WeightOfShares(0), 1u);
  EXPECT_EQ(WeightOfShares(2), 1u);
  EXPECT_EQ(WeightOfShares(102), 17u);
  EXPECT_EQ(WeightOfShares(1024), 100u);
  EXPECT_EQ(WeightOfShares(262144), 10000u);
  EXPECT_EQ(WeightOfShares(1u << 30), 10000u);
  for (uint64_t s = 2; s < 262144; s += 37) ASSERT_LE(WeightOfShares(s), WeightOfShares(s + 37)) << s;
}

TEST(LimitsTest, NothingAskedIsNothingWritten) {
  EXPECT_THAT(*PlanV1({}), IsEmpty());
  EXPECT_THAT(*PlanV2({}), IsEmpty());
}

TEST(LimitsTest, EveryFieldOfV1) {
  Limits l{.cpu_shares = 512,
           .cpu_quota = 50000,
           .cpu_period = 100000,
           .cpuset_cpus = "0-1",
           .cpuset_mems = "0",
           .memory = 1 << 20,
           .memory_swap = 2 << 20,
           .pids = 100,
           .hugepages = {{"2MB", 4096}}};
  EXPECT_THAT(Lines(PlanV1(l)),
              ElementsAre("cpu.shares=512", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000", "cpuset.cpus=0-1",
                          "cpuset.mems=0", "memory.limit_in_bytes=1048576", "memory.memsw.limit_in_bytes=2097152?",
                          "pids.max=100", "hugetlb.2MB.limit_in_bytes=4096", "hugetlb.2MB.rsvd.limit_in_bytes=4096?"));
}

TEST(LimitsTest, EveryFieldOfV2) {
  Limits l{.cpu_shares = 1024,
           .cpu_quota = 50000,
           .cpuset_cpus = "0-1",
           .memory = 1 << 20,
           .memory_swap = 3 << 20,
           .pids = -1,
           .hugepages = {{"1GB", 0}},
           .unified = {{"memory.high", "1000"}, {"memory.oom.group", "1"}}};
  EXPECT_THAT(Lines(PlanV2(l)),
              ElementsAre("cpu.weight=100", "cpu.max=50000 100000", "cpuset.cpus=0-1", "memory.swap.max=2097152?",
                          "memory.max=1048576", "pids.max=max", "hugetlb.1GB.max=0?", "hugetlb.1GB.rsvd.max=0?",
                          "memory.high=1000", "memory.oom.group=1"));
}

TEST(LimitsTest, MemoryWithoutSwapMeansNoSwap) {
  EXPECT_THAT(Lines(PlanV2({.memory = 5000})), ElementsAre("memory.swap.max=0?", "memory.max=5000"));
  EXPECT_THAT(Lines(PlanV1({.memory = 5000})),
              ElementsAre("memory.limit_in_bytes=5000", "memory.memsw.limit_in_bytes=5000?"));
  EXPECT_THAT(Lines(PlanV2({.memory = -1})), ElementsAre("memory.swap.max=max?", "memory.max=max"));
  EXPECT_THAT(Lines(PlanV2({.memory = 5000, .memory_swap = -1})),
              ElementsAre("memory.swap.max=max?", "memory.max=5000"));
}

TEST(LimitsTest, QuotaAndPeriodAlone) {
  EXPECT_THAT(Lines(PlanV2({.cpu_quota = -1})), ElementsAre("cpu.max=max 100000"));
  EXPECT_THAT(Lines(PlanV2({.cpu_period = 20000})), ElementsAre("cpu.max=max 20000"));
}

TEST(LimitsTest, BadValuesNameTheField) {
  const auto message = [](const Limits& l) {
    auto v1 = PlanV1(l);
    auto v2 = PlanV2(l);
    EXPECT_EQ(v2.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(v1.status(), v2.status());
    return std::string(v2.status().message());
  };
  EXPECT_THAT(message({.cpu_quota = 10}), HasSubstr("cpu_quota"));
  EXPECT_THAT(message({.cpu_period = 5}), HasSubstr("cpu_period"));
  EXPECT_THAT(message({.memory = -7}), HasSubstr("memory_limit"));
  EXPECT_THAT(message({.memory = 100, .memory_swap = 50}), HasSubstr("memory_swap_limit"));
  EXPECT_THAT(message({.memory_swap = 50}), HasSubstr("memory_swap_limit"));
  EXPECT_THAT(message({.pids = 0}), HasSubstr("pids"));
  EXPECT_THAT(message({.cpuset_cpus = "0\n1"}), HasSubstr("cpuset"));
  EXPECT_THAT(message({.hugepages = {{"2MB/../x", 1}}}), HasSubstr("hugepage_limits"));
  EXPECT_THAT(message({.hugepages = {{"MB", 1}}}), HasSubstr("hugepage_limits"));
}

TEST(LimitsTest, UnifiedKeysAreFileNamesOfControllers) {
  for (const char* key :
       {"../x.y", "memory", "memory/high", ".high", "memory.", "cgroup.procs", "a..b", "", "a.b\nc"}) {
    EXPECT_FALSE(PlanV2({.unified = {{key, "1"}}}).ok()) << key;
  }
  EXPECT_THAT(Lines(PlanV1({.unified = {{"memory.high", "1"}}})),
              ElementsAre(HasSubstr("unified: this machine has cgroup v1")));
}

TEST(LimitsTest, DevicesOfV1) {
  EXPECT_THAT(Lines(PlanV1({.devices = AllDeviceRules()})), ElementsAre("devices.allow=a"));
  EXPECT_THAT(Lines(PlanV1({.devices = {{{'c', 1, 3, "rw"}, {'b', 8, {}}, {'a', 9, 1, "r"}}}})),
              ElementsAre("devices.deny=a", "devices.allow=c 1:3 rw", "devices.allow=b 8:* rwm",
                          "devices.allow=b 9:1 r", "devices.allow=c 9:1 r"));
  EXPECT_THAT(Lines(PlanV2({.devices = DefaultDeviceRules()})), IsEmpty());
}

TEST(LimitsTest, RestoringWritesWhatWasThere) {
  const auto values = [](const FileWrite& write, absl::string_view present) {
    std::vector<std::string> out;
    for (const FileWrite& w : PlanRestore(write, present)) out.push_back(w.file + "=" + w.value);
    return out;
  };
  EXPECT_THAT(values({"memory", "memory.max", "5"}, "max\n"), ElementsAre("memory.max=max"));
  EXPECT_THAT(values({"cpuset", "cpuset.cpus", "0"}, "\n"), ElementsAre("cpuset.cpus=\n"));
  EXPECT_THAT(values({"devices", "devices.allow", "a"}, "a *:* rwm\n"), IsEmpty());
  EXPECT_THAT(values({"io", "io.max", "8:0 rbps=1"}, "8:0 rbps=9 wbps=max riops=max wiops=max\n"),
              ElementsAre("io.max=8:0 rbps=9 wbps=max riops=max wiops=max"));
  EXPECT_THAT(values({"io", "io.max", "8:0 rbps=1"}, ""),
              ElementsAre("io.max=8:0 rbps=max wbps=max riops=max wiops=max"));
}

TEST(LimitsTest, HugepagesOfNoneNeedNoController) {
  auto plan = PlanV2({.hugepages = {{"2MB", 0}, {"1GB", 5}}});
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->size(), 4u);
  EXPECT_FALSE((*plan)[0].controller_optional);  // 1GB, 5
  EXPECT_TRUE((*plan)[2].controller_optional);   // 2MB, none
  EXPECT_FALSE((*plan)[2].optional);             // but a size that the controller does not know is an error
}

TEST(PathTest, AcceptsOnlyAbsoluteCleanPaths) {
  EXPECT_THAT(*SplitPath("/a//b/c/"), ElementsAre("a", "b", "c"));
  for (absl::string_view path : {"", "/", "a/b", "/a/../b", "/a/./b", "/..", "/a\nb"}) {
    EXPECT_EQ(SplitPath(path).status().code(), absl::StatusCode::kInvalidArgument) << path;
  }
  EXPECT_FALSE(SplitPath(absl::string_view("/a\0b", 4)).ok());
  EXPECT_FALSE(SplitPath("/" + std::string(256, 'a')).ok());
}

TEST(StatsTest, ReadsNumbers) {
  EXPECT_EQ(SingleValue("42\n"), 42u);
  EXPECT_EQ(SingleValue("max\n"), std::nullopt);
  EXPECT_EQ(SingleValue(""), std::nullopt);
  EXPECT_EQ(KeyedValue("low 0\noom 3\noom_kill 2\n", "oom_kill"), 2u);
  EXPECT_EQ(KeyedValue("low 0\noom 3\n", "oom_kill"), std::nullopt);
  EXPECT_EQ(KeyedValue("oom_kill x\n", "oom_kill"), std::nullopt);
  EXPECT_EQ(WorkingSet(10, 3), 7u);
  EXPECT_EQ(WorkingSet(3, 10), 0u);
}

}  // namespace
}  // namespace berth::cgroup
