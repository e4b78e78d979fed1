// A YAML mapping read as a Kubernetes object is: every field is asked for by name and type, and
// what nobody asked for is an error that names its path and line. All problems of a document are
// collected, so that one run shows them all.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth::cli::manifest {

struct Problems {
  std::vector<std::string> errors;    // "spec.containers[0].image: must be given (line 12)"
  std::vector<std::string> warnings;  // fields that have no effect
};

class Object {
 public:
  // `path` is "" for the document itself. A node that is not a mapping is an error and reads as an
  // empty object.
  Object(const YAML::Node& node, std::string path, Problems* problems);

  bool Has(absl::string_view key) const;  // present and not null

  // These note that `key` is known. A wrong type is an error and reads as if absent; null is
  // absent.
  std::string String(absl::string_view key, absl::string_view fallback = "");
  std::optional<int64_t> Int(absl::string_view key, int64_t min, int64_t max);
  std::optional<bool> Bool(absl::string_view key);
  // Text as it is written, of a string or a number: for quantities.
  std::string Scalar(absl::string_view key);
  std::optional<Object> Map(absl::string_view key);
  std::vector<Object> MapList(absl::string_view key);
  std::vector<std::string> StringList(absl::string_view key);
  std::vector<int64_t> IntList(absl::string_view key, int64_t min, int64_t max);
  std::map<std::string, std::string> StringMap(absl::string_view key);
  // One of `allowed`, or `fallback` when absent or wrong.
  std::string Choice(absl::string_view key, std::initializer_list<const char*> allowed, absl::string_view fallback);
  // A string that must be given and not be empty.
  std::string Required(absl::string_view key);

  // Fields that change nothing for a pod on a single node.
  void Accept(std::initializer_list<const char*> keys);
  // Fields that are left out with a warning, and fields that are an error, with the reason.
  void Warn(std::initializer_list<const char*> keys, absl::string_view why);
  void Refuse(std::initializer_list<const char*> keys, absl::string_view why);

  // An error at a field, or at the object itself for "".
  void Error(absl::string_view key, absl::string_view message);
  void Note(absl::string_view key, absl::string_view message);  // a warning
  std::vector<std::string> Keys() const;

  // To be called last: each field that nobody knows is an error.
  void Finish();

  const std::string& path() const { return path_; }
  Problems* problems() const { return problems_; }

 private:
  YAML::Node Find(absl::string_view key) const;
  YAML::Node Ask(absl::string_view key);  // Find, and note the key
  std::string PathOf(absl::string_view key) const;
  std::string At(absl::string_view path, const YAML::Node& node, absl::string_view message) const;
  std::optional<std::string> AsString(const YAML::Node& node, absl::string_view path);
  std::optional<int64_t> AsInt(const YAML::Node& node, absl::string_view path, int64_t min, int64_t max);

  YAML::Node node_;
  std::string path_;
  Problems* problems_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace berth::cli::manifest
