// What a running pull and those who wait for it tell each other: progress one way, cancellation the other.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/store.h"

namespace berth::image {

class PullMonitor {
 public:
  // The pull's side.
  void SetLayers(std::vector<LayerProgress> layers) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetDone(size_t layer, uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetUnpacked(size_t layer) ABSL_LOCKS_EXCLUDED(mutex_);
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  // The waiters' side. The version grows with every change.
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  uint64_t Version() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<LayerProgress> Layers() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::atomic<bool> cancelled_{false};
  mutable absl::Mutex mutex_;
  std::vector<LayerProgress> layers_ ABSL_GUARDED_BY(mutex_);
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace berth::image
