#include "cri/spec/node_set.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace berth::spec {

absl::Status NodeSet::Add(Node node) {
  auto there =
      std::find_if(nodes_.begin(), nodes_.end(), [&](const Node& n) { return n.device.path == node.device.path; });
  if (there == nodes_.end()) {
    nodes_.push_back(std::move(node));
    return absl::OkStatus();
  }
  const rootfs::HostDevice &old = there->device, &wanted = node.device;
  const bool same = old.type == wanted.type && old.major == wanted.major && old.minor == wanted.minor;
  if (!same && (there->origin == NodeOrigin::kDefault || there->origin == node.origin)) {
    return absl::InvalidArgumentError(absl::StrCat("'", wanted.path, "' is wanted for the devices ", old.major, ":",
                                                   old.minor, " and ", wanted.major, ":", wanted.minor));
  }
  if (same && there->origin == NodeOrigin::kDefault) return absl::OkStatus();
  if (same && node.owner.empty()) node.owner = there->owner;
  if (node.origin >= there->origin) *there = std::move(node);
  return absl::OkStatus();
}

}  // namespace berth::spec
