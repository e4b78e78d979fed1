// Layers that are on their way into the store. Pulls of different images that need one layer fetch it once: the second
// waits for the first, and looks into the store afterwards.
//
// Nobody depends on the first for longer than it is of use: when its layer hardly moves, fails or is cancelled, the
// waiter fetches the layer itself. Who holds a flight must not wait for another; so nobody ever waits in a circle.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"
#include "runtime/base/timed_condition.h"

namespace berth::image {

class LayerFlights {
 public:
  // One layer on its way.
  class Flight {
   public:
    // The side of who fetches.
    void SetReceived(uint64_t bytes) { received_.store(bytes, std::memory_order_relaxed); }
    // All bytes are there: what is left to do is on this machine.
    void SetLanding() { landing_.store(true, std::memory_order_relaxed); }
    // Whether somebody waits, so that the layer should be committed as soon as it can be.
    bool wanted() const { return waiters_.load(std::memory_order_relaxed) > 0; }

    uint64_t received() const { return received_.load(std::memory_order_relaxed); }

   private:
    friend class LayerFlights;
    std::atomic<uint64_t> received_{0};
    std::atomic<bool> landing_{false};
    std::atomic<int> waiters_{0};
    bool over_ = false;  // guarded by LayerFlights::mutex_
  };

  // The right and the duty to fetch a layer. Movable; ends with the object, and then the waiters look into the store.
  class Claim {
   public:
    Claim() = default;
    Claim(Claim&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), diff_id_(std::move(other.diff_id_)), flight_(other.flight_) {}
    Claim& operator=(Claim&& other) noexcept {
      std::swap(owner_, other.owner_);
      std::swap(diff_id_, other.diff_id_);
      std::swap(flight_, other.flight_);
      return *this;
    }
    ~Claim() {
      if (owner_ != nullptr) owner_->End(diff_id_, *flight_);
    }
    // Whether it is ours. Otherwise somebody else's, who may be waited for.
    bool mine() const { return owner_ != nullptr; }
    Flight& flight() const { return *flight_; }

   private:
    friend class LayerFlights;
    LayerFlights* owner_ = nullptr;
    std::string diff_id_;
    std::shared_ptr<Flight> flight_;
  };

  // The first to ask gets it.
  Claim TryClaim(const std::string& diff_id) ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until the flight is over (true) or too slow to wait for (false). Calls `moved` with the bytes that were
  // received. Cancelled: `cancelled` said so.
  absl::StatusOr<bool> Await(Flight& flight, const std::function<bool()>& cancelled,
                             const std::function<void(uint64_t)>& moved) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void End(const std::string& diff_id, Flight& flight) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  TimedCondition ended_;
  std::map<std::string, std::shared_ptr<Flight>> flights_ ABSL_GUARDED_BY(mutex_);  // by diffID
};

}  // namespace berth::image
