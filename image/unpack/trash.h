// Where directory trees go that are no longer wanted: gone from their place at once, unlinked when the machine has
// time. Unlinking the thousands of files of a layer takes from a fifth of a second to many, depending on the file
// system.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// Thread-safe. The destructor does not wait for the rest: the next Open finds it.
class Trash {
 public:
  // Makes the directory when it is missing, mode 0700, and goes on with what is in it.
  static absl::StatusOr<std::unique_ptr<Trash>> Open(absl::string_view path);
  ~Trash();

  // Moves `name` of `dir`, which is on the same file system, here. OK when it is not there.
  absl::Status Take(int dir, const std::string& name);
  // Everything that is in `dir`.
  absl::Status TakeAll(int dir);

 private:
  explicit Trash(sys::UniqueFd dir) : dir_(std::move(dir)) {}
  void Run();

  const sys::UniqueFd dir_;
  std::atomic<bool> stop_{false};
  absl::Mutex mu_;
  bool work_ ABSL_GUARDED_BY(mu_) = true;
  std::thread thread_;
};

}  // namespace berth::image
