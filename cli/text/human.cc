#include "cli/text/human.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace berth::cli {

std::string HumanBytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  // 999.5 would be printed as "1000": such a value already belongs to the next unit.
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.3g%s", value, kUnits[unit]);
}

std::string HumanDuration(absl::Duration duration) {
  static constexpr struct {
    int64_t seconds;
    const char* one;
    const char* many;
  } kUnits[] = {{365 * 86400, "year", "years"}, {30 * 86400, "month", "months"}, {86400, "day", "days"},
                {3600, "hour", "hours"},        {60, "minute", "minutes"},       {1, "second", "seconds"}};
  int64_t seconds = absl::ToInt64Seconds(duration);
  for (const auto& unit : kUnits) {
    int64_t count = seconds / unit.seconds;
    if (count >= 1) return absl::StrCat(count, " ", count == 1 ? unit.one : unit.many);
  }
  return "Less than a second";
}

std::string HumanAge(int64_t unix_nanos, absl::Time now) {
  if (unix_nanos == 0) return "";
  return HumanDuration(now - absl::FromUnixNanos(unix_nanos)) + " ago";
}

std::string FormatTime(int64_t unix_nanos) {
  if (unix_nanos == 0) return "";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", absl::FromUnixNanos(unix_nanos), absl::UTCTimeZone());
}

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  absl::Duration duration;
  int64_t seconds = 0;
  if (absl::SimpleAtoi(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a duration such as 90s, 2m or 1h30m"));
  }
  if (duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is negative"));
  }
  return duration;
}

absl::StatusOr<absl::Time> ParseSince(absl::string_view text, absl::Time now) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return time;
  auto duration = ParseDuration(text);
  if (duration.ok()) return now - *duration;
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is neither a time such as 2026-01-31T12:00:00Z nor a duration such as 10m"));
}

}  // namespace berth::cli
