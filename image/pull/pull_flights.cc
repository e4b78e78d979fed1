#include "image/pull/pull_flights.h"

#include <utility>

namespace berth::image {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(20);  // how soon a cancellation is seen

}  // namespace

std::shared_ptr<PullFlights::Flight> PullFlights::Join(const std::string& key, Job job) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Flight>& slot = flights_[key];
  if (slot) {
    ++slot->waiters;
    return slot;
  }
  slot = std::make_shared<Flight>();
  slot->waiters = 1;
  slot->thread = std::thread([this, key, flight = slot.get(), job = std::move(job)] {
    absl::StatusOr<ImageRow> result = job(flight->monitor);
    absl::MutexLock lock(&mutex_);
    flight->result = std::move(result);
    flight->done = true;
    // Who comes now wants to know how things are from now on.
    if (auto it = flights_.find(key); it != flights_.end() && it->second.get() == flight) flights_.erase(it);
    changed_.NotifyAll();
  });
  return slot;
}

void PullFlights::Leave(const std::string& key, const std::shared_ptr<Flight>& flight) {
  {
    absl::MutexLock lock(&mutex_);
    if (--flight->waiters > 0) return;
    if (!flight->done) flight->monitor.Cancel();
    // Who comes now must not get the cancelled result.
    if (auto it = flights_.find(key); it != flights_.end() && it->second == flight) flights_.erase(it);
  }
  flight->thread.join();
}

absl::StatusOr<ImageRow> PullFlights::Run(const std::string& key, const PullRequest& request, Job job) {
  std::shared_ptr<Flight> flight = Join(key, std::move(job));
  absl::StatusOr<ImageRow> result = absl::CancelledError("the pull was cancelled");
  uint64_t seen = 0;
  for (bool done = false; !done;) {
    {
      absl::MutexLock lock(&mutex_);
      done = changed_.Await(
          mutex_, [&] { return flight->done; }, Deadline::In(kPoll));
      if (done) result = flight->result;
    }
    if (uint64_t version = flight->monitor.Version(); request.progress && version != seen) {
      seen = version;
      request.progress(flight->monitor.Layers());
    }
    if (!done && request.cancelled && request.cancelled()) break;
  }
  Leave(key, flight);
  return result;
}

}  // namespace berth::image
