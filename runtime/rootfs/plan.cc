#include "runtime/rootfs/plan.h"

#include <linux/mount.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace berth::rootfs {
namespace {

constexpr uint64_t kStrict = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
constexpr absl::string_view kCgroupRoot = "/sys/fs/cgroup";

MountStep Step(MountStep::Kind kind, absl::string_view target, uint64_t attrs, std::vector<const char*> options = {}) {
  MountStep step;
  step.set_kind(kind);
  step.set_target(std::string(target));
  step.set_fd(-1);
  step.set_attrs(attrs);
  for (const char* option : options) step.add_options(option);
  return step;
}

MountStep Attach(const std::string& target, int fd, bool file) {
  MountStep step = Step(MountStep::ATTACH, target, 0);
  step.set_fd(fd);
  step.set_file(file);
  return step;
}

std::vector<MountStep> StandardMounts(const MountPlanInput& in) {
  const uint64_t readonly = in.privileged ? 0 : MOUNT_ATTR_RDONLY;
  std::vector<MountStep> out;
  out.push_back(Step(MountStep::PROC, "/proc", kStrict));
  out.push_back(
      Step(MountStep::TMPFS, "/dev", MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME, {"mode=755", "size=65536k"}));
  out.push_back(Step(MountStep::DEVPTS, "/dev/pts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                     {"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}));
  out.push_back(Step(MountStep::MQUEUE, "/dev/mqueue", kStrict));
  out.push_back(in.shm_fd >= 0 ? Attach("/dev/shm", in.shm_fd, false)
                               : Step(MountStep::TMPFS, "/dev/shm", kStrict, {"mode=1777", "size=65536k"}));
  out.push_back(Step(MountStep::SYSFS, "/sys", kStrict | readonly));
  if (in.cgroup_v2) {
    out.push_back(Step(MountStep::CGROUP2, kCgroupRoot, kStrict | readonly));
    return out;
  }
  out.push_back(Step(MountStep::TMPFS, kCgroupRoot, kStrict | readonly, {"mode=755"}));
  for (const Attachment& tree : in.cgroup_v1) {
    out.push_back(Attach(absl::StrCat(kCgroupRoot, "/", tree.target), tree.fd, false));
  }
  return out;
}

// Whether a volume at `volume` takes the place of the standard mount at `target`.
bool Replaces(absl::string_view volume, bool shared, absl::string_view target) {
  if (volume == target) return true;
  const bool whole = shared || volume == "/dev" || volume == kCgroupRoot;
  return whole && absl::StartsWith(target, absl::StrCat(volume, "/"));
}

ptrdiff_t Depth(const MountStep& step) { return std::count(step.target().begin(), step.target().end(), '/'); }

}  // namespace

absl::StatusOr<std::string> CleanTarget(absl::string_view path) {
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("mount target '", path, "': ", why));
  };
  if (!absl::StartsWith(path, "/")) return bad("not absolute");
  if (path.find('\0') != absl::string_view::npos) return bad("holds a NUL byte");
  std::string out;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == "..") return bad("holds '..'");
    absl::StrAppend(&out, "/", part);
  }
  if (out.empty()) return std::string("/");
  return out;
}

absl::StatusOr<std::vector<MountStep>> PlanMounts(const MountPlanInput& input) {
  std::vector<MountStep> steps = StandardMounts(input);
  std::vector<MountStep> volumes;
  for (const Attachment& volume : input.volumes) {
    ASSIGN_OR_RETURN(std::string target, CleanTarget(volume.target));
    if (target.size() == 1) return absl::InvalidArgumentError("mount target '/': the rootfs cannot be replaced");
    steps.erase(std::remove_if(steps.begin(), steps.end(),
                               [&](const MountStep& step) { return Replaces(target, volume.shared, step.target()); }),
                steps.end());
    volumes.push_back(Attach(target, volume.fd, volume.file));
  }
  steps.insert(steps.end(), std::make_move_iterator(volumes.begin()), std::make_move_iterator(volumes.end()));
  std::stable_sort(steps.begin(), steps.end(),
                   [](const MountStep& a, const MountStep& b) { return Depth(a) < Depth(b); });
  return steps;
}

void AddSelinuxContexts(absl::string_view mount, absl::string_view pod, std::vector<MountStep>& steps) {
  for (MountStep& step : steps) {
    const bool own = step.kind() == MountStep::TMPFS || step.kind() == MountStep::DEVPTS;
    if (own && !mount.empty()) step.add_options(absl::StrCat("context=", mount));
    if (step.kind() == MountStep::MQUEUE && !pod.empty()) step.add_options(absl::StrCat("context=", pod));
  }
}

bool HasOwnDev(const std::vector<MountStep>& mounts) {
  return std::any_of(mounts.begin(), mounts.end(),
                     [](const MountStep& step) { return step.kind() == MountStep::TMPFS && step.target() == "/dev"; });
}

}  // namespace berth::rootfs
