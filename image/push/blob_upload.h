// One blob on its way into a repository, whose digest is known only when its last byte was given: in chunks that are
// kept until the registry has acknowledged them (opencontainers/distribution-spec, end-4a, end-5, end-6, end-13).
// One thread at a time uses it. Blocking.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "image/content/digest.h"
#include "image/push/repository_writer.h"
#include "runtime/base/status.h"

namespace berth::image {

struct UploadedBlob {
  std::string digest;
  uint64_t size = 0;
  bool already_there = false;  // the registry had it: seen before anything was sent
};

class BlobUpload {
 public:
  static constexpr size_t kChunk = 8 << 20;  // bytes in memory

  // `writer` outlives it. `progress` gets the bytes that the registry has acknowledged; may be empty.
  BlobUpload(RepositoryWriter* writer, std::function<void(uint64_t)> progress, size_t chunk = kChunk);
  // Ends what was not finished, at the registry too.
  ~BlobUpload();

  // Nothing is sent before a chunk is full. Aborted: the registry lost the upload, and the blob must be given anew, to
  // another object. Other errors as StatusOfWrite has them. The first error sticks.
  absl::Status Write(absl::string_view bytes);
  // Sends the rest. A blob of one chunk or less is sent in one request, unless it is there already.
  absl::StatusOr<UploadedBlob> Finish();

 private:
  absl::Status Take(absl::string_view bytes);
  absl::StatusOr<UploadedBlob> Complete();
  absl::Status Begin();
  absl::Status SendPending();
  absl::Status SendOnce();
  absl::Status AskOffset();
  absl::Status Acknowledge(absl::string_view range, uint64_t otherwise);
  absl::Status Close(absl::string_view digest);

  RepositoryWriter* const writer_;
  RegistrySession* const session_;
  const std::function<void(uint64_t)> progress_;
  size_t chunk_;
  Hasher hash_;
  std::string pending_;  // not acknowledged, from byte acknowledged_ on
  uint64_t acknowledged_ = 0;
  std::optional<Url> location_;  // once begun, until closed
  absl::Status status_;
};

}  // namespace berth::image
