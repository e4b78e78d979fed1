#include "runtime/cgroup/slice.h"

#include <gtest/gtest.h>

namespace berth::cgroup {
namespace {

TEST(SliceTest, DashesAreLevels) {
  EXPECT_EQ(*PathOfSlice("kubepods.slice"), "/kubepods.slice");
  EXPECT_EQ(*PathOfSlice("kubepods-burstable-pod1_2.slice"),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice");
  EXPECT_EQ(*PathOfSlice("-.slice"), "");
}

TEST(SliceTest, MalformedNamesAreRefused) {
  for (absl::string_view name : {"", ".slice", "a", "a.scope", "/a.slice", "a/b.slice", "-a.slice", "a-.slice",
                                 "a--b.slice", "--.slice", "a b.slice", "a\n.slice", "../a.slice", "a%b.slice"}) {
    EXPECT_EQ(PathOfSlice(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_FALSE(PathOfSlice(std::string(250, 'a') + ".slice").ok());
  EXPECT_TRUE(PathOfSlice(std::string(249, 'a') + ".slice").ok());
}

TEST(SliceTest, AScopesPathSaysItsUnitAndSlice) {
  auto scope = ScopeOfPath("/a.slice/a-b.slice/" + ScopeOfPod("77"));
  ASSERT_TRUE(scope.ok());
  EXPECT_EQ(scope->unit, "berth-77.scope");
  EXPECT_EQ(scope->slice, "a-b.slice");
  EXPECT_EQ(ScopeOfPath("/berth-77.scope")->slice, "-.slice");
  for (absl::string_view path : {"", "/", "/a.slice", "/b/x.scope", "/a-b.slice/x.scope", "a.slice/x.scope"}) {
    EXPECT_FALSE(ScopeOfPath(path).ok()) << path;
  }
}

}  // namespace
}  // namespace berth::cgroup
