#include "cri/spec/shm_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::spec {
namespace {

using state::v1::PodSpec;
using testing::StartsWith;

PodSpec Asking(const char* size) {
  PodSpec spec;
  (*spec.mutable_annotations())[kShmSizeAnnotation] = size;
  return spec;
}

TEST(ShmSize, AsAskedOr64MiB) {
  EXPECT_EQ(*ShmSize({}), 64u << 20);
  EXPECT_EQ(*ShmSize(Asking("128Mi")), 128u << 20);
  EXPECT_EQ(*ShmSize(Asking("1G")), 1000000000u);
  EXPECT_EQ(*ShmSize(Asking("4096")), 4096u);
  EXPECT_EQ(*ShmSize(Asking("2Ti")), uint64_t{2} << 40);
}

TEST(ShmSize, AnythingElseIsRefusedByName) {
  for (const char* size : {"", "Mi", "0", "0Mi", "-1", "-1Mi", "+1", "1.5Gi", " 1Mi", "1 Mi", "1mb", "1Pi",
                           "99999999Ti", "99999999999999999999", "1Mi,mode=0"}) {
    auto got = ShmSize(Asking(size));
    EXPECT_EQ(got.status().code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(std::string(got.status().message()), StartsWith("annotations[io.kubernetes.cri-o.ShmSize]")) << size;
  }
  PodSpec host = Asking("1Mi");
  host.mutable_namespaces()->set_ipc(state::v1::NODE);
  EXPECT_FALSE(ShmSize(host).ok());
}

}  // namespace
}  // namespace berth::spec
