// When and how long to wait before a request is made again. Pure, but for Wait.
#pragma once

#include <functional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::image {

struct RetryPolicy {
  int attempts = 5;  // in all, without progress in between
  absl::Duration first = absl::Milliseconds(250);
  absl::Duration most = absl::Seconds(8);
  absl::Duration most_asked = absl::Seconds(60);  // a server that asks for more is given up
};

// Doubling from policy.first up to policy.most. `failures` counts from 1; `random` in [0,1) spreads it over the upper
// half.
absl::Duration Backoff(const RetryPolicy& policy, int failures, double random);

// Retry-After in seconds or as an HTTP date (RFC 9110 section 10.2.3); zero when absent, past or malformed.
absl::Duration ParseRetryAfter(absl::string_view value, absl::Time now);

// 408, 429, 500, 502, 503, 504.
bool IsTransient(int http_status);

// Sleeps in short pieces; Cancelled as soon as `cancelled` says so.
absl::Status Wait(absl::Duration time, const std::function<bool()>& cancelled);

}  // namespace berth::image
