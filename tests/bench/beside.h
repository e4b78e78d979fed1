// Where the other programs of the measurements are.
#pragma once

#include <unistd.h>

#include <string>

namespace berth::bench {

// The path of the program `name` in the directory that this one is in.
inline std::string Beside(const char* name) {
  char self[4096];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  const std::string path(self, n > 0 ? static_cast<size_t>(n) : 0);
  return path.substr(0, path.rfind('/') + 1) + name;
}

}  // namespace berth::bench
