#include "image/push/push_monitor.h"

#include <utility>

namespace berth::image {

void PushMonitor::SetBlobs(std::vector<BlobProgress> blobs) {
  absl::MutexLock lock(&mutex_);
  blobs_ = std::move(blobs);
  ++version_;
}

void PushMonitor::SetDone(size_t blob, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  blobs_[blob].done = bytes;
  ++version_;
}

void PushMonitor::SetFinished(size_t blob, const UploadedBlob& uploaded) {
  absl::MutexLock lock(&mutex_);
  blobs_[blob] = {.digest = uploaded.digest,
                  .done = uploaded.size,
                  .total = uploaded.size,
                  .already_there = uploaded.already_there,
                  .finished = true};
  ++version_;
}

uint64_t PushMonitor::Version() const {
  absl::MutexLock lock(&mutex_);
  return version_;
}

std::vector<BlobProgress> PushMonitor::Blobs() const {
  absl::MutexLock lock(&mutex_);
  return blobs_;
}

}  // namespace berth::image
