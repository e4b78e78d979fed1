#include "runtime/container/cri_log.h"

#include <algorithm>
#include <cstring>

namespace berth::container {
namespace {

constexpr size_t kTimeSize = 30;

char* PutDigits(char* out, uint64_t value, int digits) {
  for (int i = digits - 1; i >= 0; --i) {
    out[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
  return out + digits;
}

char* Put(char* out, absl::string_view text) {
  if (!text.empty()) memcpy(out, text.data(), text.size());
  return out + text.size();
}

}  // namespace

// gmtime_r would read the time zone files of whatever root this runs in; the calendar is only arithmetic: years are
// counted from March, so that the leap day is the last of its year, in eras of 400 years.
void FormatLogTime(int64_t unix_ns, char* out) {
  const uint64_t seconds = static_cast<uint64_t>(unix_ns) / 1000000000u;
  const uint64_t days = seconds / 86400 + 719468;  // since 0000-03-01
  const uint64_t era = days / 146097;
  const uint64_t day_of_era = days % 146097;
  const uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const uint64_t month_from_march = (5 * day_of_year + 2) / 153;
  const uint64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  const uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  const uint64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  const uint64_t second = seconds % 86400;
  out = PutDigits(out, year, 4);
  *out++ = '-';
  out = PutDigits(out, month, 2);
  *out++ = '-';
  out = PutDigits(out, day, 2);
  *out++ = 'T';
  out = PutDigits(out, second / 3600, 2);
  *out++ = ':';
  out = PutDigits(out, second / 60 % 60, 2);
  *out++ = ':';
  out = PutDigits(out, second % 60, 2);
  *out++ = '.';
  out = PutDigits(out, static_cast<uint64_t>(unix_ns) % 1000000000u, 9);
  *out = 'Z';
}

CriLogEncoder::Header CriLogEncoder::MakeHeader(int64_t unix_ns) const {
  Header header;
  char* p = header.text;
  FormatLogTime(unix_ns, p);
  p[kTimeSize] = ' ';
  memcpy(p + kTimeSize + 1, stream_.data(), stream_.size());
  memcpy(p + kHeader - 3, " F ", 3);
  return header;
}

size_t CriLogEncoder::WriteLine(const Header& header, absl::string_view head, absl::string_view tail, char tag,
                                char* out) {
  memcpy(out, header.text, kHeader);
  out[kHeader - 2] = tag;
  char* p = Put(Put(out + kHeader, head), tail);
  *p++ = '\n';
  return static_cast<size_t>(p - out);
}

size_t CriLogEncoder::Encode(absl::string_view& input, int64_t unix_ns, char* out, size_t size) {
  size_t used = 0;
  const Header header = MakeHeader(unix_ns);
  while (!input.empty() && size - used >= max_line()) {
    const size_t room = max_content_ - kept_.size();
    // One byte beyond the room is looked at: a line of exactly max_content_ bytes is whole. A terminal's line may
    // have its CR there.
    const absl::string_view window = input.substr(0, room + 1 + (terminal_ ? 1 : 0));
    const void* newline = memchr(window.data(), '\n', window.size());
    if (newline != nullptr) {
      const size_t length = static_cast<size_t>(static_cast<const char*>(newline) - input.data());
      absl::string_view head = kept_, tail = input.substr(0, length);
      if (terminal_) {
        if (!tail.empty() && tail.back() == '\r') {
          tail.remove_suffix(1);
        } else if (tail.empty() && !head.empty() && head.back() == '\r') {
          head.remove_suffix(1);
        }
      }
      if (head.size() + tail.size() <= max_content_) {
        used += WriteLine(header, head, tail, 'F', out + used);
        kept_.clear();
        input.remove_prefix(length + 1);
        continue;
      }
    } else if (input.size() <= room) {
      kept_.append(input.data(), input.size());
      input = absl::string_view();
      break;
    }
    used += WriteLine(header, kept_, input.substr(0, room), 'P', out + used);
    kept_.clear();
    input.remove_prefix(room);
  }
  if (kept_.empty() && kept_.capacity() > 256) kept_.shrink_to_fit();
  return used;
}

size_t CriLogEncoder::Finish(int64_t unix_ns, char* out) {
  if (kept_.empty()) return 0;
  const size_t used = WriteLine(MakeHeader(unix_ns), kept_, {}, 'P', out);
  kept_.clear();
  return used;
}

size_t CriLogEncoder::OwnBytes(absl::string_view lines, size_t from) {
  size_t bytes = 0;
  for (size_t begin = 0; begin < lines.size();) {
    const size_t newline = std::min(lines.find('\n', begin), lines.size() - 1);
    const size_t text = std::max(begin + kHeader, from);
    if (newline > text) bytes += newline - text;
    const bool whole = lines[std::min(begin + kHeader - 2, newline)] == 'F';
    if (whole && newline >= from) ++bytes;
    begin = newline + 1;
  }
  return bytes;
}

}  // namespace berth::container
