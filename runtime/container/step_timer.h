// Names and durations of the ordered steps of a launch. Used between clone and exec: it allocates nothing, takes no
// lock and cannot fail. Not thread-safe.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>

namespace berth {

class StepTimer {
 public:
  static constexpr size_t kMaxSteps = 32;
  struct Step {
    const char* name;  // a literal: it outlives every timer
    uint64_t nanoseconds;
  };

  // Ends the running step, if any, and begins `name`, a string literal. Time of a step that no longer fits is
  // added to the last one.
  void Begin(const char* name) {
    const uint64_t now = Now();
    Close(now);
    if (size_ < kMaxSteps) steps_[size_++] = {name, 0};
    started_ = now;
    running_ = true;
  }
  // Ends the running step.
  void End() {
    Close(Now());
    running_ = false;
  }

  // The step that runs, or ran last: what an error is blamed on. "" before the first Begin.
  const char* current() const { return size_ == 0 ? "" : steps_[size_ - 1].name; }
  size_t size() const { return size_; }
  const Step& operator[](size_t i) const { return steps_[i]; }

  static uint64_t Now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
  }

 private:
  void Close(uint64_t now) {
    if (running_) steps_[size_ - 1].nanoseconds += now - started_;
  }

  Step steps_[kMaxSteps] = {};
  size_t size_ = 0;
  uint64_t started_ = 0;
  bool running_ = false;
};

}  // namespace berth
