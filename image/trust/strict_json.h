// JSON documents on which trust depends: read so that no two readers can understand them differently. Pure functions.
#pragma once

#include <initializer_list>

#include "absl/strings/string_view.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace berth::image {

// As ParseJson, but InvalidArgument also when an object has a key twice.
absl::StatusOr<Json> ParseStrictJson(absl::string_view text);

// InvalidArgument, with `where` in front, unless `json` is an object with no key but `known` ones.
absl::Status CheckKeys(const Json& json, absl::string_view where, std::initializer_list<absl::string_view> known);

// The string at `key` of an object. InvalidArgument "WHERE.KEY: …" when it is missing, empty or something else.
absl::StatusOr<std::string> RequiredString(const Json& object, absl::string_view where, const char* key);

}  // namespace berth::image
