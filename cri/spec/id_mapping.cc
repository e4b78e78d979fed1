#include "cri/spec/id_mapping.h"

#include <algorithm>

namespace berth::spec {
namespace {

constexpr uint64_t kIds = 0xffffffff;  // the id -1 is none

std::optional<uint32_t> HostId(const IdMappings& mappings, uint32_t id) {
  if (mappings.empty()) return id;
  return sys::OutsideId(ToIdRanges(mappings), id);
}

}  // namespace

absl::Status ValidateIdMappings(absl::string_view field, const IdMappings& mappings) {
  for (const state::v1::IdMapping& m : mappings) {
    if (m.length() == 0) return absl::InvalidArgumentError(absl::StrCat(field, ".length: is 0"));
    if (uint64_t{m.host_id()} + m.length() > kIds) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ".host_id: ", m.length(), " ids from ", m.host_id(), " reach beyond the last one"));
    }
    if (uint64_t{m.container_id()} + m.length() > kIds) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".container_id: ", m.length(), " ids from ",
                                                     m.container_id(), " reach beyond the last one"));
    }
  }
  return absl::OkStatus();
}

bool SameMappings(const IdMappings& a, const IdMappings& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.container_id() == y.container_id() && x.host_id() == y.host_id() && x.length() == y.length();
  });
}

std::vector<sys::IdRange> ToIdRanges(const IdMappings& mappings) {
  std::vector<sys::IdRange> out;
  for (const state::v1::IdMapping& m : mappings) out.push_back({m.container_id(), m.host_id(), m.length()});
  return out;
}

std::optional<uint32_t> HostUid(const state::v1::PodSpec& pod, uint32_t uid) {
  return HostId(pod.namespaces().uids(), uid);
}

std::optional<uint32_t> HostGid(const state::v1::PodSpec& pod, uint32_t gid) {
  return HostId(pod.namespaces().gids(), gid);
}

}  // namespace berth::spec
