#include "image/unpack/layer_path.h"

#include <gtest/gtest.h>

namespace berth::image {
namespace {

Whiteout Classify(absl::string_view path) { return ClassifyWhiteout(SplitLayerPath(path)); }

TEST(LayerPath, Whiteouts) {
  EXPECT_EQ(Classify("a/.wh.b"), Whiteout::kHides);
  EXPECT_EQ(WhiteoutTarget(".wh.b"), "b");
  EXPECT_EQ(Classify(".wh.b"), Whiteout::kHides);
  EXPECT_EQ(Classify(".wh...x"), Whiteout::kHides);
  EXPECT_EQ(Classify("a/.wh..wh..opq"), Whiteout::kOpaque);
  EXPECT_EQ(Classify(".wh..wh.plnk"), Whiteout::kIgnored);
  EXPECT_EQ(Classify(".wh..wh.plnk/12.34"), Whiteout::kIgnored);
  EXPECT_EQ(Classify("a/.wh."), Whiteout::kMalformed);
  EXPECT_EQ(Classify(".wh.."), Whiteout::kMalformed);
  EXPECT_EQ(Classify(".wh..."), Whiteout::kMalformed);
  EXPECT_EQ(Classify("a/.wh.b/c"), Whiteout::kMalformed);
  EXPECT_EQ(Classify("a/x.wh.b"), Whiteout::kNone);
  EXPECT_EQ(Classify("x.wh./c"), Whiteout::kNone);
}

}  // namespace
}  // namespace berth::image
