// The files of one log. The kubelet rotates by renaming NAME to NAME.YYYYMMDD-HHMMSS and later compresses that to
// NAME.YYYYMMDD-HHMMSS.gz; the name then stands for a new file.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/logs/log_reader.h"
#include "runtime/base/status.h"

namespace berth::cli {

// Which file, whatever it is called.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity& other) const { return device == other.device && inode == other.inode; }
};
absl::StatusOr<FileIdentity> IdentityOf(int fd);

struct LogPart {
  std::string path;
  FileIdentity identity;
  absl::Time changed;  // no line in it is younger
};

// The files of the log at `path`, oldest first, at one moment; the last is `path` itself, if it is there.
std::vector<LogPart> ListParts(const std::string& path);

// Feeds all of a rotated part, compressed or not, to `reader`. One that was compressed since it was listed is found;
// one that was removed is empty.
absl::Status ReadPart(const LogPart& part, LogReader& reader);

// How many lines end in it. As above for what is not there any more.
absl::StatusOr<int64_t> CountLines(const LogPart& part);

}  // namespace berth::cli
