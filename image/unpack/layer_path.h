// Names in a layer, as values. Pure functions.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace berth::image {

struct LayerName {
  absl::string_view parent;  // "" is the root
  absl::string_view base;
};
// Splits a clean path (CleanInRoot) that is not "". The views point into it.
LayerName SplitLayerPath(absl::string_view clean);

// What a name says about lower layers (OCI image-spec, layer.md, "Whiteouts").
enum class Whiteout {
  kNone,       // an ordinary entry
  kHides,      // ".wh.NAME": NAME of lower layers is gone
  kOpaque,     // ".wh..wh..opq": all of the directory in lower layers is gone
  kIgnored,    // private to AUFS: ".wh..wh.*" otherwise
  kMalformed,  // a whiteout of nothing, or a whiteout used as a directory
};
Whiteout ClassifyWhiteout(const LayerName& name);
// NAME of ".wh.NAME".
absl::string_view WhiteoutTarget(absl::string_view base);

}  // namespace berth::image
