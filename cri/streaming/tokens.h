// The sessions that were asked for and that no client has come for yet. Thread-safe.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "cri/streaming/backend.h"

namespace berth::streaming {

class Tokens {
 public:
  using Clock = std::chrono::steady_clock;

  Tokens(Clock::duration lifetime, size_t max_pending, std::function<Clock::time_point()> now = Clock::now);

  // A token for `request`: 128 bits of getrandom(2), 22 characters of base64url. It is a secret. ResourceExhausted when
  // `max_pending` wait.
  absl::StatusOr<std::string> Add(Request request);
  // What the token stands for, without spending it.
  std::optional<Request> Find(absl::string_view token);
  // Spends it: of several callers one gets the request.
  std::optional<Request> Take(absl::string_view token);

 private:
  // Tokens are known by their SHA-256 alone: how long a lookup takes says nothing of the token that was looked for, and
  // a memory image holds none.
  using Digest = std::string;
  struct Pending {
    Request request;
    Clock::time_point expiry;
  };

  void DropExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock::duration lifetime_;
  const size_t max_pending_;
  const std::function<Clock::time_point()> now_;
  absl::Mutex mutex_;
  absl::flat_hash_map<Digest, Pending> pending_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::pair<Clock::time_point, Digest>> by_age_ ABSL_GUARDED_BY(mutex_);  // the taken ones, too
};

}  // namespace berth::streaming
