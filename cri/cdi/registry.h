// The CDI devices of this machine: the spec files of some directories, and what a container that asks for devices by
// name is to be given.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "cri/cdi/spec.h"
#include "runtime/base/status.h"

namespace berth::cdi {

// What the directories held at one moment. Immutable.
class Snapshot;

// Thread-safe. A directory that is missing is an empty one. Files are looked at anew, by stat, before each use, and
// read again when one has changed: a device plugin writes its file and asks for a container at once, and is not to race
// with a watcher. A file that cannot be read or breaks the specification (above 4 MiB, no regular file, …) is none, and
// is logged once; the other files are of use all the same.
class Registry {
 public:
  // `dirs` by growing priority: a device in a later one hides one of the same name before. Two of one name in one
  // directory contradict each other, and neither is used.
  explicit Registry(std::vector<std::string> dirs) : dirs_(std::move(dirs)) {}

  // The edits for the devices in the order of their names; one that is named twice counts once, and the edits of a spec
  // file come once, before those of its first device. InvalidArgument for a name that is none, NotFound for a device
  // that no file has (with what is wrong with the files, if something is), Unimplemented naming the file for edits that
  // berth does not do.
  absl::StatusOr<Edits> Resolve(absl::Span<const std::string> names) ABSL_LOCKS_EXCLUDED(mutex_);

  // For people, as JSON: directories, devices, and the files that are of no use with the reason.
  std::string Describe() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::shared_ptr<const Snapshot> Refresh() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::vector<std::string> dirs_;
  absl::Mutex mutex_;
  std::shared_ptr<const Snapshot> last_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::cdi
