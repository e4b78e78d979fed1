#include "cri/spec/resources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::spec {
namespace {

using state::v1::Resources;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

Resources Present() {
  Resources r;
  r.set_cpu_period(100000);
  r.set_cpu_quota(50000);
  r.set_cpu_shares(512);
  r.set_memory_limit(100);
  r.set_memory_swap_limit(150);
  r.set_oom_score_adj(900);
  r.set_cpuset_cpus("0");
  auto* huge = r.add_hugepages();
  huge->set_page_size("2MB");
  huge->set_limit(4);
  (*r.mutable_unified())["memory.high"] = "90";
  return r;
}

TEST(PlanUpdateTest, WhatIsNotGivenStays) {
  auto update = PlanUpdate(Present(), Resources());
  ASSERT_TRUE(update.ok());
  EXPECT_EQ(update->result.SerializeAsString(), Present().SerializeAsString());
  EXPECT_FALSE(update->oom_score_adj.has_value());
  EXPECT_THAT(*cgroup::PlanV2(update->limits), testing::IsEmpty());
}

TEST(PlanUpdateTest, QuotaAndPeriodAreOneLimit) {
  Resources request;
  request.set_cpu_quota(-1);
  auto update = PlanUpdate(Present(), request);
  EXPECT_EQ(update->limits.cpu_quota, -1);
  EXPECT_EQ(update->limits.cpu_period, 100000u);
  EXPECT_FALSE(update->limits.cpu_shares.has_value());
  request.Clear();
  request.set_cpu_period(20000);
  update = PlanUpdate(Present(), request);
  EXPECT_EQ(update->limits.cpu_quota, 50000);
  EXPECT_EQ(update->result.cpu_period(), 20000);
}

TEST(PlanUpdateTest, MemoryAndSwapAreOneLimit) {
  Resources request;
  request.set_memory_limit(120);
  auto update = PlanUpdate(Present(), request);
  EXPECT_EQ(update->limits.memory, 120);
  EXPECT_EQ(update->limits.memory_swap, 150);
  request.set_memory_limit(200);  // above the swap limit that is in force
  EXPECT_EQ(cgroup::PlanV2(PlanUpdate(Present(), request)->limits).status().code(), absl::StatusCode::kInvalidArgument);
  request.Clear();
  request.set_memory_swap_limit(300);
  EXPECT_EQ(PlanUpdate(Present(), request)->limits.memory, 100);
  EXPECT_THAT(std::string(cgroup::PlanV2(PlanUpdate(Resources(), request)->limits).status().message()),
              HasSubstr("memory_swap_limit_in_bytes: given without"));
}

TEST(PlanUpdateTest, HugepagesAreReplacedBySizeAndUnifiedByKey) {
  Resources request;
  for (auto [size, limit] : {std::pair<const char*, int>{"2MB", 6}, {"1GB", 8}}) {
    auto* huge = request.add_hugepages();
    huge->set_page_size(size);
    huge->set_limit(static_cast<uint64_t>(limit));
  }
  (*request.mutable_unified())["memory.high"] = "70";
  (*request.mutable_unified())["pids.max"] = "5";
  auto update = PlanUpdate(Present(), request);
  ASSERT_EQ(update->result.hugepages_size(), 2);
  EXPECT_EQ(update->result.hugepages(0).limit(), 6u);
  EXPECT_EQ(update->result.hugepages(1).page_size(), "1GB");
  EXPECT_THAT(update->limits.unified, ElementsAre(Pair("memory.high", "70"), Pair("pids.max", "5")));
  EXPECT_EQ(update->result.unified().at("memory.high"), "70");
}

TEST(PlanUpdateTest, OomScoreOnlyWhenItChanges) {
  Resources request;
  request.set_oom_score_adj(900);
  EXPECT_FALSE(PlanUpdate(Present(), request)->oom_score_adj.has_value());
  request.set_oom_score_adj(-5);
  EXPECT_EQ(PlanUpdate(Present(), request)->oom_score_adj, -5);
}

TEST(ResourcesTest, BadNumbersNameTheField) {
  const auto message = [](auto set) {
    Resources r;
    set(r);
    absl::Status status = ValidateResources(r);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(PlanUpdate(Resources(), r).status(), status);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](Resources& r) { r.set_cpu_shares(-1); }), HasSubstr("cpu_shares: -1"));
  EXPECT_THAT(message([](Resources& r) { r.set_cpu_period(-1); }), HasSubstr("cpu_period: -1"));
  EXPECT_THAT(message([](Resources& r) { r.set_oom_score_adj(1001); }), HasSubstr("oom_score_adj: 1001"));
  EXPECT_THAT(message([](Resources& r) { r.set_oom_score_adj(-1001); }), HasSubstr("oom_score_adj: -1001"));
}

}  // namespace
}  // namespace berth::spec
