// What a caller of PullWithProgress is told, and when: every change of phase, and bytes at most ten times a second.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cri/service/admin_calls.h"
#include "cri/service/stream.h"
#include "image/store.h"

namespace berth::service {

// For one thread at a time, but for heard().
class PullReport {
 public:
  // `out` outlives the object, and is told at once that the pull began.
  PullReport(Writer<admin::PullProgress>& out, absl::Time now);

  // What the store knows at `now`.
  void Update(const std::vector<image::LayerProgress>& layers, absl::Time now);
  // The last message.
  void Done(const std::string& image_id);

  // Whether somebody listens still. In any thread.
  bool heard() const { return heard_; }

 private:
  void Send(absl::Time now);

  Writer<admin::PullProgress>& out_;
  admin::PullProgress state_;  // as it was last sent
  absl::Time sent_;
  std::atomic<bool> heard_ = true;
};

}  // namespace berth::service
