// Which layers (by diffID) and documents (by digest) must not be collected although the catalogue does not speak of
// them: those of pulls and snapshots that are under way.
// Thread-safe.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"

namespace berth::image {

class LayerLeases {
 public:
  // Ends with the object. Movable.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)), names_(std::move(other.names_)) {}
    Lease& operator=(Lease&& other) noexcept {
      End();
      owner_ = std::exchange(other.owner_, nullptr);
      names_ = std::move(other.names_);
      return *this;
    }
    ~Lease() { End(); }

   private:
    friend class LayerLeases;
    void End();
    LayerLeases* owner_ = nullptr;
    std::vector<std::string> names_;
  };

  // From now on a collection spares them: ask what is there only afterwards. Waits for a collection that is under way.
  Lease Hold(std::vector<std::string> names) ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs `collect` with what is on lease; nobody gets a lease meanwhile.
  absl::Status Collect(const std::function<absl::Status(const std::multiset<std::string>& leased)>& collect)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Mutex mutex_;
  std::multiset<std::string> leased_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::image
