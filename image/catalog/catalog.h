// The catalogue of images: one SQLite database (WAL, synchronous=FULL), so that what a call did
// survives a power cut once it returned OK. Rows are written after the data they speak of is on disk.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"

namespace berth::image {

struct ImageRow {
  ImageId id;                   // digest of the config, or of an artifact's manifest
  std::string manifest_digest;  // of the platform's manifest, the last one pulled
  uint64_t size = 0;            // bytes on disk of its layers
  bool pinned = false;
  absl::Time pulled_at;              // kept to the microsecond
  std::string config;                // the config document, JSON; of an artifact one that we made
  std::vector<std::string> layers;   // diffIDs, bottom first, may repeat
  std::vector<std::string> tags;     // normalised "host/name:tag", sorted when read
  std::vector<std::string> digests;  // normalised "host/name@sha256:…", sorted when read
};

class Catalog {
 public:
  // Makes the database when missing and migrates an older one. A file that is not a sound database is renamed to
  // "<path>.damaged-<time>" and a new one begun (see Problems). FailedPrecondition: a newer berth wrote it.
  static absl::StatusOr<std::unique_ptr<Catalog>> Open(const std::string& path);
  virtual ~Catalog() = default;

  // Inserts or updates the image, in one transaction. References are added to those it has; one that named another
  // image is taken from it. An image that lost its tags stays, by its digests and id.
  virtual absl::Status PutImage(const ImageRow& row) = 0;
  // NotFound for another image. Changes nothing else.
  virtual absl::Status SetPinned(const ImageId& id, bool pinned) = 0;
  // An exact normalised tag or digest reference. NotFound. DataLoss when its row is damaged.
  virtual absl::StatusOr<ImageRow> FindByRef(absl::string_view ref) const = 0;
  // A full id with or without "sha256:", or a prefix of at least 4 digits. NotFound; InvalidArgument when ambiguous.
  virtual absl::StatusOr<ImageRow> FindById(absl::string_view id) const = 0;
  // By time of pull, oldest first; damaged rows are left out and added to Problems.
  virtual absl::StatusOr<std::vector<ImageRow>> ListImages() const = 0;
  // Gives the image one more tag, a normalised one, and takes it from another that has it. NotFound.
  virtual absl::Status AddTag(const ImageId& id, absl::string_view tag) = 0;
  // With all its references. OK when there is none.
  virtual absl::Status RemoveImage(const ImageId& id) = 0;
  // Likewise, unless it was pulled again since `row` was read. Whether there was something to remove.
  virtual absl::StatusOr<bool> RemoveImageAsOf(const ImageRow& row) = 0;

  // The diffIDs of an image, bottom first. NotFound.
  virtual absl::StatusOr<std::vector<std::string>> LayersOf(const ImageId& id) const = 0;
  // DiffIDs that an image uses, those of damaged rows included: all others may be removed.
  virtual absl::StatusOr<std::set<std::string>> LayersInUse() const = 0;
  // Digests of the manifests and configs of all images, likewise.
  virtual absl::StatusOr<std::set<std::string>> DocumentsInUse() const = 0;

  // What was found damaged since Open, for the log.
  virtual std::vector<std::string> Problems() const = 0;
};

}  // namespace berth::image
