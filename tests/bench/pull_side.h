// Pulls and removals of one image on one endpoint, measured. Not thread-safe; blocking.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"
#include "tests/bench/side.h"

namespace berth::bench {

class PullSide {
 public:
  // `root`: a directory on the file system that the endpoint alone keeps its images on. Nothing may be stored yet that
  // later goes away: what is in use now is what there is without the image.
  static absl::StatusOr<PullSide> Open(Side side, const std::string& root);

  // Pulls the image, which must not be there. Adds pull_answered (until PullImage has answered), pull_durable (until
  // everything that it wrote is on disk), both ms, and pull_cpu.
  absl::Status MeasurePull(const std::string& image);
  // The same pull with the memory looked at, which slows it down. Adds peak_pss (sampled) and peak_rss (the kernel's
  // high-water mark), in KiB, both above what the daemon had when this was opened.
  absl::Status MeasureMemory(const std::string& image);
  // Adds remove_answered (ms), and remove_settled, until the room on the disk is free again. DeadlineExceeded when that
  // takes half a minute.
  absl::Status MeasureRemoval(const std::string& image);

  // What was written so far reaches the disk, and the CPU comes to rest: every measurement begins so.
  absl::Status Rest() const;

  Side& side() { return side_; }

 private:
  PullSide(Side side, sys::UniqueFd root) : side_(std::move(side)), root_(std::move(root)) {}

  Side side_;
  sys::UniqueFd root_;
  // Without the image:
  uint64_t idle_bytes_ = 0;              // in use on the file system
  int64_t idle_pss_ = 0, idle_rss_ = 0;  // KiB, of all processes
};

}  // namespace berth::bench
