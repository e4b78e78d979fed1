// What CriClient tells of images that go to a registry, into an archive, or come out of one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cli {

struct PushOptions {
  std::string image;
  std::string destination;  // empty: `image`
  std::string compression;  // "gzip", "zstd", or empty for the daemon's choice
};

struct BlobState {
  std::string digest;
  uint64_t done = 0, total = 0;  // bytes; the total is 0 while it is not known
  bool already_there = false, finished = false;
};
using PushWatcher = std::function<void(const std::vector<BlobState>&)>;

struct PushedImage {
  std::string name, digest;
};

struct LoadedImage {
  std::string id;
  std::vector<std::string> names;
};

// Takes the next bytes of an archive; an error ends the call and is returned.
using ArchiveSink = std::function<absl::Status(absl::string_view)>;
// The next bytes of an archive into the string, none at its end.
using ArchiveSource = std::function<absl::Status(std::string&)>;

}  // namespace berth::cli
