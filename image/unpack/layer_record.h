// The record that stands beside a layer, in either format, as JSON. Pure functions.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "image/unpack/layer_store.h"
#include "runtime/base/status.h"

namespace berth::image {

std::string EncodeLayerRecord(const LayerInfo& info);
// InvalidArgument for anything that EncodeLayerRecord does not write.
absl::StatusOr<LayerInfo> DecodeLayerRecord(absl::string_view text);

}  // namespace berth::image
