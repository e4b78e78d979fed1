// The compressed bytes of a layer as they were pulled, where they were kept.
#pragma once

#include "absl/strings/string_view.h"
#include "image/pull/manifest.h"
#include "image/unpack/layer_store.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// The blob of the layer `diff_id` if it is `blob`. NotFound when it was not kept, which is how it is by default.
absl::StatusOr<sys::UniqueFd> OpenKeptBlob(const LayerStore& layers, absl::string_view diff_id, const Descriptor& blob);

}  // namespace berth::image
