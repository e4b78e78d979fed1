// YAML documents from outside, as JSON values, so that one reader serves files that may be written in either.
#pragma once

#include "absl/strings/string_view.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace berth::cdi {

// The first document of `text`. Mappings and lists are as in JSON; a scalar is a string with its text as it stands
// (quoted or not: YAML's guesses about numbers and booleans are the reader's to make, see IntOf), or null for an empty
// plain one, "~" and "null". InvalidArgument with the line for what is not YAML, a mapping with a key that is no
// scalar or stands twice, or one that is nested deeper than 64 levels or, its aliases expanded, has more than 200,000
// values.
absl::StatusOr<Json> ParseYaml(absl::string_view text);

// An integer from JSON's number or YAML's text: decimal, 0x…, 0o…, or octal by a leading 0. InvalidArgument otherwise.
absl::StatusOr<int64_t> IntOf(const Json& value);

}  // namespace berth::cdi
