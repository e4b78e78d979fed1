#include "image/registry/server_queue.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/random/random.h"

namespace berth::image {

ServerQueue::ServerQueue(const std::vector<RegistrySession*>& servers, const RetryPolicy& policy,
                         const HostHealth& health, std::function<bool()> cancelled)
    : policy_(policy), health_(health), cancelled_(std::move(cancelled)) {
  for (RegistrySession* session : servers) servers_.push_back({.session = session});
  current_ = servers_.end();
}

// The one that may be asked first.
std::vector<ServerQueue::Server>::iterator ServerQueue::Choose() {
  auto best = servers_.end();
  std::tuple<absl::Duration, int, bool> best_rank;
  for (auto it = servers_.begin(); it != servers_.end(); ++it) {
    if (it->given_up) continue;
    const std::string host = it->session->endpoint().base.HostAndPort();
    std::tuple<absl::Duration, int, bool> rank(std::max(it->not_before.Left(), health_.RestLeft(host)), it->failures,
                                               health_.IsUnreachable(host));
    if (best != servers_.end() && rank >= best_rank) continue;
    best = it;
    best_rank = rank;
  }
  return best;
}

absl::StatusOr<RegistrySession*> ServerQueue::Next() {
  while (true) {
    if (cancelled_ && cancelled_()) return absl::CancelledError("cancelled");
    current_ = Choose();
    if (current_ == servers_.end()) return Verdict();
    RETURN_IF_ERROR(Wait(current_->not_before.Left(), cancelled_));
    absl::Status rest = health_.CheckRest(current_->session->endpoint().base.HostAndPort());
    if (rest.ok()) return current_->session;
    Rest(rest);
  }
}

// Not all who wait for a host ask it in the same instant.
void ServerQueue::Rest(const absl::Status& status) {
  absl::BitGen random;
  current_->status = status;
  current_->not_before = Deadline::In(RestOf(status) * absl::Uniform(random, 1.0, 1.1));
  current_->given_up = current_->given_up || RestOf(status) > HostHealth::kLongestWait;
}

absl::Status ServerQueue::Verdict() const {
  for (auto it = servers_.rbegin(); it != servers_.rend(); ++it) {
    if (!it->status.ok()) return it->status;
  }
  return absl::NotFoundError("no server is configured for it");
}

void ServerQueue::Failed(const absl::Status& status, bool progress) {
  current_->status = status;
  if (progress) current_->failures = 0;
  ++current_->failures;
  current_->given_up = !absl::IsUnavailable(status) || current_->failures >= policy_.attempts;
  if (RestOf(status) > absl::ZeroDuration()) return Rest(status);
  absl::BitGen random;
  current_->not_before = Deadline::In(Backoff(policy_, current_->failures, absl::Uniform(random, 0.0, 1.0)));
}

}  // namespace berth::image
