// Sizes, times and durations as people write and read them. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::cli {

// Decimal units, three significant digits: "0B", "999B", "1.02kB", "187MB".
std::string HumanBytes(uint64_t bytes);

// "Less than a second", "42 seconds", "5 minutes", "3 hours", "12 days", "7 months", "2 years".
// Negative is 0.
std::string HumanDuration(absl::Duration duration);

// "5 minutes ago" for nanoseconds since the epoch; "" for 0, which CRI uses for "has not happened".
std::string HumanAge(int64_t unix_nanos, absl::Time now);

// RFC 3339 in UTC; "" for 0.
std::string FormatTime(int64_t unix_nanos);

// "90s", "2m", "1h30m", "500ms", or a bare number of seconds. InvalidArgument otherwise and for
// what is negative.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

// A point in time: RFC 3339, or a duration before `now`.
absl::StatusOr<absl::Time> ParseSince(absl::string_view text, absl::Time now);

}  // namespace berth::cli
