#include "runtime/cgroup/path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "runtime/cgroup/kill.h"
#include "runtime/sys/file.h"

namespace berth::cgroup {
namespace {

using sys::UniqueFd;

constexpr absl::Duration kRetry = absl::Milliseconds(5);

absl::StatusOr<std::vector<std::string>> Children(int dir) {
  std::vector<std::string> out;
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir));
  for (std::string& name : names) {
    struct stat st;
    if (fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
      out.push_back(std::move(name));
  }
  return out;
}

absl::Status RemoveAt(int parent, const std::string& name, const Deadline& deadline) {
  for (;;) {
    if (unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return absl::OkStatus();
    if (errno != EBUSY) return ErrnoError(errno, absl::StrCat("rmdir cgroup '", name, "'"));
    // EBUSY: processes that are still dying, or cgroups below.
    auto dir = sys::OpenBeneath(parent, name, O_RDONLY | O_DIRECTORY);
    if (!dir.ok()) continue;
    ASSIGN_OR_RETURN(std::vector<std::string> children, Children(dir->get()));
    for (const std::string& child : children) RETURN_IF_ERROR(RemoveAt(dir->get(), child, deadline), name);
    if (!children.empty()) continue;
    if (deadline.Passed()) return ErrnoError(EBUSY, absl::StrCat("rmdir cgroup '", name, "'"));
    absl::SleepFor(kRetry);
  }
}

enum class Outcome { kDone, kRetry };

// The kernel's refusal in the words of CRI: a bad value, or one that cannot be now and here.
absl::Status Refused(const absl::Status& status, const FileWrite& write) {
  const std::string text = absl::StrCat(write.field, " = ", write.value, ": ", status.message());
  const int err = ErrnoOf(status);
  if (err == EINVAL || err == ERANGE || err == E2BIG) return absl::InvalidArgumentError(text);
  if (err == EBUSY || err == EACCES || err == EPERM || err == ENOSPC || err == ENODEV || err == EOPNOTSUPP) {
    return absl::FailedPreconditionError(text);
  }
  return Annotate(status, absl::StrCat(write.field, " = ", write.value));
}

// A file of a cgroup, kept open for as long as the next write is to it too: device rules are many.
class OpenFile {
 public:
  absl::Status Write(int dir, const FileWrite& write) {
    if (!fd_.valid() || name_ != write.file) {
      ASSIGN_OR_RETURN(fd_, sys::OpenAt(dir, write.file, O_WRONLY));
      name_ = write.file;
    }
    return sys::WriteAll(fd_.get(), write.value, write.file);
  }

 private:
  std::string name_;
  UniqueFd fd_;
};

absl::StatusOr<Outcome> WriteOne(int dir, const FileWrite& write, OpenFile& file) {
  absl::Status status = file.Write(dir, write);
  if (status.ok()) return Outcome::kDone;
  const int err = ErrnoOf(status);
  if (err == ENOENT && write.optional) return Outcome::kDone;
  if (err == ENOENT) {
    return absl::FailedPreconditionError(
        absl::StrCat(write.field, ": this machine has no '", write.file, "' (controller ", write.controller, ")"));
  }
  if (err == EINVAL || err == EBUSY) return Outcome::kRetry;
  return Refused(status, write);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SplitPath(absl::string_view path) {
  const auto bad = [&] { return absl::InvalidArgumentError(absl::StrCat("cgroup path '", path, "'")); };
  if (!absl::StartsWith(path, "/") || absl::StrContains(path, absl::string_view("\0", 1))) return bad();
  std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  for (const std::string& part : parts) {
    if (part == "." || part == ".." || part.size() > 255 || absl::StrContains(part, "\n")) return bad();
  }
  if (parts.empty()) return bad();
  return parts;
}

absl::StatusOr<UniqueFd> OpenDir(int root, absl::string_view path) {
  ASSIGN_OR_RETURN(std::vector<std::string> parts, SplitPath(path));
  std::string relative;
  for (const std::string& part : parts) absl::StrAppend(&relative, relative.empty() ? "" : "/", part);
  return sys::OpenBeneath(root, relative, O_RDONLY | O_DIRECTORY);
}

absl::StatusOr<bool> MakeDir(int parent, const std::string& name) {
  if (mkdirat(parent, name.c_str(), 0755) == 0) return true;
  if (errno == EEXIST) return false;
  return ErrnoError(errno, absl::StrCat("mkdir cgroup '", name, "'"));
}

absl::Status RemoveTree(int root, absl::string_view path, const Deadline& deadline) {
  ASSIGN_OR_RETURN(std::vector<std::string> parts, SplitPath(path));
  const std::string name = parts.back();
  parts.pop_back();
  UniqueFd parent;
  if (!parts.empty()) {
    std::string up;
    for (const std::string& part : parts) absl::StrAppend(&up, "/", part);
    auto dir = OpenDir(root, up);
    if (ErrnoOf(dir.status()) == ENOENT) return absl::OkStatus();
    RETURN_IF_ERROR(dir);
    parent = *std::move(dir);
  }
  return RemoveAt(parent.valid() ? parent.get() : root, name, deadline);
}

bool IsUnusedDir(int dir) {
  auto children = Children(dir);
  auto pids = ReadPids(dir);
  return children.ok() && children->empty() && pids.ok() && pids->empty();
}

std::string ReadOrEmpty(int dir, const char* file) {
  auto text = sys::ReadFileAt(dir, file);
  return text.ok() ? *std::move(text) : "";
}

absl::Status WriteLimits(int dir, const std::vector<FileWrite>& writes) {
  std::vector<const FileWrite*> again;
  OpenFile file;
  for (const FileWrite& write : writes) {
    ASSIGN_OR_RETURN(const Outcome outcome, WriteOne(dir, write, file));
    if (outcome == Outcome::kRetry) again.push_back(&write);
  }
  for (const FileWrite* write : again) {
    if (absl::Status status = sys::WriteFileAt(dir, write->file, write->value); !status.ok()) {
      return Refused(status, *write);
    }
  }
  return absl::OkStatus();
}

std::vector<FileWrite> PlanUndo(int dir, const std::vector<FileWrite>& writes) {
  std::vector<FileWrite> undo;
  for (auto write = writes.rbegin(); write != writes.rend(); ++write) {
    auto present = sys::ReadFileAt(dir, write->file);
    if (!present.ok()) continue;  // missing, or a trigger that holds no value
    for (FileWrite& back : PlanRestore(*write, *present)) undo.push_back(std::move(back));
  }
  return undo;
}

}  // namespace berth::cgroup
