#include "image/pull/pull_monitor.h"

namespace berth::image {

void PullMonitor::SetLayers(std::vector<LayerProgress> layers) {
  absl::MutexLock lock(&mutex_);
  layers_ = std::move(layers);
  ++version_;
}

void PullMonitor::SetDone(size_t layer, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  layers_[layer].done = bytes;
  ++version_;
}

void PullMonitor::SetUnpacked(size_t layer) {
  absl::MutexLock lock(&mutex_);
  layers_[layer].unpacked = true;
  ++version_;
}

uint64_t PullMonitor::Version() const {
  absl::MutexLock lock(&mutex_);
  return version_;
}

std::vector<LayerProgress> PullMonitor::Layers() const {
  absl::MutexLock lock(&mutex_);
  return layers_;
}

}  // namespace berth::image
