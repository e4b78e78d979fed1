#include "cri/pod/name_table.h"

namespace berth::pod {

absl::StatusOr<std::optional<std::string>> NameTable::Claim(absl::string_view name, const Deadline& deadline) {
  absl::MutexLock lock(&mu_);
  auto settled = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    auto it = names_.find(name);
    return it == names_.end() || !it->second.in_progress;
  };
  if (!changed_.Await(mu_, settled, deadline)) {
    return absl::DeadlineExceededError(absl::StrCat("metadata: '", name, "' is still being made by an earlier call"));
  }
  auto [it, is_new] = names_.try_emplace(std::string(name));
  if (is_new) return std::optional<std::string>();
  Entry& entry = it->second;
  if (entry.delivered) return absl::AlreadyExistsError(absl::StrCat("metadata: '", name, "' is taken by ", entry.id));
  entry.delivered = true;
  return std::optional<std::string>(entry.id);
}

bool NameTable::Hold(absl::string_view name) {
  absl::MutexLock lock(&mu_);
  return names_.try_emplace(std::string(name)).second;
}

void NameTable::Finish(absl::string_view name, absl::string_view id, bool delivered) {
  absl::MutexLock lock(&mu_);
  names_[std::string(name)] = Entry{false, delivered, std::string(id)};
  changed_.NotifyAll();
}

void NameTable::Release(absl::string_view name) {
  absl::MutexLock lock(&mu_);
  names_.erase(name);
  changed_.NotifyAll();
}

void NameTable::ReleaseOf(absl::string_view name, absl::string_view id) {
  absl::MutexLock lock(&mu_);
  auto it = names_.find(name);
  if (it != names_.end() && !it->second.in_progress && it->second.id == id) names_.erase(it);
}

}  // namespace berth::pod
