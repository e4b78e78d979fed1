#include "image/registry/host_health.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace berth::image {
namespace {

constexpr size_t kMaxEntries = 1000;
constexpr char kRestPayload[] = "berth/rest";  // of a status: milliseconds

}  // namespace

HostHealth::Entry& HostHealth::At(const std::string& host) {
  const Clock::time_point now = Clock::now();
  for (auto it = entries_.begin(); entries_.size() >= kMaxEntries && it != entries_.end();) {
    bool over = it->second.rests_until <= now && it->second.unreachable_until <= now;
    it = over ? entries_.erase(it) : std::next(it);
  }
  if (entries_.size() >= kMaxEntries && entries_.count(host) == 0) entries_.clear();
  return entries_[host];
}

void HostHealth::LetRest(const std::string& host, absl::Duration time) {
  Clock::time_point until = Clock::now() + absl::ToChronoNanoseconds(std::min(time, kLongestRest));
  absl::MutexLock lock(&mutex_);
  Entry& entry = At(host);
  entry.rests_until = std::max(entry.rests_until, until);
}

void HostHealth::SetUnreachable(const std::string& host) {
  absl::MutexLock lock(&mutex_);
  At(host).unreachable_until = Clock::now() + absl::ToChronoNanoseconds(kUnreachableFor);
}

void HostHealth::SetReached(const std::string& host) {
  absl::MutexLock lock(&mutex_);
  if (auto it = entries_.find(host); it != entries_.end()) it->second.unreachable_until = {};
}

absl::Duration HostHealth::RestLeft(const std::string& host) const {
  absl::MutexLock lock(&mutex_);
  auto it = entries_.find(host);
  if (it == entries_.end()) return absl::ZeroDuration();
  return std::max(absl::FromChrono(it->second.rests_until - Clock::now()), absl::ZeroDuration());
}

bool HostHealth::IsUnreachable(const std::string& host) const {
  absl::MutexLock lock(&mutex_);
  auto it = entries_.find(host);
  return it != entries_.end() && it->second.unreachable_until > Clock::now();
}

absl::Status HostHealth::CheckRest(const std::string& host) const {
  absl::Duration left = RestLeft(host);
  if (left == absl::ZeroDuration()) return absl::OkStatus();
  absl::Status resting = absl::UnavailableError(
      absl::StrCat(host, " asks to wait ", absl::FormatDuration(absl::Ceil(left, absl::Seconds(1)))));
  resting.SetPayload(kRestPayload, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(left) + 1)));
  return resting;
}

absl::Duration RestOf(const absl::Status& status) {
  int64_t milliseconds = 0;
  auto payload = status.GetPayload(kRestPayload);
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &milliseconds)) return absl::ZeroDuration();
  return absl::Milliseconds(milliseconds);
}

}  // namespace berth::image
