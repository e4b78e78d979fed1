// Reads one log from its rotated files on to where its writer is, again and again.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/logs/log_parts.h"
#include "cli/logs/log_reader.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli {

class LogFollower {
 public:
  // What is read goes to `reader`, which outlives this.
  LogFollower(std::string path, LogReader& reader) : path_(std::move(path)), reader_(reader) {}

  // Reads the log as it is now: its last `tail` lines, or what is no older than `since`; all of it without either, but
  // at least what is in the current file. NotFound when there is no file.
  absl::Status ReadFirst(std::optional<int64_t> tail, absl::Time since);
  // Reads what has come since, over any number of rotations. Nothing when there is still no file.
  absl::Status ReadMore();
  // There was a file.
  bool started() const { return started_; }

 private:
  absl::Status OpenCurrent();
  absl::Status ReadToEnd();
  absl::Status ReadRotated(std::vector<LogPart> parts, int64_t lines);
  // Goes to the file after the one that was read to its end. False when there is none.
  absl::StatusOr<bool> NextPart();

  const std::string path_;
  LogReader& reader_;
  sys::UniqueFd file_;  // invalid: not opened yet, or a compressed part was read
  FileIdentity read_;   // the last file that was opened
  bool started_ = false;
};

}  // namespace berth::cli
