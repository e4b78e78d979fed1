// CNI network configurations (CNI specification, section 1), versions up to 1.1.0.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace berth::network {

struct CniPlugin {
  std::string type;                    // the program's file name
  std::set<std::string> capabilities;  // those declared true
  Json config;                         // as written, without "capabilities"
};

struct CniConfig {
  std::string name;
  std::string version;      // the one spoken with the plugins
  bool disable_gc = false;  // others attach to it too, whose attachments we do not know
  std::vector<CniPlugin> plugins;
  std::string source;  // path of the file
};

// Whether `version` is `minimum` or later; both as "1.0.0". Pure.
bool VersionAtLeast(absl::string_view version, absl::string_view minimum);

// Whether it is a version of the specification that we know. Pure.
bool IsKnownVersion(absl::string_view version);

// A plugin list ("plugins"), or the older form of a single plugin. InvalidArgument for what is not a usable
// configuration. Pure.
absl::StatusOr<CniConfig> ParseCniConfig(absl::string_view text);
// The same list as a document that ParseCniConfig reads.
Json CniConfigJson(const CniConfig& config);

// The configuration in force: of the first directory that has a usable one, the lexically first of its *.conf,
// *.conflist and *.json files that parses. Thread-safe.
class CniConfigSource {
 public:
  explicit CniConfigSource(std::vector<std::string> dirs) : dirs_(std::move(dirs)) {}
  // Looks at the directories' entries each time (names, times, sizes) and parses again only when they changed.
  // NotFound when there is no file, InvalidArgument when there is none that can be used.
  absl::StatusOr<CniConfig> Current();

 private:
  std::vector<std::string> dirs_;
  absl::Mutex mu_;
  std::string fingerprint_ ABSL_GUARDED_BY(mu_);
  absl::StatusOr<CniConfig> current_ ABSL_GUARDED_BY(mu_) = absl::UnknownError("not read yet");
};

}  // namespace berth::network
