// The spellings of numbers in tar headers. Pure functions.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>

#include "absl/strings/string_view.h"

namespace berth::image {

// A header field: octal digits between spaces and NULs (none: 0), or GNU base-256 when the top bit is set.
// Nothing for other characters or what does not fit.
std::optional<int64_t> ParseTarNumber(absl::string_view field);

// A pax value: decimal digits only.
std::optional<uint64_t> ParsePaxNumber(absl::string_view text);

// A pax time: "[-]seconds[.fraction]"; digits past the nanosecond are cut off, seconds beyond 64 bits saturate.
std::optional<struct timespec> ParsePaxTime(absl::string_view text);

// Whether the checksum field of a 512-byte header fits: over unsigned bytes, or signed ones as old writers did.
bool TarChecksumMatches(const char* block);

}  // namespace berth::image
