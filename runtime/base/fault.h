// Faults on demand, for tests. Every step that goes through RETURN_IF_ERROR or ASSIGN_OR_RETURN can be made to fail, or
// to kill or stop its process before it is done, and tells that it was passed. Only in builds with BERTH_FAULTS (all
// presets but release), and there only in processes that find the environment variable BERTH_FAULTS at their start: the
// path of a control file that the test made and keeps mapped (tests/fault/steps.py), shared with what they fork.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>  // absl's cannot search at compile time

#include "absl/status/status.h"

namespace berth::fault {

// One step in the source.
struct Site {
  const char* file;  // below the top of the tree
  int line;
  const char* step;  // the expression
};

enum Action : uint32_t { kFail = 1, kKill = 2, kStop = 3 };
enum Program : int32_t { kAnyProgram = 0, kBerthd = 1, kShim = 2 };  // what a zygote forks is the shim's program too

// The control file: this, and then as many Passed as it has room for. Little-endian, no padding.
struct Control {
  char magic[8];                   // "BFAULTS1"
  std::atomic<uint32_t> armed;     // 0 = no fault. Set last, and back to 0 by the fault unless it repeats
  uint32_t action;                 // Action
  int32_t error_number;            // of kFail
  int32_t program;                 // Program
  std::atomic<int32_t> skip;       // how often the step is passed before the fault
  std::atomic<uint32_t> fired;     // how many faults there were
  std::atomic<int32_t> fired_pid;  // of the last
  uint32_t repeat;
  std::atomic<uint32_t> tracing;
  std::atomic<uint32_t> passed;  // how many entries follow; more than there is room for when some were lost
  int32_t line;                  // the step that is armed
  char file[76];
};
static_assert(sizeof(Control) == 128);

struct Passed {
  int32_t pid, line;
  char file[56], step[64];  // cut, not always ended by a zero
};
static_assert(sizeof(Passed) == 128);

// `file` below the top of the tree, however the compiler was told of it.
constexpr const char* InTree(const char* file) {
  size_t start = 0;
  for (std::string_view room : {"runtime/", "image/", "cri/", "cli/", "tests/"}) {
    const size_t at = std::string_view(file).rfind(room);
    if (at != std::string_view::npos && at > start && file[at - 1] == '/') start = at;
  }
  return file + start;
}

// Null in a process without faults.
extern Control* control;

// OK, or the error of the fault that was asked for here. Async-signal-safe as long as no error comes.
absl::Status Pass(const Site& site);

}  // namespace berth::fault
