#include "cri/doctor/machine.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::doctor {
namespace {

constexpr std::pair<int, int> kOldestKernel = {6, 1};  // docs/kernel.md
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kFewFiles = 4096;

std::string Text(const char* path) {
  auto text = sys::ReadFile(path);
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : "";
}

uint64_t Number(absl::string_view text) {
  uint64_t value = 0;
  return absl::SimpleAtoi(text, &value) ? value : 0;
}

std::set<std::string> Controllers(cgroup::Version version) {
  std::set<std::string> out;
  if (version == cgroup::Version::kV2) {
    const std::string text = Text("/sys/fs/cgroup/cgroup.controllers");
    for (absl::string_view name : absl::StrSplit(text, ' ', absl::SkipEmpty())) out.emplace(name);
    return out;
  }
  // subsys_name, hierarchy, num_cgroups, enabled
  const std::string text = Text("/proc/cgroups");
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
    if (fields.size() == 4 && fields[1] != "0" && fields[3] == "1") out.emplace(fields[0]);
  }
  return out;
}

// By asking for one that is no use, so that a module is loaded as it would be for a container.
bool HasFileSystem(const char* type) { return ErrnoOf(sys::MountDetached(type, {}, 0).status()) != ENODEV; }

// The directory, or the nearest above it that is there: where it would be made.
Disk ReadDisk(std::string path) {
  Disk disk{.path = path};
  struct statvfs fs;
  while (statvfs(path.c_str(), &fs) != 0) {
    if (errno != ENOENT || path.size() < 2) {
      disk.error = std::string(ErrnoError(errno, path).message());
      return disk;
    }
    path.resize(std::max<size_t>(path.rfind('/'), 1));
  }
  disk.bytes_free = fs.f_bavail * fs.f_frsize;
  disk.bytes = fs.f_blocks * fs.f_frsize;
  disk.inodes_free = fs.f_favail;
  disk.inodes = fs.f_files;
  return disk;
}

uint64_t FileLimitOf(pid_t pid) {
  const std::string text = Text(absl::StrCat("/proc/", pid, "/limits").c_str());
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, "Max open files")) continue;
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    return fields.empty() ? 0 : Number(fields[0]);
  }
  return 0;
}

void JudgeKernel(const Machine& m, std::vector<Finding>& out) {
  const char* check = "kernel";
  std::vector<std::string> has;
  if (m.features.recursive_read_only) has.push_back("recursive read-only mounts");
  if (m.features.mount_options) has.push_back("mount options");
  if (m.features.user_namespaces) has.push_back("user namespaces");
  if (KernelVersion(m.kernel) < kOldestKernel) {
    out.push_back({check, Severity::kProblem, m.kernel, absl::StrCat("Linux ", m.kernel, " is older than 6.1"),
                   "use a newer kernel: docs/kernel.md"});
  } else {
    out.push_back({check, Severity::kOk, m.kernel, absl::StrCat("Linux ", m.kernel, ": ", absl::StrJoin(has, ", "))});
  }
  if (!m.features.user_namespaces) {
    out.push_back({check, Severity::kWarning, "user namespaces",
                   absl::StrCat("pods cannot have user namespaces: ", m.features.why_no_user_namespaces), ""});
  }
}

void JudgeCgroups(const Machine& m, std::vector<Finding>& out) {
  if (m.cgroups.empty()) {
    out.push_back({"controllers", Severity::kProblem, "", absl::StrCat("no cgroups: ", m.cgroup_error),
                   "mount them at /sys/fs/cgroup"});
    return;
  }
  std::vector<std::string> missing;
  for (const char* needed : {"cpu", "memory", "pids", "cpuset"}) {
    if (!m.controllers.count(needed)) missing.push_back(needed);
  }
  if (!missing.empty()) {
    out.push_back({"controllers", Severity::kProblem, "",
                   absl::StrCat("cgroups ", m.cgroups, " without ", absl::StrJoin(missing, ", ")),
                   "enable them: a kernel option such as cgroup_enable=memory, or the parent cgroup"});
    return;
  }
  out.push_back(
      {"controllers", Severity::kOk, "", absl::StrCat("cgroups ", m.cgroups, ": ", absl::StrJoin(m.controllers, " "))});
}

void JudgeFileSystems(const Machine& m, const daemon::Config& config, std::vector<Finding>& out) {
  const char* check = "file systems";
  const bool wanted = config.image.layers.format == image::LayerStoreOptions::Format::kErofs;
  if (!m.overlay) {
    out.push_back({check, Severity::kProblem, "overlay", "the kernel has no overlayfs", "load its module, overlay"});
  }
  if (!m.erofs && wanted) {
    out.push_back({check, Severity::kProblem, "erofs", "image.layers is \"erofs\", and the kernel has no EROFS",
                   "load its module, erofs, or set image.layers to \"auto\""});
  }
  if (m.overlay && (m.erofs || !wanted)) {
    out.push_back(
        {check, Severity::kOk, "", m.erofs ? "overlay, erofs" : "overlay; no erofs: layers are kept as directories"});
  }
}

// Of one kind of room on a disk: nothing left, little left, or fine.
Severity Room(uint64_t free, uint64_t all, uint64_t least) {
  if (all == 0) return Severity::kOk;
  if (free < least) return Severity::kProblem;
  return free < all / 20 ? Severity::kWarning : Severity::kOk;
}

void JudgeDisk(const Disk& disk, std::vector<Finding>& out) {
  const char* check = "space";
  if (!disk.error.empty()) {
    out.push_back({check, Severity::kProblem, disk.path, disk.error, ""});
    return;
  }
  char text[128];
  auto percent = [](uint64_t part, uint64_t all) {
    return all == 0 ? 100.0 : 100.0 * static_cast<double>(part) / static_cast<double>(all);
  };
  std::snprintf(text, sizeof text, "%.1f GB free (%.0f %%), %.0f %% of the inodes",
                static_cast<double>(disk.bytes_free) / 1e9, percent(disk.bytes_free, disk.bytes),
                percent(disk.inodes_free, disk.inodes));
  const Severity severity =
      std::max(Room(disk.bytes_free, disk.bytes, 64 * kMiB), Room(disk.inodes_free, disk.inodes, 1000));
  out.push_back({check, severity, disk.path, absl::StrCat(disk.path, ": ", text),
                 severity == Severity::kOk ? "" : "make room: berth df, berth prune"});
}

void JudgeLimits(const Machine& m, std::vector<Finding>& out) {
  const char* check = "limits";
  const size_t before = out.size();
  if (m.files_free < kFewFiles) {
    out.push_back({check, Severity::kProblem, "fs.file-max",
                   absl::StrCat("the machine has ", m.files_free, " open files left"), "raise the sysctl fs.file-max"});
  }
  if (m.net_namespaces < 64) {
    out.push_back({check, Severity::kProblem, "user.max_net_namespaces",
                   absl::StrCat("user.max_net_namespaces is ", m.net_namespaces, ": each pod takes one"), "raise it"});
  }
  if (m.daemon_files != 0 && m.daemon_files < kFewFiles) {
    out.push_back({check, Severity::kWarning, "RLIMIT_NOFILE",
                   absl::StrCat("berthd may open ", m.daemon_files, " files"), "raise LimitNOFILE of its unit"});
  }
  if (out.size() == before) out.push_back({check, Severity::kOk, "", "open files, network namespaces"});
}

}  // namespace

std::pair<int, int> KernelVersion(const std::string& release) {
  int major = 0, minor = 0;
  if (std::sscanf(release.c_str(), "%d.%d", &major, &minor) != 2) return {0, 0};
  return {major, minor};
}

Machine ReadMachine(const daemon::Config& config, pid_t daemon) {
  Machine m;
  struct utsname name;
  if (uname(&name) == 0) m.kernel = name.release;
  auto cgroups = cgroup::Hierarchy::Probe();
  if (cgroups.ok()) {
    m.cgroups = (*cgroups)->version() == cgroup::Version::kV2 ? "v2" : "v1";
    m.controllers = Controllers((*cgroups)->version());
  } else {
    m.cgroup_error = std::string(cgroups.status().message());
  }
  m.overlay = HasFileSystem("overlay");
  m.erofs = HasFileSystem("erofs");
  m.features = spec::ProbeKernelFeatures();
  m.disks = {ReadDisk(config.root), ReadDisk(config.state)};
  // Allocated, unused, most.
  const std::string file_nr = Text("/proc/sys/fs/file-nr");
  const std::vector<absl::string_view> files = absl::StrSplit(file_nr, '\t');
  if (files.size() == 3) m.files_free = Number(files[2]) - std::min(Number(files[0]), Number(files[2]));
  m.net_namespaces = Number(Text("/proc/sys/user/max_net_namespaces"));
  if (daemon > 0) m.daemon_files = FileLimitOf(daemon);
  return m;
}

std::vector<Finding> JudgeMachine(const Machine& machine, const daemon::Config& config) {
  std::vector<Finding> out;
  JudgeKernel(machine, out);
  JudgeCgroups(machine, out);
  JudgeFileSystems(machine, config, out);
  for (const Disk& disk : machine.disks) JudgeDisk(disk, out);
  JudgeLimits(machine, out);
  return out;
}

}  // namespace berth::doctor
