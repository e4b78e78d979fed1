// One push from beginning to end: layers side by side, config, manifest.
#pragma once

#include "image/catalog/catalog.h"
#include "image/pull/puller.h"
#include "image/push/blob_upload.h"
#include "image/push/known_blobs.h"
#include "image/store.h"

namespace berth::image {

// What a push works with; all outlive it.
struct PushParts {
  const PullParts* store;
  KnownBlobs* known;
  int parallel_layers = 3;  // each takes a chunk of memory
  size_t chunk = BlobUpload::kChunk;
};

// Blocking; any number at once. The layers and documents of `row` must be on lease. Errors as Store::Push has them.
absl::StatusOr<PushResult> PushImage(const PushParts& parts, const ImageRow& row, const Reference& destination,
                                     const PushRequest& request);

// The tag to push to. InvalidArgument as Store::Push has it. Pure.
absl::StatusOr<Reference> PushDestination(const PushRequest& request, const ImageRow& row);

}  // namespace berth::image
