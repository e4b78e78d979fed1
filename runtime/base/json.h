// JSON documents from outside: parsed with a size and depth limit, read with errors that name the field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth {

using Json = nlohmann::json;

// InvalidArgument for text that is not JSON (with the byte position) or is nested deeper than 64 levels. Of two equal
// keys the last wins.
absl::StatusOr<Json> ParseJson(absl::string_view text);

// The member, or `fallback` when it is absent or null. InvalidArgument "field 'KEY': expected TYPE" otherwise.
absl::StatusOr<std::string> StringField(const Json& object, const char* key, absl::string_view fallback = "");
absl::StatusOr<int64_t> IntField(const Json& object, const char* key, int64_t fallback = 0);
absl::StatusOr<bool> BoolField(const Json& object, const char* key, bool fallback = false);
absl::StatusOr<std::vector<std::string>> StringListField(const Json& object, const char* key);

// The text of a document; bytes that are not UTF-8 become U+FFFD.
std::string DumpJson(const Json& json, int indent = -1);

}  // namespace berth
