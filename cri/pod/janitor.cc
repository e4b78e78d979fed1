#include "cri/pod/janitor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace berth::pod {

Janitor::Janitor(Options options)
    : options_(options),
      workers_(std::make_unique<WorkerPool>(options.threads, 100000, "chores")),
      thread_([this] { Loop(); }) {}

void Janitor::End() {
  {
    absl::MutexLock lock(&mu_);
    ending_ = true;
  }
  wake_.NotifyAll();
  if (thread_.joinable()) thread_.join();
  workers_.reset();
}

void Janitor::Owe(absl::string_view key, std::function<absl::Status()> chore, absl::Duration delay) {
  absl::MutexLock lock(&mu_);
  auto [it, is_new] = chores_.try_emplace(std::string(key));
  if (is_new) {
    it->second.run = std::move(chore);
    it->second.wait = options_.first;
  }
  it->second.due = Deadline::In(delay);
  it->second.again = it->second.at_work;
  changed_ = true;
  wake_.NotifyAll();
}

std::map<std::string, std::string> Janitor::Owed() const {
  absl::MutexLock lock(&mu_);
  std::map<std::string, std::string> out;
  for (const auto& [key, chore] : chores_) out[key] = chore.error;
  return out;
}

Deadline Janitor::Next() const {
  Deadline next;
  for (const auto& [key, chore] : chores_) {
    if (!chore.at_work) next = Deadline::Earlier(next, chore.due);
  }
  return next;
}

void Janitor::Loop() {
  absl::MutexLock lock(&mu_);
  while (!ending_) {
    changed_ = false;
    auto awake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return ending_ || changed_; };
    wake_.Await(mu_, awake, Next());
    if (ending_) return;
    for (auto& [key, chore] : chores_) {
      if (chore.at_work || !chore.due.Passed()) continue;
      absl::Status posted = workers_->Post([this, key = key, run = chore.run] { Run(key, run); });
      chore.at_work = posted.ok();
      if (!posted.ok()) chore.due = Deadline::In(chore.wait);  // no thread to be had
    }
  }
}

void Janitor::Run(const std::string& key, const std::function<absl::Status()>& chore) {
  {
    absl::MutexLock lock(&mu_);
    if (ending_) return;
  }
  const absl::Status done = chore();
  absl::MutexLock lock(&mu_);
  Chore& c = chores_.at(key);
  c.at_work = false;
  const bool again = std::exchange(c.again, false);
  if (done.ok() || absl::IsCancelled(done)) {
    if (!c.error.empty()) spdlog::info("{}: done at last", key);
    if (!again) {
      chores_.erase(key);
      return;
    }
    changed_ = true;  // due as it was owed
    wake_.NotifyAll();
    return;
  }
  const bool is_new = c.error != done.message();
  c.error = std::string(done.message());
  if (++c.failures; is_new || std::has_single_bit(c.failures)) {
    spdlog::warn("{}: {}; will be tried again (attempt {})", key, done.ToString(), c.failures);
  }
  c.due = Deadline::In(c.wait);
  c.wait = std::min(c.wait * 2, options_.longest);
  changed_ = true;
  wake_.NotifyAll();
}

}  // namespace berth::pod
