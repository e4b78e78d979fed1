// A container's log file: appended to, reopened after rotation, and never in the container's way: what cannot be
// written is dropped, counted, and told of as soon as writing works again, by a line of standard error:
//   2026-01-02T03:04:05.678901234Z stderr F berth: 12345 bytes of output were lost: No space left on device
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::container {

class LogFile {
 public:
  LogFile() = default;
  // `name` is resolved beneath `dir`, without symlinks; its directories exist. Made with mode 0640 when missing,
  // emptied unless `append`. InvalidArgument for a symlink and for what is not a regular file; it is left alone.
  static absl::StatusOr<LogFile> Open(sys::UniqueFd dir, absl::string_view name, bool append);

  // Whole lines of a CriLogEncoder, or nothing: then only what was lost is told of. Blocks as long as the file system
  // does. `unix_ns` dates that line.
  void Write(absl::string_view lines, int64_t unix_ns);
  // Opens the name anew, beneath `dir` when that is given, then lets go of the old file. On an error the old one stays
  // in use. Without a log it does nothing.
  absl::Status Reopen(sys::UniqueFd dir, int64_t unix_ns);

  // What was lost and is not in the log yet: the container's own bytes.
  uint64_t lost_bytes() const { return lost_; }

 private:
  static absl::StatusOr<LogFile> OpenNamed(sys::UniqueFd dir, std::string name, int flags);
  size_t FormatPreface(int64_t unix_ns, char* out, size_t size) const;

  sys::UniqueFd dir_;
  std::string name_;
  sys::UniqueFd file_;
  bool torn_ = false;  // the file ends within a line
  uint64_t lost_ = 0;
  int error_ = 0;  // why
};

}  // namespace berth::container
