// Ids are types, so that a pod's id cannot be given where a container's is asked for. An id is 64 lower-case
// hexadecimal digits (256 random bits) for pods and containers; an image's id is "sha256:" and its config's digest.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace berth {

template <typename Tag>
class Id {
 public:
  Id() = default;
  explicit Id(absl::string_view value) : value_(value) {}
  const std::string& str() const { return value_; }
  bool empty() const { return value_.empty(); }
  // The first 12 digits: for messages and names that people read.
  std::string Short() const { return value_.substr(0, 12); }
  friend bool operator==(const Id& a, const Id& b) { return a.value_ == b.value_; }
  friend bool operator<(const Id& a, const Id& b) { return a.value_ < b.value_; }
  template <typename H>
  friend H AbslHashValue(H h, const Id& id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  std::string value_;
};

using PodId = Id<struct PodTag>;
using ContainerId = Id<struct ContainerTag>;
using ImageId = Id<struct ImageTag>;

// 64 random lower-case hexadecimal digits, from getrandom(2).
std::string RandomHexId();

// Whether `id` may name a file or directory of ours: 1 to 128 characters of [A-Za-z0-9_.-], not starting with '.'.
bool IsSafeName(absl::string_view id);

}  // namespace berth
