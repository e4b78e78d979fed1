#include "runtime/base/lexical_path.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

TEST(CleanInRoot, StaysBeneathTheRoot) {
  const std::pair<absl::string_view, absl::string_view> kCases[] = {
      {"a/b", "a/b"},
      {"./a//b/", "a/b"},
      {"/etc/passwd", "etc/passwd"},
      {"a/./b/../../../c/", "c"},
      {"../../x", "x"},
      {"a/../../b", "b"},
      {"a/b/../c", "a/c"},
      {"/../../etc//passwd", "etc/passwd"},
      {"", ""},
      {".", ""},
      {"/", ""},
      {"//..//.", ""},
      {"..", ""},
      {"a/..", ""},
      {"...", "..."},
      {"a..b/...", "a..b/..."},
      {"a/./.", "a"},
  };
  for (const auto& [in, out] : kCases) EXPECT_EQ(CleanInRoot(in), out) << in;
}

}  // namespace
}  // namespace berth
