#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "runtime/rootfs/steps.h"
#include "runtime/rootfs/target.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::rootfs {
namespace {

using shim::v1::MountStep;
using sys::UniqueFd;

// What may be mounted on inside procfs: the files that tools such as lxcfs provide for a container
// (OCI runtime-spec, and what runc permits). Anything else there could stand in for a file that is
// written to.
constexpr absl::string_view kInsideProc[] = {"/proc/cpuinfo",
                                             "/proc/diskstats",
                                             "/proc/meminfo",
                                             "/proc/stat",
                                             "/proc/swaps",
                                             "/proc/uptime",
                                             "/proc/loadavg",
                                             "/proc/slabinfo",
                                             "/proc/net/dev",
                                             "/proc/sys/kernel/ns_last_pid",
                                             "/proc/sys/crypto/fips_enabled"};

bool OnProcfs(int fd) {
  struct statfs fs;
  return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

bool AllowedInsideProc(absl::string_view target) {
  for (absl::string_view path : kInsideProc) {
    if (target == path) return true;
  }
  return false;
}

const char* FsType(MountStep::Kind kind) {
  switch (kind) {
    case MountStep::PROC:
      return "proc";
    case MountStep::SYSFS:
      return "sysfs";
    case MountStep::MQUEUE:
      return "mqueue";
    case MountStep::CGROUP2:
      return "cgroup2";
    case MountStep::TMPFS:
      return "tmpfs";
    case MountStep::DEVPTS:
      return "devpts";
    default:
      return nullptr;
  }
}

// The mount of a step: `owned` holds it when it was made here.
absl::StatusOr<int> MountOf(Build& build, const MountStep& step, UniqueFd& owned) {
  if (step.kind() == MountStep::ATTACH) return PlanFd(build.fds, step.fd(), step.target());
  const char* type = FsType(step.kind());
  if (type == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("mount '", step.target(), "': unknown kind ", step.kind()));
  }
  std::vector<sys::FsOption> options;
  for (absl::string_view option : step.options()) {
    const size_t eq = option.find('=');
    options.push_back(eq == absl::string_view::npos
                          ? sys::FsOption::Flag(option)
                          : sys::FsOption::String(option.substr(0, eq), option.substr(eq + 1)));
  }
  // A tmpfs that is to be read-only holds the targets of later steps, which have yet to be made.
  uint64_t attrs = step.attrs();
  if (step.kind() == MountStep::TMPFS) attrs &= ~uint64_t{MOUNT_ATTR_RDONLY};
  ASSIGN_OR_RETURN(owned, sys::MountDetached(type, options, attrs));
  return owned.get();
}

// procfs and sysfs go onto real directories, so that nothing of the image can send them, and with
// them every later path beneath them, elsewhere (CVE-2019-19921, CVE-2023-27561).
absl::StatusOr<UniqueFd> RealDirectory(int rootfs, const std::string& target) {
  auto dir = sys::OpenInRoot(rootfs, target, O_PATH | O_NOFOLLOW);
  if (!dir.ok() && ErrnoOf(dir.status()) == ENOENT) {
    RETURN_IF_ERROR(MakeTargetDir(rootfs, target));
    dir = sys::OpenInRoot(rootfs, target, O_PATH | O_NOFOLLOW);
  }
  RETURN_IF_ERROR(dir);
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(dir->get(), target));
  if (!S_ISDIR(st.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("'", target, "' of the rootfs is not a directory"));
  }
  return dir;
}

absl::StatusOr<UniqueFd> OpenTarget(Build& build, const MountStep& step) {
  if (step.kind() == MountStep::PROC || step.kind() == MountStep::SYSFS || step.target() == "/proc" ||
      step.target() == "/sys") {
    return RealDirectory(build.rootfs, step.target());
  }
  const auto forbidden = [&] {
    return absl::FailedPreconditionError(absl::StrCat("nothing may be mounted at '", step.target(), "' inside procfs"));
  };
  if (absl::StartsWith(step.target(), "/proc/") && !AllowedInsideProc(step.target())) return forbidden();
  ASSIGN_OR_RETURN(UniqueFd target, MakeTarget(build, step.target(), step.file()));
  // Reached through a symlink.
  if (OnProcfs(target.get()) && !AllowedInsideProc(step.target())) return forbidden();
  return target;
}

absl::Status AttachStep(Build& build, const MountStep& step) {
  UniqueFd owned;
  ASSIGN_OR_RETURN(const int mount, MountOf(build, step, owned));
  ASSIGN_OR_RETURN(UniqueFd target, OpenTarget(build, step));
  RETURN_IF_ERROR(sys::AttachMount(mount, target.get(), step.target()));
  if (step.propagation() != 0) {
    RETURN_IF_ERROR(sys::SetMountAttrs(mount, 0, 0, step.propagation(), step.kind() == MountStep::ATTACH));
  }
  if (step.kind() != MountStep::TMPFS) return absl::OkStatus();
  ASSIGN_OR_RETURN(UniqueFd fresh, sys::OpenAt(owned.get(), ".", O_PATH | O_DIRECTORY));
  build.fresh.push_back({step.target(), std::move(fresh)});
  if (step.target() == "/dev") {
    ASSIGN_OR_RETURN(build.dev, sys::OpenAt(owned.get(), ".", O_PATH | O_DIRECTORY));
  }
  if (step.attrs() & MOUNT_ATTR_RDONLY) build.readonly_later.push_back(std::move(owned));
  return absl::OkStatus();
}

// Whatever is at /proc is what masks, labels and the container itself will take for procfs
// (CVE-2019-16884).
absl::Status VerifyProc(const Build& build) {
  auto proc = sys::OpenInRoot(build.rootfs, "/proc", O_PATH | O_NOFOLLOW | O_DIRECTORY);
  RETURN_IF_ERROR(proc);
  if (!OnProcfs(proc->get())) return absl::FailedPreconditionError("'/proc' of the container is not procfs");
  return absl::OkStatus();
}

// Directly in a fresh tmpfs nothing can stand in the way, so that there is no need to walk from the root, look, make
// and walk again. Invalid when `path` is elsewhere, or is there already.
UniqueFd MakeInFresh(const Build& build, const std::string& path, bool file) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return UniqueFd();
  const std::string name = path.substr(slash + 1);
  for (const FreshDir& fresh : build.fresh) {
    if (fresh.path.size() != slash || !absl::StartsWith(path, fresh.path)) continue;
    if (file) return UniqueFd(openat(fresh.dir.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (mkdirat(fresh.dir.get(), name.c_str(), 0755) != 0) return UniqueFd();
    return UniqueFd(openat(fresh.dir.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  return UniqueFd();
}

}  // namespace

absl::StatusOr<UniqueFd> MakeTarget(Build& build, const std::string& path, bool file) {
  if (UniqueFd made = MakeInFresh(build, path, file); made.valid()) return made;
  return file ? MakeTargetFile(build.rootfs, path) : MakeTargetDir(build.rootfs, path);
}

absl::StatusOr<int> PlanFd(absl::Span<const int> fds, int index, absl::string_view what) {
  if (index < 0 || static_cast<size_t>(index) >= fds.size()) {
    return absl::InvalidArgumentError(absl::StrCat("plan: no descriptor ", index, " for '", what, "'"));
  }
  return fds[static_cast<size_t>(index)];
}

absl::Status AttachMounts(Build& build) {
  bool proc = false;
  for (const MountStep& step : build.plan.mounts()) {
    if (step.target() == "/proc") proc = true;
    absl::Status status = AttachStep(build, step);
    if (!status.ok() && !step.optional()) return Annotate(status, absl::StrCat("mount '", step.target(), "'"));
  }
  return proc ? VerifyProc(build) : absl::OkStatus();
}

}  // namespace berth::rootfs
