// What the workers of a push tell the thread that reports how far it is. Thread-safe.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/push/blob_upload.h"
#include "image/store.h"

namespace berth::image {

class PushMonitor {
 public:
  void SetBlobs(std::vector<BlobProgress> blobs) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetDone(size_t blob, uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetFinished(size_t blob, const UploadedBlob& uploaded) ABSL_LOCKS_EXCLUDED(mutex_);

  uint64_t Version() const ABSL_LOCKS_EXCLUDED(mutex_);  // grows with every change
  std::vector<BlobProgress> Blobs() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  std::vector<BlobProgress> blobs_ ABSL_GUARDED_BY(mutex_);
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace berth::image
