// What a container writes, on its way from a pipe or a terminal to the log.
#pragma once

#include <cstdint>

#include "runtime/container/cri_log.h"
#include "runtime/container/log_file.h"
#include "runtime/sys/unique_fd.h"

namespace berth::shim {

// Shared by all streams of a shim: pages that no container's output has touched cost nothing.
struct LogScratch {
  char input[64 * 1024];
  char lines[container::CriLogEncoder::kMaxLine];
};

class OutputStream {
 public:
  OutputStream() : encoder_("stdout", false) {}
  // `fd` is non-blocking: the read end of a pipe, or the master of a terminal. `max_line`: CriLogEncoder's max_content.
  OutputStream(sys::UniqueFd fd, const char* name, bool terminal, size_t max_line)
      : fd_(std::move(fd)), encoder_(name, terminal, max_line) {}

  int fd() const { return fd_.get(); }
  bool open() const { return fd_.valid(); }

  enum class Result { kMore, kEmpty, kEnded };
  // One read, at most the scratch's size, and its lines to `log`; at the end of the stream what has no end. `read` are
  // the bytes as they came, in the scratch.
  Result Pump(container::LogFile& log, LogScratch& scratch, absl::string_view* read);
  void Close() { fd_.Reset(); }

 private:
  sys::UniqueFd fd_;
  container::CriLogEncoder encoder_;
};

// Nanoseconds since 1970.
int64_t WallClock();

}  // namespace berth::shim
