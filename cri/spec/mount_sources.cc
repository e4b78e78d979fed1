#include "cri/spec/mount_sources.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_split.h"

namespace berth::spec {
namespace {

// 0, or why the path cannot be reached.
int Probe(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 ? 0 : errno;
}

absl::Status Unusable(const std::string& path, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat("mounts.host_path: '", path, "' ", why));
}

}  // namespace

MountSources::~MountSources() {
  for (auto path = made_.rbegin(); path != made_.rend(); ++path) rmdir(path->c_str());
}

absl::Status MountSources::Make(const state::v1::ContainerSpec& spec) {
  for (const auto& m : spec.mounts()) {
    if (m.image().empty()) RETURN_IF_ERROR(MakeOne(m.host_path()));
  }
  return absl::OkStatus();
}

absl::Status MountSources::MakeOne(const std::string& path) {
  if (Probe(path) == ENOENT) {
    std::string prefix;
    for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
      absl::StrAppend(&prefix, "/", part);
      if (mkdir(prefix.c_str(), 0755) == 0) {
        made_.push_back(prefix);
      } else if (errno == ENOENT) {
        break;  // beneath a symlink to nothing
      } else if (errno != EEXIST) {
        return ErrnoError(errno, absl::StrCat("mounts.host_path: mkdir '", prefix, "'"));
      }
    }
  }
  switch (int err = Probe(path)) {
    case 0:
      return absl::OkStatus();
    case ENOENT:
      return Unusable(path, "is or passes through a symlink to nothing");
    case ENOTDIR:
      return Unusable(path, "passes through what is no directory");
    case ELOOP:
      return Unusable(path, "passes through symlinks without end");
    default:
      return ErrnoError(err, absl::StrCat("mounts.host_path: '", path, "'"));
  }
}

}  // namespace berth::spec
