#include "runtime/container/oom.h"

#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace berth::container {

uint64_t ParseOomKills(absl::string_view text) {
  uint64_t count = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, "oom_kill ") && absl::SimpleAtoi(line, &count)) return count;
  }
  return 0;
}

uint64_t ReadOomKills(int fd) {
  char text[512];
  const ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text, 0);
  return n <= 0 ? 0 : ParseOomKills(absl::string_view(text, static_cast<size_t>(n)));
}

}  // namespace berth::container
