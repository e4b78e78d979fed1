#include "image/trust/strict_json.h"

#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"

namespace berth::image {

absl::StatusOr<Json> ParseStrictJson(absl::string_view text) {
  RETURN_IF_ERROR(ParseJson(text));
  std::vector<std::set<std::string>> open;  // the keys so far of each object around the current place
  std::string twice;
  auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key) {
      std::string key = parsed.get<std::string>();
      if (!open.back().insert(key).second && twice.empty()) twice = absl::StrCat("'", absl::CHexEscape(key), "'");
    }
    return true;
  };
  Json json = Json::parse(text.begin(), text.end(), watch, false);  // no error: ParseJson accepted it
  if (!twice.empty()) return absl::InvalidArgumentError(absl::StrCat("the key ", twice, " stands twice in one object"));
  return json;
}

absl::Status CheckKeys(const Json& json, absl::string_view where, std::initializer_list<absl::string_view> known) {
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": expected an object"));
  for (const auto& [key, unused] : json.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat(where, ": unknown field '", absl::CHexEscape(key), "'"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> RequiredString(const Json& object, absl::string_view where, const char* key) {
  auto found = object.find(key);
  if (found == object.end()) return absl::InvalidArgumentError(absl::StrCat(where, ".", key, ": is missing"));
  if (!found->is_string() || found->get_ref<const std::string&>().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".", key, ": expected a string that is not empty"));
  }
  return found->get<std::string>();
}

}  // namespace berth::image
