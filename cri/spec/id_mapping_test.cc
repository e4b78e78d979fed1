#include "cri/spec/id_mapping.h"

#include <gtest/gtest.h>

namespace berth::spec {
namespace {

void Add(IdMappings& mappings, uint32_t inside, uint32_t host, uint32_t length) {
  auto* m = mappings.Add();
  m->set_container_id(inside);
  m->set_host_id(host);
  m->set_length(length);
}

IdMappings Mapping(uint32_t inside, uint32_t host, uint32_t length) {
  IdMappings out;
  Add(out, inside, host, length);
  return out;
}

TEST(IdMapping, RangesEndBeforeTheIdThatIsNone) {
  EXPECT_TRUE(ValidateIdMappings("f", {}).ok());
  EXPECT_TRUE(ValidateIdMappings("f", Mapping(0, 0xfffffffe, 1)).ok());
  EXPECT_TRUE(ValidateIdMappings("f", Mapping(0, 0, 0xffffffff)).ok());
  for (const IdMappings& bad :
       {Mapping(0, 0xfffffffe, 2), Mapping(0xffffffff, 0, 1), Mapping(0, 1, 0xffffffff), Mapping(0, 100000, 0)}) {
    EXPECT_EQ(ValidateIdMappings("f", bad).code(), absl::StatusCode::kInvalidArgument) << bad[0].DebugString();
  }
}

TEST(IdMapping, AreTheSameWhenEveryRangeIs) {
  IdMappings two = Mapping(0, 1, 2);
  EXPECT_TRUE(SameMappings({}, {}));
  EXPECT_TRUE(SameMappings(two, Mapping(0, 1, 2)));
  EXPECT_FALSE(SameMappings(two, Mapping(0, 1, 3)));
  EXPECT_FALSE(SameMappings(two, {}));
  Add(two, 2, 9, 1);
  EXPECT_FALSE(SameMappings(two, Mapping(0, 1, 2)));
}

TEST(IdMapping, IdsOfAPodOnTheHost) {
  state::v1::PodSpec pod;
  EXPECT_FALSE(HasUserNamespace(pod));
  EXPECT_EQ(HostUid(pod, 70000), 70000u);
  *pod.mutable_namespaces()->mutable_uids() = Mapping(0, 100000, 65536);
  *pod.mutable_namespaces()->mutable_gids() = Mapping(0, 300000, 65536);
  EXPECT_TRUE(HasUserNamespace(pod));
  EXPECT_EQ(HostUid(pod, 0), 100000u);
  EXPECT_EQ(HostGid(pod, 5), 300005u);
  EXPECT_EQ(HostUid(pod, 65536), std::nullopt);
}

}  // namespace
}  // namespace berth::spec
