// How many transfers of layers run at once, over all pulls: what bounds the connections and the memory of the daemon.
// Thread-safe.
#pragma once

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"
#include "runtime/base/timed_condition.h"

namespace berth::image {

class TransferSlots {
 public:
  // Given back with the object. Movable. Must not outlive the slots.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(owner_, other.owner_);
      return *this;
    }
    ~Slot() {
      if (owner_ != nullptr) owner_->Return();
    }
    explicit operator bool() const { return owner_ != nullptr; }

   private:
    friend class TransferSlots;
    explicit Slot(TransferSlots* owner) : owner_(owner) {}
    TransferSlots* owner_ = nullptr;
  };

  explicit TransferSlots(int count) : free_(count > 1 ? count : 1) {}

  // Waits for one. Who has a slot must not wait for another, nor for another pull. Cancelled: `cancelled` said so.
  absl::StatusOr<Slot> Take(const std::function<bool()>& cancelled) ABSL_LOCKS_EXCLUDED(mutex_);
  // An empty slot when none is free.
  Slot TryTake() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Return() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  TimedCondition returned_;
  int free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::image
