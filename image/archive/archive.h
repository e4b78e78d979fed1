// A tar archive as it came, kept aside until it is understood: which members it has, and their bytes.
// Thread-safe once made.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "image/unpack/unpack_limits.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

struct ArchiveMember {
  std::string name;  // cleaned
  uint64_t at = 0;   // in the spool file
  uint64_t size = 0;
};

class Archive {
 public:
  static constexpr uint64_t kMaxMembers = 100'000;
  static constexpr size_t kMaxNames = 16 << 20;  // bytes of all names and link targets

  // Reads an archive, plain or as gzip or zstd, from `input` (the next bytes, empty at the end) to its end. The
  // contents of regular files go into a file in the directory `dir` that never has a name. InvalidArgument: not a tar
  // archive, a name with "..", one name twice, a sparse member. DataLoss: truncated or damaged. ResourceExhausted: too
  // many members or bytes, or too little space left. Unimplemented: bzip2, xz. An error of `input` is returned as it
  // is.
  static absl::StatusOr<std::unique_ptr<Archive>> Receive(
      const std::string& dir, const std::function<absl::StatusOr<absl::string_view>()>& input,
      const UnpackLimits& limits = {});

  // Through symbolic and hard links. NotFound names it; InvalidArgument for links in a circle.
  absl::StatusOr<ArchiveMember> Find(absl::string_view name) const;
  bool Has(absl::string_view name) const { return Find(name).ok(); }
  // ResourceExhausted when it has more than `limit` bytes.
  absl::StatusOr<std::string> Read(const ArchiveMember& member, size_t limit) const;
  // Its first bytes, up to `count`.
  absl::StatusOr<std::string> Head(const ArchiveMember& member, size_t count) const;
  // All of it in pieces. An error of `output` ends it and is returned as it is.
  absl::Status Copy(const ArchiveMember& member, absl::FunctionRef<absl::Status(absl::string_view)> output) const;

 private:
  friend class ArchiveSpool;
  Archive() = default;

  sys::UniqueFd file_;
  std::map<std::string, ArchiveMember, std::less<>> members_;
  std::map<std::string, std::string, std::less<>> links_;  // to names that may not be there
};

}  // namespace berth::image
