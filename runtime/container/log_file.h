// A container's log file: appended to, reopened after rotation, and never in the container's way: what cannot be
// written is dropped.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::container {

class LogFile {
 public:
  LogFile() = default;
  // `name` is resolved beneath `dir`, without symlinks; its directories exist. Made with mode 0640 when missing,
  // emptied unless `append`.
  static absl::StatusOr<LogFile> Open(sys::UniqueFd dir, absl::string_view name, bool append);

  // Whole lines. Without a file, or when the write fails (a full disk), they are dropped and counted.
  void Write(absl::string_view lines);
  // Opens the name anew, then lets go of the old file; on an error the old one stays.
  absl::Status Reopen();

  size_t dropped_bytes() const { return dropped_; }

 private:
  sys::UniqueFd dir_;
  std::string name_;
  sys::UniqueFd file_;
  bool torn_ = false;  // the last write ended within a line
  size_t dropped_ = 0;
};

}  // namespace berth::container
