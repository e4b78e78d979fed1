#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/manifest/parse.h"
#include "cli/manifest/pod.h"

namespace berth::cli::manifest {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr size_t kShownErrors = 20;

bool IsPod(Object& document) {
  size_t errors = document.problems()->errors.size();
  std::string kind = document.Required("kind");
  std::string version = document.Required("apiVersion");
  if (document.problems()->errors.size() != errors) return false;
  if (kind != "Pod") {
    document.Error("kind", absl::StrCat("'", kind, "' is not supported: berth run takes Pods"));
  } else if (version != "v1") {
    document.Error("apiVersion", absl::StrCat("'", version, "' is not supported: Pods are v1"));
  }
  return document.problems()->errors.size() == errors;
}

absl::Status ToStatus(const Problems& problems, absl::string_view file) {
  std::vector<std::string> lines;
  for (const std::string& error : problems.errors) {
    if (lines.size() == kShownErrors) {
      lines.push_back(absl::StrCat("… and ", problems.errors.size() - kShownErrors, " more errors"));
      break;
    }
    lines.push_back(absl::StrCat(file, ": ", error));
  }
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

}  // namespace

absl::StatusOr<Manifest> ParseManifest(absl::string_view text, absl::string_view file) {
  if (text.size() > kMaxBytes) return absl::InvalidArgumentError(absl::StrCat(file, ": larger than 1 MiB"));
  Manifest manifest;
  Problems problems;
  std::set<std::string> names;
  try {
    for (const YAML::Node& node : YAML::LoadAll(std::string(text))) {
      if (node.IsNull()) continue;
      Object document(node, "", &problems);
      if (!node.IsMap() || !IsPod(document)) continue;
      manifest.pods.push_back(ParsePod(document));
      const Pod& pod = manifest.pods.back();
      if (!names.insert(absl::StrCat(pod.ns, "/", pod.name)).second) {
        document.Error("metadata", absl::StrCat("pod ", pod.ns, "/", pod.name, " is in the file twice"));
      }
    }
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ":", e.mark.line + 1, ":", e.mark.column + 1, ": bad YAML: ", e.msg));
  }
  if (!problems.errors.empty()) return ToStatus(problems, file);
  if (manifest.pods.empty()) return absl::InvalidArgumentError(absl::StrCat(file, ": contains no Pod"));
  for (const std::string& warning : problems.warnings) manifest.warnings.push_back(absl::StrCat(file, ": ", warning));
  return manifest;
}

}  // namespace berth::cli::manifest
