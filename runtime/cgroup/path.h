// Directories of one cgroup tree, by descriptor of its root. Internal to runtime/cgroup.
// Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/deadline.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/limits.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cgroup {

// The components of a cgroup path. InvalidArgument as in cgroup.h.
absl::StatusOr<std::vector<std::string>> SplitPath(absl::string_view path);

// The directory beneath `root`. NotFound when it does not exist.
absl::StatusOr<sys::UniqueFd> OpenDir(int root, absl::string_view path);

// Makes one directory; false when it was there.
absl::StatusOr<bool> MakeDir(int parent, const std::string& name);

// rmdir of `path` and what is beneath it, as long as the kernel says EBUSY until `deadline`. OK
// when it is not there.
absl::Status RemoveTree(int root, absl::string_view path, const Deadline& deadline);

// The text of a file in `dir`; "" when it is missing or cannot be read.
std::string ReadOrEmpty(int dir, const char* file);

// Does the writes to the files of `dir`. A write that is refused because of another value not set yet (EINVAL, EBUSY:
// period and quota, memory and swap) is done again after the others. Errors name the field: InvalidArgument for a value
// that the kernel does not take, FailedPrecondition for a missing file that is not optional and for what the present
// state does not allow.
absl::Status WriteLimits(int dir, const std::vector<FileWrite>& writes);

// What undoes the writes, from the files as they are now; in the order of undoing.
std::vector<FileWrite> PlanUndo(int dir, const std::vector<FileWrite>& writes);

// Whether no process lives in `dir` or beneath it and there is no cgroup beneath it.
bool IsUnusedDir(int dir);

}  // namespace berth::cgroup
