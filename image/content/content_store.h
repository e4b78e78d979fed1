// Manifests and configs, kept byte for byte by their digest: ROOT/content/<hex>. Layers are not here (layer_store.h).
// Thread-safe; several writers of one digest are fine, as they write the same bytes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

class ContentStore {
 public:
  // Documents are read into memory whole; none is larger than this.
  static constexpr size_t kMaxDocument = 8 << 20;

  // What the documents and their directory take on disk.
  struct Usage {
    uint64_t bytes = 0;
    uint64_t inodes = 0;
  };

  // Makes ROOT/content when missing and removes half-written files. Files with other names are let be.
  static absl::StatusOr<std::unique_ptr<ContentStore>> Open(absl::string_view root);

  // DataLoss when the bytes do not have the digest, InvalidArgument for a malformed digest, ResourceExhausted over
  // kMaxDocument. After OK the document survives a power cut. Storing what is there already is OK.
  absl::Status Put(absl::string_view digest, absl::string_view bytes);
  // NotFound when it is not there; DataLoss when the bytes on disk no longer have the digest.
  absl::StatusOr<std::string> Get(absl::string_view digest) const;
  // OK when it is not there.
  absl::Status Remove(absl::string_view digest);
  // The digests of all documents, sorted by their hex digits.
  std::vector<std::string> List() const;
  // A sum that is kept.
  Usage Total() const;

 private:
  explicit ContentStore(sys::UniqueFd dir) : dir_(std::move(dir)) {}
  absl::Status Adopt();
  absl::Status WriteDurably(const std::string& name, absl::string_view bytes);

  const sys::UniqueFd dir_;
  mutable absl::Mutex mutex_;  // also makes a change of the directory and of the map one step
  std::map<std::string, uint64_t> sizes_ ABSL_GUARDED_BY(mutex_);  // bytes on disk, by the name of the file
  uint64_t total_ ABSL_GUARDED_BY(mutex_) = 0;                     // their sum
};

}  // namespace berth::image
