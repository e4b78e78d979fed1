// When and how long to wait before a request is made again. Pure, but for Wait.
#pragma once

#include <functional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::image {

struct RetryPolicy {
  int attempts = 5;  // at each server, without progress in between
  absl::Duration first = absl::Milliseconds(250);
  absl::Duration most = absl::Seconds(8);
};

// Doubling from policy.first up to policy.most. `failures` counts from 1; `random` in [0,1) spreads it over the upper
// half.
absl::Duration Backoff(const RetryPolicy& policy, int failures, double random);

// Retry-After in seconds or as an HTTP date (RFC 9110 section 10.2.3); zero when absent, past or malformed.
absl::Duration ParseRetryAfter(absl::string_view value, absl::Time now);

// Sleeps in short pieces; Cancelled as soon as `cancelled` says so.
absl::Status Wait(absl::Duration time, const std::function<bool()>& cancelled);

}  // namespace berth::image
