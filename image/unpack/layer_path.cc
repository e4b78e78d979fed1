#include "image/unpack/layer_path.h"

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace berth::image {
namespace {

constexpr absl::string_view kPrefix = ".wh.";
constexpr absl::string_view kPrivatePrefix = ".wh..wh.";
constexpr absl::string_view kOpaqueName = ".wh..wh..opq";

}  // namespace

LayerName SplitLayerPath(absl::string_view clean) {
  size_t slash = clean.rfind('/');
  if (slash == absl::string_view::npos) return {"", clean};
  return {clean.substr(0, slash), clean.substr(slash + 1)};
}

Whiteout ClassifyWhiteout(const LayerName& name) {
  if (absl::StartsWith(name.parent, kPrefix) || absl::StrContains(name.parent, "/.wh.")) {
    for (absl::string_view part : absl::StrSplit(name.parent, '/')) {
      if (absl::StartsWith(part, kPrivatePrefix)) return Whiteout::kIgnored;
      if (absl::StartsWith(part, kPrefix)) return Whiteout::kMalformed;
    }
  }
  if (!absl::StartsWith(name.base, kPrefix)) return Whiteout::kNone;
  if (name.base == kOpaqueName) return Whiteout::kOpaque;
  if (absl::StartsWith(name.base, kPrivatePrefix)) return Whiteout::kIgnored;
  absl::string_view target = WhiteoutTarget(name.base);
  return target.empty() || target == "." || target == ".." ? Whiteout::kMalformed : Whiteout::kHides;
}

absl::string_view WhiteoutTarget(absl::string_view base) { return base.substr(kPrefix.size()); }

}  // namespace berth::image
