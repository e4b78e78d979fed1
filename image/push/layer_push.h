// One layer into a repository, by the cheapest way that there is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "image/pull/manifest.h"
#include "image/pull/manifest_rewrite.h"
#include "image/push/blob_upload.h"
#include "image/push/compressor.h"
#include "image/push/known_blobs.h"
#include "image/push/repository_writer.h"
#include "image/unpack/layer_store.h"

namespace berth::image {

struct LayerPush {
  RepositoryWriter* writer;
  LayerStore* layers;
  KnownBlobs* known;
  std::vector<std::string> siblings;  // repositories of the same registry that may have the pulled blobs
  Compression compression = Compression::kGzip;
  size_t chunk = BlobUpload::kChunk;
};

// Makes the layer `diff_id`, which was pulled as `pulled`, part of the repository: the pulled blob if the registry has
// it, can take it from a sibling, or it was kept here; else the archive compressed anew, which is not even done when
// the registry still has what came of it the last time. `progress` gets the bytes that arrived. Any number at once.
// Errors as RepositoryWriter, BlobUpload and LayerStore::ReadArchive have them.
absl::StatusOr<UploadedBlob> PushLayer(const LayerPush& push, const Descriptor& pulled, const std::string& diff_id,
                                       const std::function<void(uint64_t)>& progress);

// A small document as a blob.
absl::StatusOr<UploadedBlob> PushBytes(RepositoryWriter& writer, absl::string_view bytes);

}  // namespace berth::image
