#include "cli/logs/print_log.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/logs/log_follower.h"
#include "cli/logs/log_reader.h"
#include "runtime/base/json.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli {
namespace {

// Wakes up when something in a log's directory changes, or after a second. Without inotify every change is seen a
// second late.
class DirectoryWatch {
 public:
  DirectoryWatch() : fd_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {}
  void Add(const std::string& file) {
    std::string directory = file.substr(0, file.rfind('/') + 1);
    if (fd_) inotify_add_watch(fd_.get(), directory.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO);
  }
  // False when `out_fd` has no reader any more.
  bool Wait(int out_fd) {
    pollfd p[] = {{fd_.get(), POLLIN, 0}, {out_fd, 0, 0}};
    if (poll(p, 2, 1000) <= 0) return true;
    char events[4096];
    while (read(fd_.get(), events, sizeof events) > 0) {
    }
    return p[1].revents == 0;
  }

 private:
  sys::UniqueFd fd_;
};

// How the lines of one source look.
class LinePrinter {
 public:
  LinePrinter(const LogOptions& options, const LogSource& source, std::ostream& out, std::ostream& err)
      : options_(options), source_(source), out_(out), err_(err) {}

  void Print(const LogLine& line) const {
    if (line.time < options_.since) return;
    if (line.time > options_.until && !line.time_text.empty()) return;
    if (options_.json) return PrintJson(line);
    std::ostream& to = line.is_stderr ? err_ : out_;
    if (line.begins && options_.prefix) to << "[" << source_.pod << "/" << source_.container << "] ";
    if (line.begins && options_.timestamps && !line.time_text.empty()) to << line.time_text << " ";
    to << line.text;
    // Where several logs mix, nothing may stand behind what has no end.
    if (line.ends || options_.prefix) to << "\n";
  }

 private:
  void PrintJson(const LogLine& line) const {
    Json json = {{"pod", source_.pod},
                 {"container", source_.container},
                 {"stream", line.is_stderr ? "stderr" : "stdout"},
                 {"log", std::string(line.text)}};
    if (!line.time_text.empty()) json["time"] = std::string(line.time_text);
    if (!line.ends) json["partial"] = true;
    out_ << DumpJson(json) << "\n";
  }

  const LogOptions& options_;
  const LogSource& source_;
  std::ostream& out_;
  std::ostream& err_;
};

struct Log {
  Log(const LogSource& from, const LogOptions& options, std::ostream& out, std::ostream& err)
      : source(from),
        printer(options, from, out, err),
        reader([this](const LogLine& line) { printer.Print(line); }),
        follower(from.path, reader) {}

  const LogSource& source;
  LinePrinter printer;
  LogReader reader;
  LogFollower follower;
  absl::Status status;
};

bool IsMissing(const absl::Status& status) { return ErrnoOf(status) == ENOENT; }

// Until all have ended. A log that fails is not read any further.
void Follow(std::vector<std::unique_ptr<Log>>& logs, DirectoryWatch& watch, int out_fd,
            const std::function<bool()>& flush) {
  absl::Time asked = absl::InfinitePast();
  for (bool last_round = false; !last_round;) {
    if (!watch.Wait(out_fd)) return;
    if (absl::Now() - asked >= absl::Seconds(1)) {
      // Asked before the files are read: what was written before the end is then read for sure.
      last_round = std::none_of(logs.begin(), logs.end(), [](const auto& log) { return log->source.still_running(); });
      asked = absl::Now();
    }
    for (const auto& log : logs) {
      if (log->status.ok() || IsMissing(log->status)) {
        absl::Status more = log->follower.ReadMore();
        if (!more.ok() || log->follower.started()) log->status = more;
      }
    }
    if (!flush()) return;
  }
}

}  // namespace

absl::Status PrintLogs(const std::vector<LogSource>& sources, const LogOptions& options, std::ostream& out,
                       std::ostream& err) {
  const auto flush = [&] {
    err.flush();
    return static_cast<bool>(out.flush());
  };
  DirectoryWatch watch;
  std::vector<std::unique_ptr<Log>> logs;
  for (const LogSource& source : sources) {
    watch.Add(source.path);
    Log& log = *logs.emplace_back(std::make_unique<Log>(source, options, out, err));
    log.status = log.follower.ReadFirst(options.tail, options.since);
    if (!options.follow) log.reader.Finish();
    if (!flush()) return absl::OkStatus();
  }
  if (options.follow) Follow(logs, watch, options.out_fd, flush);
  absl::Status status;
  for (const auto& log : logs) {
    if (options.follow) log->reader.Finish();
    if (status.ok()) status = log->status;
  }
  flush();
  return status;
}

}  // namespace berth::cli
