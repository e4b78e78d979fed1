// Compiled seccomp programs: daemon's side. Compiling costs milliseconds and loading a tenth of
// one, so a program is compiled once and kept in a sealed memfd that every shim can load from.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::security {

// What berth's own profile is loaded with: SECCOMP_FILTER_FLAG_SPEC_ALLOW, no slow-down by speculation
// barriers, as the kernel's own default is since 5.16.
extern const uint32_t kSeccompFlags;

struct CompiledProfile {
  sys::UniqueFd fd;    // memfd with an array of struct sock_filter, sealed against every change
  uint32_t flags = 0;  // SECCOMP_FILTER_FLAG_*, for loading
  // Set when the program notifies: see SeccompProfile.
  std::string listener_path, listener_metadata;

  int get() const { return fd.get(); }
};
using SeccompProgram = std::shared_ptr<const CompiledProfile>;

// Whether this kernel can load programs at all.
bool HasSeccomp();

// Thread-safe. Two callers that ask for the same missing program may both compile it; one result is
// kept. A bounded number of programs is.
class SeccompCache {
 public:
  // berth's own profile (profile.h) for a container with the bounding set `caps`, for the native
  // architecture and its 32-bit companion.
  absl::StatusOr<SeccompProgram> RuntimeDefault(uint64_t caps) ABSL_LOCKS_EXCLUDED(mutex_);

  // An administrator's profile, in the JSON format of the OCI runtime specification or of Docker.
  // The file is read on every call and compiled when its content is new. NotFound; InvalidArgument
  // naming the field that is wrong, for what is no regular file too; ResourceExhausted above 4 MiB;
  // `caps` decides Docker's includes and excludes.
  absl::StatusOr<SeccompProgram> Localhost(absl::string_view json_path, uint64_t caps = 0) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  SeccompProgram Keep(const std::string& key, SeccompProgram program) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  std::map<std::string, SeccompProgram> programs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::security
