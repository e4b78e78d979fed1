#include "image/registry/retry.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "runtime/base/deadline.h"

namespace berth::image {

absl::Duration Backoff(const RetryPolicy& policy, int failures, double random) {
  absl::Duration full = policy.first;
  for (int i = 1; i < failures && full < policy.most; ++i) full *= 2;
  full = std::min(full, policy.most);
  return full * (0.5 + random / 2);
}

absl::Duration ParseRetryAfter(absl::string_view value, absl::Time now) {
  int64_t seconds = 0;
  if (absl::SimpleAtoi(value, &seconds)) return absl::Seconds(std::clamp<int64_t>(seconds, 0, 1'000'000));
  absl::Time date;
  std::string error;
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", value, &date, &error)) return absl::ZeroDuration();
  return std::max(date - now, absl::ZeroDuration());
}

absl::Status Wait(absl::Duration time, const std::function<bool()>& cancelled) {
  const Deadline end = Deadline::In(time);
  while (true) {
    if (cancelled && cancelled()) return absl::CancelledError("cancelled");
    if (end.Passed()) return absl::OkStatus();
    absl::SleepFor(std::min(end.Left(), absl::Milliseconds(50)));
  }
}

}  // namespace berth::image
