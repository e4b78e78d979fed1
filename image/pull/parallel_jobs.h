// A number of jobs on a few threads.
#pragma once

#include <atomic>
#include <cstddef>

#include "absl/functional/function_ref.h"
#include "runtime/base/status.h"

namespace berth::image {

// Runs job(0) … job(count - 1), up to `parallel` at once, each in one of as many new threads. After the first error,
// which is returned, none is begun any more, and `stop` is set for those that run. Calls `report` from this thread
// several times a second, and once when all is over.
absl::Status RunJobs(size_t count, int parallel, std::atomic<bool>& stop, absl::FunctionRef<absl::Status(size_t)> job,
                     absl::FunctionRef<void()> report);

}  // namespace berth::image
