// How many calls may be at work on one thing.
#pragma once

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"

namespace berth::pod {

// Thread-safe.
class CallLimit {
 public:
  explicit CallLimit(int most) : most_(most) {}

  // Counts as one call until it is destroyed. Not longer than the limit itself.
  class Turn {
   public:
    Turn(CallLimit* limit, std::string id) : limit_(limit), id_(std::move(id)) {}
    Turn(Turn&& other) noexcept : limit_(std::exchange(other.limit_, nullptr)), id_(std::move(other.id_)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (limit_) limit_->Leave(id_);
    }

   private:
    CallLimit* limit_;
    std::string id_;
  };

  // ResourceExhausted when there are as many already.
  absl::StatusOr<Turn> Enter(const std::string& id) {
    absl::MutexLock lock(&mu_);
    int& count = calls_[id];
    if (count >= most_) {
      return absl::ResourceExhaustedError(absl::StrCat(count, " calls that stop or remove '", id, "' wait already"));
    }
    ++count;
    return Turn(this, id);
  }

 private:
  void Leave(const std::string& id) {
    absl::MutexLock lock(&mu_);
    if (--calls_[id] == 0) calls_.erase(id);
  }

  const int most_;
  absl::Mutex mu_;
  absl::flat_hash_map<std::string, int> calls_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::pod
