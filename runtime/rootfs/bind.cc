#include "runtime/rootfs/bind.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::rootfs {
namespace {

using sys::UniqueFd;

struct PeerGroups {
  bool shared = false;
  bool slave = false;
};

// The optional fields of the mount that `fd` lies on, from mountinfo: the whole table of the host
// is read, so only volumes that ask for propagation pay for it.
absl::StatusOr<PeerGroups> PeerGroupsOf(int fd, absl::string_view name) {
  struct statx stx;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) != 0)
    return ErrnoError(errno, absl::StrCat("statx '", name, "'"));
  ASSIGN_OR_RETURN(std::string table, sys::ReadFile("/proc/self/mountinfo", 64 << 20));
  const std::string id = absl::StrCat(stx.stx_mnt_id);
  for (absl::string_view line : absl::StrSplit(table, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    if (fields.empty() || fields[0] != id) continue;
    PeerGroups groups;
    for (size_t i = 6; i < fields.size() && fields[i] != "-"; ++i) {
      groups.shared |= absl::StartsWith(fields[i], "shared:");
      groups.slave |= absl::StartsWith(fields[i], "master:");
    }
    return groups;
  }
  return absl::NotFoundError(absl::StrCat("the mount of '", name, "' is not in mountinfo"));
}

absl::Status CheckRequest(const BindRequest& r) {
  if (!absl::StartsWith(r.host_path, "/")) {
    return absl::InvalidArgumentError(absl::StrCat("host path '", r.host_path, "' is not absolute"));
  }
  if (!r.recursive_readonly) return absl::OkStatus();
  if (!r.readonly) {
    return absl::InvalidArgumentError(
        absl::StrCat("RROUnsupported: '", r.host_path, "': recursive read-only needs a read-only mount"));
  }
  if (r.propagation != Propagation::kPrivate) {
    return absl::InvalidArgumentError(
        absl::StrCat("RROUnsupported: '", r.host_path, "': recursive read-only needs private propagation"));
  }
  return absl::OkStatus();
}

uint64_t MountFlag(Propagation propagation) {
  switch (propagation) {
    case Propagation::kHostToContainer:
      return MS_SLAVE;
    case Propagation::kBidirectional:
      return MS_SHARED;
    default:
      return MS_PRIVATE;
  }
}

}  // namespace

absl::Status CheckPropagation(const BindRequest& r) {
  if (r.propagation == Propagation::kPrivate) return absl::OkStatus();
  ASSIGN_OR_RETURN(UniqueFd source, sys::Open(r.host_path, O_PATH));
  ASSIGN_OR_RETURN(const PeerGroups groups, PeerGroupsOf(source.get(), r.host_path));
  if (r.propagation == Propagation::kBidirectional && !groups.shared) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", r.host_path, "' is not on a shared mount, which bidirectional propagation needs"));
  }
  if (!groups.shared && !groups.slave) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", r.host_path, "' is not on a shared or slave mount, which propagation from the host needs"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Bind> OpenBind(const BindRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  ASSIGN_OR_RETURN(UniqueFd source, sys::Open(request.host_path, O_PATH));
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(source.get(), request.host_path));
  Bind bind;
  bind.file = !S_ISDIR(st.st_mode);
  ASSIGN_OR_RETURN(bind.mount, sys::CloneTree(source.get(), "", true), "'", request.host_path, "'");
  RETURN_IF_ERROR(sys::SetMountAttrs(bind.mount.get(), 0, 0, MountFlag(request.propagation), true), "'",
                  request.host_path, "'");
  const uint64_t attrs = request.attrs | (request.readonly ? MOUNT_ATTR_RDONLY : 0);
  if (attrs != 0) {
    RETURN_IF_ERROR(sys::SetMountAttrs(bind.mount.get(), attrs, 0, 0, false), "'", request.host_path, "'");
  }
  if (request.recursive_readonly) {
    RETURN_IF_ERROR(sys::SetMountAttrs(bind.mount.get(), MOUNT_ATTR_RDONLY, 0, 0, true), "'", request.host_path, "'");
  }
  return bind;
}

}  // namespace berth::rootfs
