#include "cri/spec/rlimits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "absl/strings/str_cat.h"

namespace berth::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::vector<std::string> Lines(const absl::StatusOr<std::vector<Rlimit>>& limits) {
  if (!limits.ok()) return {limits.status().ToString()};
  std::vector<std::string> out;
  for (const Rlimit& l : *limits) out.push_back(absl::StrCat(l.name, " ", l.resource, " ", l.soft, " ", l.hard));
  return out;
}

TEST(RlimitsTest, NamesAndValues) {
  EXPECT_THAT(Lines(ParseRlimits("nofile=1024:4096, NPROC=64,core=0:unlimited", "x")),
              ElementsAre("nofile 7 1024 4096", "nproc 6 64 64", "core 4 0 18446744073709551615"));
  EXPECT_THAT(Lines(ParseRlimits("", "x")), ElementsAre());
  for (const char* name : {"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
                           "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}) {
    EXPECT_TRUE(ParseRlimits(absl::StrCat(name, "=1"), "x").ok()) << name;
  }
}

TEST(RlimitsTest, WhatIsWrongNamesTheAnnotation) {
  for (const char* bad : {"nofile", "nofile=", "nofile=1:", "nofile=:1", "nofile=1:2:3", "nofile=2:1", "nofile=-1",
                          "nofile=x", "nofile=unlimited:5", "files=1", "=1", "nofile=1,", ",", "nofile=1,nofile=2",
                          "nofile= 1", "nofile=99999999999999999999", "nofile=18446744073709551615", "nofile=0x10"}) {
    auto limits = ParseRlimits(bad, "annotation a");
    EXPECT_EQ(limits.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(limits.status().message()), StartsWith("annotation a: ")) << bad;
  }
}

TEST(RlimitsTest, TheNearerAnnotationWins) {
  state::v1::PodSpec pod;
  state::v1::ContainerSpec container;
  container.set_name("web");
  const auto defaults = *ParseRlimits("core=0,nofile=1", "default_rlimits");
  EXPECT_THAT(Lines(RlimitsOf(container, pod, defaults)), ElementsAre("core 4 0 0", "nofile 7 1 1"));
  (*pod.mutable_annotations())["berth.dev/rlimits"] = "nofile=2,nproc=2,stack=2";
  (*pod.mutable_annotations())["berth.dev/rlimits.web"] = "nproc=3,stack=3";
  (*pod.mutable_annotations())["berth.dev/rlimits.other"] = "nproc=9";
  (*container.mutable_annotations())["berth.dev/rlimits"] = "stack=4";
  EXPECT_THAT(Lines(RlimitsOf(container, pod, defaults)),
              ElementsAre("core 4 0 0", "nofile 7 2 2", "nproc 6 3 3", "stack 3 4 4"));
  (*pod.mutable_annotations())["berth.dev/rlimits.web"] = "nproc=x";
  EXPECT_THAT(Lines(RlimitsOf(container, pod, defaults)), ElementsAre(HasSubstr("annotation berth.dev/rlimits.web")));
}

TEST(RlimitsTest, MoreThanTheMachineGivesIsRefusedBeforehand) {
  struct rlimit own;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &own), 0);
  Rlimit limit{"nofile", RLIMIT_NOFILE, 1, own.rlim_max, "annotation a"};
  EXPECT_TRUE(CheckRlimits({limit}, false).ok());
  limit.hard = uint64_t{1} << 40;
  absl::Status raised = CheckRlimits({limit}, true);
  EXPECT_EQ(raised.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(raised.message()), HasSubstr("annotation a: nofile: the hard limit is above fs.nr_open"));
  if (own.rlim_max >= limit.hard) return;
  EXPECT_THAT(std::string(CheckRlimits({limit}, false).message()), HasSubstr("CAP_SYS_RESOURCE"));
}

}  // namespace
}  // namespace berth::spec
