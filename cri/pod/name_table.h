// Which pod or container owns a name, so that a kubelet's retry of a call whose answer it never saw gets the same
// id, and a second use of a name an error.
#pragma once

#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"
#include "runtime/base/timed_condition.h"

namespace berth::pod {

// Thread-safe.
class NameTable {
 public:
  // nullopt: the name is now the caller's, who ends with Finish or Release. An id: an earlier call made it and its
  // caller never got the answer; the id is his now. Waits while an earlier call is at work, until `deadline`
  // (DeadlineExceeded). AlreadyExists when the name is taken; the message names the owner.
  absl::StatusOr<std::optional<std::string>> Claim(absl::string_view name, const Deadline& deadline);
  // As Claim, but at once: whether the name was free, and now is the caller's.
  bool Hold(absl::string_view name);
  // The work is done. `delivered`: its caller is still there to hear of it.
  void Finish(absl::string_view name, absl::string_view id, bool delivered);
  // The name is free again: its claimer's work failed. OK for a name that is not there.
  void Release(absl::string_view name);
  // Likewise for one that is `id`'s; another's stays. For who did not claim it himself.
  void ReleaseOf(absl::string_view name, absl::string_view id);

 private:
  struct Entry {
    bool in_progress = true;
    bool delivered = false;
    std::string id;
  };
  absl::Mutex mu_;
  TimedCondition changed_;
  absl::flat_hash_map<std::string, Entry> names_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::pod
