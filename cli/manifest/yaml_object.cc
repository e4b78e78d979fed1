#include "cli/manifest/yaml_object.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace berth::cli::manifest {
namespace {

// yaml-cpp gives quoted scalars the tag "!", plain ones "?".
bool IsPlain(const YAML::Node& node) { return node.Tag() == "?"; }

// Whether Kubernetes would read a plain scalar as something else than a string.
const char* NonStringType(const YAML::Node& node) {
  if (!IsPlain(node)) return nullptr;
  const std::string& text = node.Scalar();
  static const std::set<std::string> kBooleans = {"true", "false", "True", "False", "TRUE", "FALSE",
                                                  "yes",  "no",    "Yes",  "No",    "YES",  "NO",
                                                  "on",   "off",   "On",   "Off",   "ON",   "OFF"};
  if (kBooleans.count(text) != 0) return "a boolean";
  double number;
  bool digit = text.find_first_of("0123456789") != std::string::npos;
  if (digit && absl::SimpleAtod(text, &number)) return "a number";
  return nullptr;
}

size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t keep = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({keep, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

Object::Object(const YAML::Node& node, std::string path, Problems* problems)
    : node_(node), path_(std::move(path)), problems_(problems) {
  if (!node_.IsMap()) {
    problems_->errors.push_back(At(path_.empty() ? "document" : path_, node_, "expected a mapping"));
    node_.reset(YAML::Node(YAML::NodeType::Map));  // an assignment would change the node of the caller, too
    return;
  }
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) {
      problems_->errors.push_back(At(path_, entry.first, "field names must be strings"));
    } else if (!seen.insert(entry.first.Scalar()).second) {
      problems_->errors.push_back(At(PathOf(entry.first.Scalar()), entry.first, "given twice"));
    }
  }
}

YAML::Node Object::Find(absl::string_view key) const {
  for (const auto& entry : node_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key && !entry.second.IsNull()) return entry.second;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

YAML::Node Object::Ask(absl::string_view key) {
  known_.emplace(key);
  return Find(key);
}

bool Object::Has(absl::string_view key) const { return Find(key).IsDefined(); }

std::string Object::PathOf(absl::string_view key) const {
  if (key.empty()) return path_.empty() ? "document" : path_;
  // A key with dots in it (an annotation, say) would read as a path.
  bool quote = absl::StrContains(key, '.') || absl::StrContains(key, '/');
  if (quote) return absl::StrCat(path_, "['", key, "']");
  return path_.empty() ? std::string(key) : absl::StrCat(path_, ".", key);
}

std::string Object::At(absl::string_view path, const YAML::Node& node, absl::string_view message) const {
  int line = node.IsDefined() ? node.Mark().line : -1;
  if (line < 0) return absl::StrCat(path, ": ", message);
  return absl::StrCat(path, ": ", message, " (line ", line + 1, ")");
}

void Object::Error(absl::string_view key, absl::string_view message) {
  YAML::Node node = key.empty() ? node_ : Find(key);
  problems_->errors.push_back(At(PathOf(key), node.IsDefined() ? node : node_, message));
}

void Object::Note(absl::string_view key, absl::string_view message) {
  YAML::Node node = Find(key);
  problems_->warnings.push_back(At(PathOf(key), node.IsDefined() ? node : node_, message));
}

std::optional<std::string> Object::AsString(const YAML::Node& node, absl::string_view path) {
  if (!node.IsScalar()) {
    problems_->errors.push_back(At(path, node, "expected a string"));
    return std::nullopt;
  }
  if (const char* type = NonStringType(node)) {
    problems_->errors.push_back(
        At(path, node, absl::StrCat("expected a string, but ", node.Scalar(), " is ", type, ": put it in quotes")));
    return std::nullopt;
  }
  return node.Scalar();
}

std::optional<int64_t> Object::AsInt(const YAML::Node& node, absl::string_view path, int64_t min, int64_t max) {
  int64_t value = 0;
  if (!node.IsScalar() || !IsPlain(node) || !absl::SimpleAtoi(node.Scalar(), &value)) {
    problems_->errors.push_back(At(path, node, "expected a whole number"));
    return std::nullopt;
  }
  if (value < min || value > max) {
    problems_->errors.push_back(At(path, node, absl::StrCat(value, " is not between ", min, " and ", max)));
    return std::nullopt;
  }
  return value;
}

std::string Object::String(absl::string_view key, absl::string_view fallback) {
  YAML::Node node = Ask(key);
  if (!node.IsDefined()) return std::string(fallback);
  return AsString(node, PathOf(key)).value_or(std::string(fallback));
}

std::string Object::Required(absl::string_view key) {
  if (!Has(key)) {
    known_.emplace(key);
    Error(key, "must be given");
    return "";
  }
  size_t errors = problems_->errors.size();
  std::string value = String(key);
  if (value.empty() && problems_->errors.size() == errors) Error(key, "must not be empty");
  return value;
}

std::optional<int64_t> Object::Int(absl::string_view key, int64_t min, int64_t max) {
  YAML::Node node = Ask(key);
  return node.IsDefined() ? AsInt(node, PathOf(key), min, max) : std::nullopt;
}

std::optional<bool> Object::Bool(absl::string_view key) {
  YAML::Node node = Ask(key);
  if (!node.IsDefined()) return std::nullopt;
  bool value = false;
  if (node.IsScalar() && IsPlain(node) && YAML::convert<bool>::decode(node, value)) return value;
  Error(key, "expected true or false");
  return std::nullopt;
}

std::string Object::Scalar(absl::string_view key) {
  YAML::Node node = Ask(key);
  if (!node.IsDefined()) return "";
  if (node.IsScalar()) return node.Scalar();
  Error(key, "expected a quantity");
  return "";
}

std::optional<Object> Object::Map(absl::string_view key) {
  YAML::Node node = Ask(key);
  if (!node.IsDefined()) return std::nullopt;
  return Object(node, PathOf(key), problems_);
}

std::vector<Object> Object::MapList(absl::string_view key) {
  YAML::Node node = Ask(key);
  std::vector<Object> out;
  if (!node.IsDefined()) return out;
  if (!node.IsSequence()) {
    Error(key, "expected a list");
    return out;
  }
  for (size_t i = 0; i < node.size(); ++i) out.emplace_back(node[i], absl::StrCat(PathOf(key), "[", i, "]"), problems_);
  return out;
}

std::vector<std::string> Object::StringList(absl::string_view key) {
  YAML::Node node = Ask(key);
  std::vector<std::string> out;
  if (!node.IsDefined()) return out;
  if (!node.IsSequence()) Error(key, "expected a list of strings");
  for (size_t i = 0; node.IsSequence() && i < node.size(); ++i) {
    auto value = AsString(node[i], absl::StrCat(PathOf(key), "[", i, "]"));
    if (value) out.push_back(*value);
  }
  return out;
}

std::vector<int64_t> Object::IntList(absl::string_view key, int64_t min, int64_t max) {
  YAML::Node node = Ask(key);
  std::vector<int64_t> out;
  if (!node.IsDefined()) return out;
  if (!node.IsSequence()) Error(key, "expected a list of whole numbers");
  for (size_t i = 0; node.IsSequence() && i < node.size(); ++i) {
    auto value = AsInt(node[i], absl::StrCat(PathOf(key), "[", i, "]"), min, max);
    if (value) out.push_back(*value);
  }
  return out;
}

std::map<std::string, std::string> Object::StringMap(absl::string_view key) {
  std::map<std::string, std::string> out;
  auto map = Map(key);
  if (!map) return out;
  for (const std::string& name : map->Keys()) out[name] = map->String(name);
  return out;
}

std::string Object::Choice(absl::string_view key, std::initializer_list<const char*> allowed,
                           absl::string_view fallback) {
  if (!Has(key)) {
    known_.emplace(key);
    return std::string(fallback);
  }
  size_t errors = problems_->errors.size();
  std::string value = String(key);
  if (problems_->errors.size() != errors) return std::string(fallback);
  for (const char* choice : allowed) {
    if (value == choice) return value;
  }
  Error(key, absl::StrCat("'", value, "' is not one of ", absl::StrJoin(allowed, ", ")));
  return std::string(fallback);
}

void Object::Accept(std::initializer_list<const char*> keys) {
  for (const char* key : keys) known_.emplace(key);
}

void Object::Warn(std::initializer_list<const char*> keys, absl::string_view why) {
  for (const char* key : keys) {
    if (Ask(key).IsDefined()) Note(key, absl::StrCat("has no effect: ", why));
  }
}

void Object::Refuse(std::initializer_list<const char*> keys, absl::string_view why) {
  for (const char* key : keys) {
    if (Ask(key).IsDefined()) Error(key, why.empty() ? "not supported" : absl::StrCat("not supported: ", why));
  }
}

std::vector<std::string> Object::Keys() const {
  std::vector<std::string> keys;
  for (const auto& entry : node_) {
    if (entry.first.IsScalar()) keys.push_back(entry.first.Scalar());
  }
  return keys;
}

void Object::Finish() {
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar() || known_.count(entry.first.Scalar()) != 0) continue;
    const std::string& key = entry.first.Scalar();
    std::string hint;
    size_t best = 3;
    for (const std::string& known : known_) {
      size_t distance = absl::EqualsIgnoreCase(known, key) ? 0 : EditDistance(known, key);
      if (distance < best) {
        best = distance;
        hint = absl::StrCat(", did you mean ", known, "?");
      }
    }
    problems_->errors.push_back(At(PathOf(key), entry.first, "unknown field" + hint));
  }
}

}  // namespace berth::cli::manifest
