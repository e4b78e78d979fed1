// Those who follow what a container writes: each has a pipe, and nobody waits for it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace berth::shim {

struct Attachment {
  uint64_t id = 0;
  uint64_t connection = 0;  // of the daemon that it belongs to
  bool input = false;       // it may write to the container
  sys::UniqueFd out, err;   // write ends, non-blocking; invalid = not wanted
  bool lagged = false;      // set when it is dropped because a pipe was full
};

class Attachments {
 public:
  static constexpr size_t kMax = 64;  // of a container

  enum class Stream { kOut, kErr };

  bool empty() const { return all_.empty(); }
  bool full() const { return all_.size() >= kMax; }
  // Whether somebody has the container's input.
  bool any_input() const;
  void Add(Attachment attachment) { all_.push_back(std::move(attachment)); }
  // nullptr when it is not here. Valid until the next call that is not const.
  Attachment* Find(uint64_t id);

  // To all that want the stream. Those that did not take all of it, or have closed their end, are removed and returned.
  std::vector<Attachment> Write(Stream stream, absl::string_view bytes);
  // Removed and returned as well.
  std::vector<Attachment> Take(uint64_t id);
  std::vector<Attachment> TakeOf(uint64_t connection);
  std::vector<Attachment> TakeAll() { return std::exchange(all_, {}); }

 private:
  template <typename Predicate>
  std::vector<Attachment> TakeIf(Predicate predicate);

  std::vector<Attachment> all_;
};

}  // namespace berth::shim
