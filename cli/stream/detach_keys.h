// The keys that leave an attached terminal without ending what runs there.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cli::stream {

// Bytes for a list such as "ctrl-p,ctrl-q" or "ctrl-],x": each a character, or ctrl- with one of a-z @ [ \ ] ^ _.
// Empty for none. InvalidArgument names the key.
absl::StatusOr<std::string> ParseDetachKeys(absl::string_view list);

class DetachKeys {
 public:
  explicit DetachKeys(std::string keys) : keys_(std::move(keys)) {}

  // What of `typed` is to be passed on. The beginning of the keys is held back until it is clear what it is; behind all
  // of them nothing is passed on any more.
  std::string Filter(absl::string_view typed);
  bool detached() const { return detached_; }

 private:
  const std::string keys_;
  std::string held_;  // a beginning of keys_
  bool detached_ = false;
};

}  // namespace berth::cli::stream
