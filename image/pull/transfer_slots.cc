#include "image/pull/transfer_slots.h"

namespace berth::image {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(50);  // how soon a cancellation is seen

}  // namespace

absl::StatusOr<TransferSlots::Slot> TransferSlots::Take(const std::function<bool()>& cancelled) {
  absl::MutexLock lock(&mutex_);
  while (free_ == 0) {
    if (cancelled && cancelled()) return absl::CancelledError("cancelled");
    returned_.Await(
        mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return free_ > 0; }, Deadline::In(kPoll));
  }
  --free_;
  return Slot(this);
}

TransferSlots::Slot TransferSlots::TryTake() {
  absl::MutexLock lock(&mutex_);
  if (free_ == 0) return Slot();
  --free_;
  return Slot(this);
}

void TransferSlots::Return() {
  absl::MutexLock lock(&mutex_);
  ++free_;
  returned_.NotifyAll();
}

}  // namespace berth::image
