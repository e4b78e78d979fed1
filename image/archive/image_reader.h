// The images of an archive, as far as its documents tell; the layers are only pointed at.
#pragma once

#include <string>
#include <vector>

#include "image/archive/archive.h"
#include "image/pull/image_record.h"
#include "image/pull/manifest.h"
#include "image/unpack/layer_sink.h"
#include "runtime/base/status.h"

namespace berth::image {

struct ArchivedLayer {
  ArchiveMember member;
  LayerBlob blob;  // what it must turn out to be
};

struct ArchivedImage {
  NewImage record;
  std::vector<ArchivedLayer> layers;  // bottom first
};

// An OCI layout, else a docker-archive (Docker from version 25 writes both into one). At least one image. All documents
// are verified by their digests, all layers are there and have the size that was promised. InvalidArgument: neither
// kind, or a malformed document, which the message names. DataLoss: a digest or size is not as promised. NotFound:
// a blob that is referred to is missing, or nothing is for `host`. ResourceExhausted: documents over their limits.
absl::StatusOr<std::vector<ArchivedImage>> ReadImages(const Archive& archive, const Platform& host);

// Of all images' documents together: many entries may name one large config.
constexpr size_t kMaxDocuments = 64 << 20;
// Adds those of `image` to `sum`. ResourceExhausted over the limit.
absl::Status CountDocuments(const NewImage& image, size_t& sum);

// The two, one file each.
absl::StatusOr<std::vector<ArchivedImage>> ReadOciLayout(const Archive& archive, const Platform& host);
absl::StatusOr<std::vector<ArchivedImage>> ReadDockerArchive(const Archive& archive, const Platform& host);

}  // namespace berth::image
