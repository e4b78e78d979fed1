#include "cri/spec/volume_paths.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/lexical_path.h"

namespace berth::spec {
namespace {

std::string Absolute(absl::string_view path) { return absl::StrCat("/", CleanInRoot(path)); }

bool IsAtOrBeneath(absl::string_view path, absl::string_view top) {
  return top == "/" || path == top || absl::StartsWith(path, absl::StrCat(top, "/"));
}

}  // namespace

absl::Status CheckVolumePath(absl::string_view path) {
  bool ours = path == "/";
  for (absl::string_view top : {"/proc", "/sys", "/dev"}) ours = ours || IsAtOrBeneath(path, top);
  if (!ours) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("image.image: its configuration declares a volume at '", path, "', which is the runtime's"));
}

bool IsMountedOver(const state::v1::ContainerSpec& spec, absl::string_view path) {
  for (const auto& m : spec.mounts()) {
    if (IsAtOrBeneath(path, Absolute(m.container_path()))) return true;
  }
  return false;
}

absl::string_view SharedMountAbove(const state::v1::ContainerSpec& spec, absl::string_view path) {
  for (const auto& m : spec.mounts()) {
    const bool shared = m.propagation() == state::v1::Mount::BIDIRECTIONAL;
    if (shared && IsAtOrBeneath(Absolute(path), Absolute(m.container_path()))) return m.container_path();
  }
  return "";
}

absl::StatusOr<std::vector<std::string>> ConfigVolumes(const std::vector<std::string>& declared,
                                                       const state::v1::ContainerSpec& spec) {
  std::set<std::string> paths;  // a parent sorts before what is beneath it
  for (const std::string& volume : declared) {
    std::string path = Absolute(volume);
    if (absl::StrContains(volume, '\0') || volume.size() > 4095) {
      return absl::FailedPreconditionError("image.image: its configuration declares a volume at what is no path");
    }
    if (IsMountedOver(spec, path)) continue;
    RETURN_IF_ERROR(CheckVolumePath(path));
    paths.insert(std::move(path));
  }
  return std::vector<std::string>(paths.begin(), paths.end());
}

}  // namespace berth::spec
