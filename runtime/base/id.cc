#include "runtime/base/id.h"

#include <sys/random.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"

namespace berth {

std::string RandomHexId() {
  char raw[32];
  // Up to 256 bytes are never cut short once the pool is seeded (getrandom(2)); anything else is a broken kernel.
  if (getrandom(raw, sizeof raw, 0) != static_cast<ssize_t>(sizeof raw)) std::abort();
  return absl::BytesToHexString(absl::string_view(raw, sizeof raw));
}

bool IsSafeName(absl::string_view id) {
  if (id.empty() || id.size() > 128 || id[0] == '.') return false;
  for (char c : id) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.' && c != '-') return false;
  }
  return true;
}

}  // namespace berth
