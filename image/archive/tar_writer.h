// Writes a tar archive of regular files, deterministically: ustar headers (POSIX.1-2017 pax, "ustar Interchange
// Format") with mode 0644, owner 0:0 and time 0; a pax header before an entry whose name or size does not fit.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

class TarWriter {
 public:
  using Output = std::function<absl::Status(absl::string_view)>;
  explicit TarWriter(Output output) : output_(std::move(output)) {}

  // A file of exactly `size` bytes begins; they follow with Data. An error of the output is returned as it is.
  absl::Status BeginFile(absl::string_view name, uint64_t size);
  // Internal: more bytes than announced.
  absl::Status Data(absl::string_view bytes);
  // Internal: fewer bytes than announced.
  absl::Status EndFile();
  absl::Status File(absl::string_view name, absl::string_view bytes);
  absl::Status Directory(absl::string_view name);
  // The end of the archive.
  absl::Status Finish();

 private:
  absl::Status Header(absl::string_view name, char type, uint64_t size);

  Output output_;
  uint64_t left_ = 0;
  uint64_t padding_ = 0;
};

}  // namespace berth::image
