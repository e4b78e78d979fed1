#include "runtime/base/json.h"

namespace berth {
namespace {

constexpr int kMaxDepth = 64;

const Json* Member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::Status WrongType(const char* key, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat("field '", key, "': expected ", expected));
}

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text) {
  bool too_deep = false;
  auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) too_deep = true;
    return !too_deep;
  };
  try {
    Json json = Json::parse(text.begin(), text.end(), limit_depth);
    if (too_deep) return absl::InvalidArgumentError(absl::StrCat("JSON nested deeper than ", kMaxDepth));
    return json;
  } catch (const Json::parse_error& e) {
    return absl::InvalidArgumentError(absl::StrCat("invalid JSON at byte ", e.byte));
  } catch (const Json::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("invalid JSON: ", e.what()));
  }
}

absl::StatusOr<std::string> StringField(const Json& object, const char* key, absl::string_view fallback) {
  const Json* m = Member(object, key);
  if (!m) return std::string(fallback);
  if (!m->is_string()) return WrongType(key, "a string");
  return m->get<std::string>();
}

absl::StatusOr<int64_t> IntField(const Json& object, const char* key, int64_t fallback) {
  const Json* m = Member(object, key);
  if (!m) return fallback;
  if (m->is_number_unsigned() && m->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return WrongType(key, "an integer of 64 bits");
  if (!m->is_number_integer()) return WrongType(key, "an integer");
  return m->get<int64_t>();
}

absl::StatusOr<bool> BoolField(const Json& object, const char* key, bool fallback) {
  const Json* m = Member(object, key);
  if (!m) return fallback;
  if (!m->is_boolean()) return WrongType(key, "true or false");
  return m->get<bool>();
}

absl::StatusOr<std::vector<std::string>> StringListField(const Json& object, const char* key) {
  const Json* m = Member(object, key);
  std::vector<std::string> out;
  if (!m) return out;
  if (!m->is_array()) return WrongType(key, "a list of strings");
  for (const Json& item : *m) {
    if (!item.is_string()) return WrongType(key, "a list of strings");
    out.push_back(item.get<std::string>());
  }
  return out;
}

std::string DumpJson(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace berth
