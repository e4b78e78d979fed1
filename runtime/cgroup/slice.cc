#include "runtime/cgroup/slice.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace berth::cgroup {
namespace {

constexpr absl::string_view kSlice = ".slice", kScope = ".scope";
constexpr size_t kMaxUnitName = 255;

bool IsUnitByte(char c) { return absl::ascii_isalnum(c) || absl::StrContains(":-_.\\", absl::string_view(&c, 1)); }

}  // namespace

absl::StatusOr<std::string> PathOfSlice(absl::string_view name) {
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no systemd slice: ", why));
  };
  absl::string_view stem = name;
  if (!absl::ConsumeSuffix(&stem, kSlice)) return bad("its name does not end in .slice");
  if (name.size() > kMaxUnitName) return bad("its name is longer than 255 bytes");
  for (char c : stem) {
    if (!IsUnitByte(c)) return bad("its name holds what a unit's name may not");
  }
  if (stem == "-") return std::string();
  std::string path, prefix;
  for (absl::string_view level : absl::StrSplit(stem, '-')) {
    if (level.empty()) return bad("a part between dashes is empty");
    absl::StrAppend(&prefix, prefix.empty() ? "" : "-", level);
    absl::StrAppend(&path, "/", prefix, kSlice);
  }
  return path;
}

std::string ScopeOfPod(absl::string_view pod_id) { return absl::StrCat("berth-", pod_id, kScope); }

absl::StatusOr<Scope> ScopeOfPath(absl::string_view path) {
  std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  Scope scope{std::string(parts.back()), parts.size() > 2 ? std::string(parts[parts.size() - 2]) : "-.slice"};
  auto parent = PathOfSlice(scope.slice);
  if (!absl::EndsWith(scope.unit, kScope) || !parent.ok() || absl::StrCat(*parent, "/", scope.unit) != path) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is no path of a systemd scope"));
  }
  return scope;
}

}  // namespace berth::cgroup
