#include "cli/logs/print_log.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ostream>

#include "cli/logs/log_reader.h"
#include "runtime/sys/file.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli {
namespace {

// Wakes up when something in the log's directory changes, or after a second.
class DirectoryWatch {
 public:
  explicit DirectoryWatch(const std::string& file) : fd_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    std::string directory = file.substr(0, file.rfind('/') + 1);
    if (fd_) inotify_add_watch(fd_.get(), directory.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO);
  }
  // False after a quiet second. Without inotify every change is seen a second late.
  bool Wait() {
    pollfd p = {fd_.get(), POLLIN, 0};
    if (poll(&p, 1, 1000) <= 0) return false;
    char events[4096];
    while (read(fd_.get(), events, sizeof events) > 0) {
    }
    return true;
  }

 private:
  sys::UniqueFd fd_;
};

class Printer {
 public:
  Printer(const LogOptions& options, std::ostream& out, std::ostream& err)
      : options_(options), out_(out), err_(err), reader_([this](const LogPiece& piece) { Print(piece); }) {}

  // Everything up to the end of the file.
  absl::Status Drain(int fd) {
    std::string block(64 << 10, '\0');
    for (;;) {
      ssize_t n = read(fd, block.data(), block.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "read log");
      if (n == 0) break;
      reader_.Feed(absl::string_view(block).substr(0, static_cast<size_t>(n)));
    }
    out_.flush();
    err_.flush();
    return absl::OkStatus();
  }
  void Finish() {
    reader_.Finish();
    out_.flush();
  }

 private:
  void Print(const LogPiece& piece) {
    if (piece.time < options_.since) return;
    std::ostream& to = piece.is_stderr ? err_ : out_;
    if (options_.timestamps && piece.begins && !piece.time_text.empty()) to << piece.time_text << " ";
    to << piece.text;
    if (piece.ends) to << "\n";
  }

  const LogOptions& options_;
  std::ostream& out_;
  std::ostream& err_;
  LogReader reader_;
};

bool IsStill(int fd, const std::string& path) {
  struct stat open_file, named_file;
  if (fstat(fd, &open_file) != 0) return false;
  // Renamed and not made anew yet: go on with the old one.
  if (stat(path.c_str(), &named_file) != 0) return true;
  return open_file.st_ino == named_file.st_ino && open_file.st_dev == named_file.st_dev;
}

absl::StatusOr<sys::UniqueFd> OpenLog(const std::string& path, bool wait, DirectoryWatch& watch,
                                      const std::function<bool()>& still_running) {
  for (;;) {
    auto fd = sys::Open(path, O_RDONLY | O_NOCTTY);
    if (fd.ok() || ErrnoOf(fd.status()) != ENOENT || !wait) return fd;
    if (!watch.Wait() && !still_running()) return fd;
  }
}

}  // namespace

absl::Status PrintLog(const std::string& path, const LogOptions& options, std::ostream& out, std::ostream& err,
                      const std::function<bool()>& still_running) {
  DirectoryWatch watch(path);
  ASSIGN_OR_RETURN(sys::UniqueFd fd, OpenLog(path, options.follow, watch, still_running));
  if (options.tail) {
    ASSIGN_OR_RETURN(int64_t offset, TailOffset(fd.get(), *options.tail));
    if (lseek(fd.get(), offset, SEEK_SET) < 0) return ErrnoError(errno, path);
  }
  Printer printer(options, out, err);
  RETURN_IF_ERROR(printer.Drain(fd.get()), path);
  bool last_round = !options.follow;
  while (!last_round) {
    // Asked before the file is read: what was written before the end is then read for sure.
    if (!watch.Wait()) last_round = !still_running();
    bool rotated = !IsStill(fd.get(), path);
    RETURN_IF_ERROR(printer.Drain(fd.get()), path);
    if (!rotated) continue;
    ASSIGN_OR_RETURN(fd, OpenLog(path, true, watch, still_running));
    RETURN_IF_ERROR(printer.Drain(fd.get()), path);
  }
  printer.Finish();
  return absl::OkStatus();
}

}  // namespace berth::cli
