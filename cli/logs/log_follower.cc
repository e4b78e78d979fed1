#include "cli/logs/log_follower.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "runtime/sys/file.h"

namespace berth::cli {

absl::Status LogFollower::OpenCurrent() {
  auto file = sys::Open(path_, O_RDONLY | O_NOCTTY);
  if (ErrnoOf(file.status()) == ENOENT) {
    // Renamed and not made anew yet?
    const std::vector<LogPart> parts = ListParts(path_);
    if (!parts.empty() && !absl::EndsWith(parts.back().path, ".gz")) {
      file = sys::Open(parts.back().path, O_RDONLY | O_NOCTTY);
    }
  }
  RETURN_IF_ERROR(file.status());
  file_ = *std::move(file);
  ASSIGN_OR_RETURN(read_, IdentityOf(file_.get()));
  started_ = true;
  return absl::OkStatus();
}

absl::Status LogFollower::ReadToEnd() {
  std::string block(64 << 10, '\0');
  for (;;) {
    const ssize_t n = read(file_.get(), block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, path_);
    if (n > 0) {
      reader_.Feed(absl::string_view(block).substr(0, static_cast<size_t>(n)));
      continue;
    }
    // Somebody may have emptied the file: what is in it now is new.
    struct stat st;
    if (fstat(file_.get(), &st) != 0) return ErrnoError(errno, path_);
    if (st.st_size >= lseek(file_.get(), 0, SEEK_CUR)) return absl::OkStatus();
    reader_.EndOfFile();
    if (lseek(file_.get(), 0, SEEK_SET) < 0) return ErrnoError(errno, path_);
  }
}

// Of the rotated `parts` their last `lines` lines.
absl::Status LogFollower::ReadRotated(std::vector<LogPart> parts, int64_t lines) {
  size_t first = parts.size();
  int64_t skip = 0;
  // A part that has as many as are missing is not enough: a line that ends in it may begin in the one before.
  while (first > 0 && lines >= 0) {
    --first;
    ASSIGN_OR_RETURN(int64_t found, CountLines(parts[first]));
    skip = std::max<int64_t>(0, found - lines);
    lines = found > lines ? -1 : lines - found;
  }
  parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(first));
  reader_.Skip(skip);
  for (const LogPart& part : parts) RETURN_IF_ERROR(ReadPart(part, reader_));
  return absl::OkStatus();
}

absl::Status LogFollower::ReadFirst(std::optional<int64_t> tail, absl::Time since) {
  RETURN_IF_ERROR(OpenCurrent());
  std::vector<LogPart> rotated = ListParts(path_);
  const auto current =
      std::find_if(rotated.begin(), rotated.end(), [&](const LogPart& part) { return part.identity == read_; });
  rotated.erase(current, rotated.end());
  rotated.erase(rotated.begin(),
                std::find_if(rotated.begin(), rotated.end(), [&](const LogPart& p) { return p.changed >= since; }));
  if (tail) {
    ASSIGN_OR_RETURN(LogTail found, FindTail(file_.get(), *tail), path_);
    if (found.lines < *tail) {
      RETURN_IF_ERROR(ReadRotated(std::move(rotated), *tail - found.lines));
    } else if (lseek(file_.get(), found.offset, SEEK_SET) < 0) {
      return ErrnoError(errno, path_);
    }
  } else {
    for (const LogPart& part : rotated) RETURN_IF_ERROR(ReadPart(part, reader_));
  }
  return ReadToEnd();
}

absl::StatusOr<bool> LogFollower::NextPart() {
  const std::vector<LogPart> parts = ListParts(path_);
  auto next = std::find_if(parts.begin(), parts.end(), [&](const LogPart& part) { return part.identity == read_; });
  if (next != parts.end()) ++next;
  if (next == parts.end()) {
    // Renamed and not made anew yet, or it is the current one. If nobody knows the file that was read (it was removed,
    // or compressed), the log goes on in the one that has the name.
    const bool known = std::any_of(parts.begin(), parts.end(), [&](const LogPart& p) { return p.identity == read_; });
    if (known || parts.empty() || parts.back().path != path_) return false;
    next = parts.end() - 1;
  }
  // The writer has let go of the file before: what came last is read now.
  if (file_) RETURN_IF_ERROR(ReadToEnd());
  reader_.EndOfFile();
  if (absl::EndsWith(next->path, ".gz")) {
    file_.Reset();
    read_ = next->identity;
    RETURN_IF_ERROR(ReadPart(*next, reader_));
    return true;
  }
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(next->path, O_RDONLY | O_NOCTTY));
  ASSIGN_OR_RETURN(FileIdentity identity, IdentityOf(file.get()));
  if (!(identity == next->identity)) return true;  // rotated once more: look again
  file_ = std::move(file);
  read_ = identity;
  return true;
}

absl::Status LogFollower::ReadMore() {
  if (!started_) {
    absl::Status opened = OpenCurrent();
    if (ErrnoOf(opened) == ENOENT) return absl::OkStatus();
    RETURN_IF_ERROR(opened);
  }
  for (;;) {
    if (file_) RETURN_IF_ERROR(ReadToEnd());
    absl::StatusOr<bool> next = NextPart();
    if (ErrnoOf(next.status()) == ENOENT) continue;  // renamed since it was listed
    RETURN_IF_ERROR(next.status());
    if (!*next) return absl::OkStatus();
  }
}

}  // namespace berth::cli
