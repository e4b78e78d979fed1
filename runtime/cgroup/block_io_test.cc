#include "runtime/cgroup/block_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "runtime/cgroup/limits.h"

namespace berth::cgroup {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const BlockIo kIo = {.weight = 80,
                     .devices = {{.major = 8, .minor = 0, .weight = 50, .read_bps = 50000000, .write_iops = 5000},
                                 {.major = 8, .minor = 16, .write_bps = 1, .read_iops = 2}}};

// "?" marks the files that may be missing.
std::vector<std::string> Lines(const absl::StatusOr<std::vector<FileWrite>>& writes) {
  std::vector<std::string> out;
  for (const FileWrite& w : *writes) {
    out.push_back(absl::StrCat(w.controller, w.optional ? "? " : " ", w.file, " = ", w.value));
  }
  return out;
}

TEST(BlockIoTest, FilesOfV1) {
  EXPECT_THAT(
      Lines(PlanV1({.block_io = kIo})),
      ElementsAre("blkio? blkio.weight = 80", "blkio? blkio.bfq.weight = 80", "blkio? blkio.weight_device = 8:0 50",
                  "blkio? blkio.bfq.weight_device = 8:0 50", "blkio blkio.throttle.read_bps_device = 8:0 50000000",
                  "blkio blkio.throttle.write_iops_device = 8:0 5000", "blkio blkio.throttle.write_bps_device = 8:16 1",
                  "blkio blkio.throttle.read_iops_device = 8:16 2"));
  EXPECT_THAT(Lines(PlanV1({.block_io = BlockIo{}})), IsEmpty());
}

TEST(BlockIoTest, FilesOfV2) {
  EXPECT_THAT(Lines(PlanV2({.block_io = kIo})),
              ElementsAre("io? io.bfq.weight = 80", "io? io.weight = default 708", "io? io.bfq.weight = 8:0 50",
                          "io? io.weight = 8:0 405", "io io.max = 8:0 rbps=50000000 wiops=5000",
                          "io io.max = 8:16 wbps=1 riops=2"));
}

TEST(BlockIoTest, WeightsOfV2AreOnALine) {
  EXPECT_EQ(IoWeight(10), 1u);
  EXPECT_EQ(IoWeight(100), 910u);
  EXPECT_EQ(IoWeight(1000), 10000u);
  EXPECT_EQ(IoWeight(0), 1u);
  EXPECT_EQ(IoWeight(5000), 10000u);
}

}  // namespace
}  // namespace berth::cgroup
