#include "image/pull/layer_flights.h"

#include "absl/cleanup/cleanup.h"

namespace berth::image {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(50);
// A flight that brings less than that in that time is not waited for: its server may be one that means to hold us up.
constexpr uint64_t kLeastProgress = 1 << 20;
constexpr absl::Duration kProgressWindow = absl::Seconds(10);

}  // namespace

LayerFlights::Claim LayerFlights::TryClaim(const std::string& diff_id) {
  Claim claim;
  claim.diff_id_ = diff_id;
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Flight>& slot = flights_[diff_id];
  if (!slot) {
    slot = std::make_shared<Flight>();
    claim.owner_ = this;
  }
  claim.flight_ = slot;
  return claim;
}

void LayerFlights::End(const std::string& diff_id, Flight& flight) {
  absl::MutexLock lock(&mutex_);
  flight.over_ = true;
  flights_.erase(diff_id);
  ended_.NotifyAll();
}

absl::StatusOr<bool> LayerFlights::Await(Flight& flight, const std::function<bool()>& cancelled,
                                         const std::function<void(uint64_t)>& moved) {
  flight.waiters_.fetch_add(1, std::memory_order_relaxed);
  absl::Cleanup leave = [&] { flight.waiters_.fetch_sub(1, std::memory_order_relaxed); };
  uint64_t seen = flight.received(), window = seen;
  Deadline window_end = Deadline::In(kProgressWindow);
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (ended_.Await(
              mutex_, [&] { return flight.over_; }, Deadline::In(kPoll)))
        return true;
    }
    if (cancelled && cancelled()) return absl::CancelledError("cancelled");
    if (uint64_t now = flight.received(); now != seen) moved(seen = now);
    if (seen >= window + kLeastProgress || flight.landing_.load(std::memory_order_relaxed)) {
      window = seen;
      window_end = Deadline::In(kProgressWindow);
    }
    if (window_end.Passed()) return false;
  }
}

}  // namespace berth::image
