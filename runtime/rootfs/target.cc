#include "runtime/rootfs/target.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "runtime/sys/file.h"

namespace berth::rootfs {
namespace {

using sys::UniqueFd;

constexpr int kMaxLinks = 16;

// "/a/b/c" -> {"/a/b", "c"}; "/" and "" -> {"/", ""}.
std::pair<std::string, std::string> SplitLast(absl::string_view path) {
  while (absl::EndsWith(path, "/")) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return {"/", std::string(path)};
  return {slash == 0 ? "/" : std::string(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

// What `name` in `dir` points to, as a path from the root; empty when it is no symlink.
absl::StatusOr<std::string> LinkTarget(int dir, const std::string& dir_path, const std::string& name) {
  char buf[PATH_MAX];
  const ssize_t n = readlinkat(dir, name.c_str(), buf, sizeof buf);
  if (n < 0 && errno == EINVAL) return std::string();
  if (n < 0) return ErrnoError(errno, absl::StrCat("readlink '", dir_path, "/", name, "'"));
  absl::string_view target(buf, static_cast<size_t>(n));
  if (absl::StartsWith(target, "/")) return std::string(target);
  return absl::StrCat(dir_path, "/", target);
}

absl::StatusOr<UniqueFd> MakeDir(int root, absl::string_view path, int links) {
  auto found = sys::OpenInRoot(root, path, O_PATH | O_DIRECTORY);
  if (found.ok() || ErrnoOf(found.status()) != ENOENT) return found;
  if (links > kMaxLinks) return ErrnoError(ELOOP, absl::StrCat("make '", path, "'"));
  const auto [parent_path, name] = SplitLast(path);
  if (name.empty()) return found;
  ASSIGN_OR_RETURN(UniqueFd parent, MakeDir(root, parent_path, links));
  if (name != "." && name != "..") {
    if (mkdirat(parent.get(), name.c_str(), 0755) != 0) {
      if (errno != EEXIST) return ErrnoError(errno, absl::StrCat("mkdir '", path, "'"));
      ASSIGN_OR_RETURN(std::string target, LinkTarget(parent.get(), parent_path, name));
      if (!target.empty()) return MakeDir(root, target, links + 1);
    }
  }
  return sys::OpenInRoot(root, path, O_PATH | O_DIRECTORY);
}

absl::StatusOr<UniqueFd> MakeFile(int root, absl::string_view path, int links) {
  auto found = sys::OpenInRoot(root, path, O_PATH);
  if (found.ok()) {
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(found->get(), path));
    if (S_ISDIR(st.st_mode)) return ErrnoError(EISDIR, absl::StrCat("make file '", path, "'"));
    return found;
  }
  if (ErrnoOf(found.status()) != ENOENT) return found;
  if (links > kMaxLinks) return ErrnoError(ELOOP, absl::StrCat("make '", path, "'"));
  const auto [parent_path, name] = SplitLast(path);
  if (name.empty() || name == "." || name == "..") return found;
  ASSIGN_OR_RETURN(UniqueFd parent, MakeDir(root, parent_path, links));
  auto made = sys::OpenAt(parent.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (!made.ok()) {
    if (ErrnoOf(made.status()) != EEXIST) return Annotate(made.status(), absl::StrCat("make file '", path, "'"));
    ASSIGN_OR_RETURN(std::string target, LinkTarget(parent.get(), parent_path, name));
    if (!target.empty()) return MakeFile(root, target, links + 1);
  }
  return sys::OpenInRoot(root, path, O_PATH);
}

}  // namespace

absl::StatusOr<UniqueFd> MakeTargetDir(int root, absl::string_view path) { return MakeDir(root, path, 0); }
absl::StatusOr<UniqueFd> MakeTargetFile(int root, absl::string_view path) { return MakeFile(root, path, 0); }

}  // namespace berth::rootfs
