// The device nodes of one container: which of several that want one place is there, and whether it is the host's node
// or one of the container's own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/rootfs/device_nodes.h"

namespace berth::spec {

// By whom a node is wanted; a later one replaces an earlier one's.
enum class NodeOrigin { kDefault, kHostAll, kRequest, kCdi };

// Other than the host's node has it; nullopt = as there.
struct NodeOwner {
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  bool empty() const { return !mode && !uid && !gid; }
};

struct Node {
  rootfs::HostDevice device;  // `mount` is not valid when the host has no such node
  NodeOrigin origin = NodeOrigin::kDefault;
  NodeOwner owner;
  // Whether it has to be made: a bind shows the host's node with the host's owner, and cannot be chown'ed.
  bool own() const { return !device.mount.valid() || !owner.empty(); }
};

class NodeSet {
 public:
  // The same device once more at the same path changes nothing but the owner; another device at a path takes over if
  // its origin comes later. InvalidArgument when two of one origin, or one and the default nodes, contradict each
  // other.
  absl::Status Add(Node node);
  // In the order of their first addition.
  std::vector<Node>& nodes() { return nodes_; }

 private:
  std::vector<Node> nodes_;
};

}  // namespace berth::spec
