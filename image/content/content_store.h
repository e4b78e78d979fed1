// Manifests and configs, kept byte for byte by their digest: ROOT/content/<hex>. Layers are not here (layer_store.h).
// Thread-safe; several writers of one digest are fine, as they write the same bytes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

class ContentStore {
 public:
  // Documents are read into memory whole; none is larger than this.
  static constexpr size_t kMaxDocument = 8 << 20;

  // Makes ROOT/content when missing and removes half-written files.
  static absl::StatusOr<std::unique_ptr<ContentStore>> Open(absl::string_view root);

  // DataLoss when the bytes do not have the digest, InvalidArgument for a malformed digest, ResourceExhausted over
  // kMaxDocument. After OK the document survives a power cut. Storing what is there already is OK.
  absl::Status Put(absl::string_view digest, absl::string_view bytes);
  // NotFound when it is not there; DataLoss when the bytes on disk no longer have the digest.
  absl::StatusOr<std::string> Get(absl::string_view digest) const;
  // OK when it is not there.
  absl::Status Remove(absl::string_view digest);
  // The digests of all documents, in no order.
  absl::StatusOr<std::vector<std::string>> List() const;

 private:
  explicit ContentStore(sys::UniqueFd dir) : dir_(std::move(dir)) {}
  sys::UniqueFd dir_;
};

}  // namespace berth::image
