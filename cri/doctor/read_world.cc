#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cri/daemon/parts.h"
#include "cri/doctor/world.h"
#include "image/store.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/pod_cgroups.h"
#include "runtime/cgroup/slice.h"
#include "runtime/sys/boot_id.h"
#include "runtime/sys/file.h"

namespace berth::doctor {
namespace {

constexpr char kCgroupRoot[] = "/sys/fs/cgroup";
constexpr size_t kMostOfMountinfo = 64 << 20;
constexpr size_t kIdLength = 64;

absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& path) {
  auto dir = sys::Open(path, O_RDONLY | O_DIRECTORY);
  if (ErrnoOf(dir.status()) == ENOENT) return std::vector<std::string>();
  RETURN_IF_ERROR(dir);
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir->get()));
  std::sort(names.begin(), names.end());
  return names;
}

// When the entry was put where it is; now when it is gone.
absl::Time MadeAt(const std::string& path) {
  struct stat st;
  return lstat(path.c_str(), &st) == 0 ? absl::TimeFromTimespec(st.st_ctim) : absl::Now();
}

void ReadMounts(const daemon::Config& config, World& out, std::set<std::string>& points) {
  auto text = sys::ReadFile("/proc/self/mountinfo", kMostOfMountinfo);
  if (!text.ok()) {
    out.blind.push_back(absl::StrCat("mounts: ", text.status().message()));
    return;
  }
  for (std::string& point : MountPoints(*text)) {
    points.insert(point);
    const bool ours = absl::StartsWith(point, config.root + "/") || absl::StartsWith(point, config.state + "/");
    if (ours) out.mounts.push_back({point, OwnerOfPath(point, config)});
  }
}

std::vector<PodEntry> ReadEntries(const std::string& dir, const std::set<std::string>& points, World& out) {
  std::vector<PodEntry> entries;
  auto names = NamesIn(dir);
  if (!names.ok()) out.blind.push_back(std::string(names.status().message()));
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    const std::string path = absl::StrCat(dir, "/", name);
    if (IsId(name)) entries.push_back({path, name, points.count(path) > 0});
  }
  return entries;
}

// The trees that are mounted: the root itself, or with the old kind each directory beneath it.
std::vector<std::string> CgroupTrees(cgroup::Version version) {
  if (version == cgroup::Version::kV2) return {kCgroupRoot};
  std::vector<std::string> trees;
  auto names = NamesIn(kCgroupRoot);
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    trees.push_back(absl::StrCat(kCgroupRoot, "/", name));
  }
  return trees;
}

absl::Status ReadCgroups(const daemon::Config& config, std::set<std::string> parents, World& out) {
  ASSIGN_OR_RETURN(auto hierarchy, cgroup::Hierarchy::Probe());
  ASSIGN_OR_RETURN(cgroup::Driver driver, cgroup::ChooseDriver(config.cgroup_driver, *hierarchy));
  std::string parent(config.cgroup_parent.empty() ? cgroup::DefaultParent(driver) : config.cgroup_parent);
  if (driver == cgroup::Driver::kSystemd) {
    ASSIGN_OR_RETURN(parent, cgroup::PathOfSlice(parent), "cgroup_parent");
  }
  parents.insert(std::move(parent));
  std::set<std::string> seen;
  for (const std::string& tree : CgroupTrees(hierarchy->version())) {
    std::vector<std::string> open(parents.begin(), parents.end());
    for (size_t i = 0; i < open.size(); ++i) {
      auto names = NamesIn(tree + open[i]);
      for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
        const std::string path = absl::StrCat(open[i], "/", name);
        const std::string id = IdOfCgroup(path);
        if (id.empty() || !seen.insert(path).second) continue;
        const bool scope = absl::EndsWith(name, ".scope");
        if (scope) open.push_back(path);  // its containers are beneath it
        auto pids = hierarchy->Pids(path);
        out.cgroups.push_back({path, id, scope, pids.ok() ? pids->size() : 0, MadeAt(tree + path)});
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReadNetwork(const daemon::Config& config, World& out) {
  ASSIGN_OR_RETURN(out.network, config.network.mode == daemon::NetworkMode::kCni
                                    ? network::SurveyCni(daemon::CniOptionsOf(config))
                                    : network::SurveyEmbedded(daemon::EmbeddedOptionsOf(config)));
  return absl::OkStatus();
}

absl::Status ReadSnapshots(const daemon::Config& config, World& out) {
  const std::string dir = config.root + "/images/snapshots";
  ASSIGN_OR_RETURN(std::vector<std::string> names, NamesIn(dir));
  for (const std::string& name : names) {
    if (IsId(name)) out.snapshots.push_back({name, MadeAt(absl::StrCat(dir, "/", name))});
  }
  return absl::OkStatus();
}

}  // namespace

bool IsId(absl::string_view text) {
  return text.size() == kIdLength && text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

std::string IdOfCgroup(absl::string_view path) {
  absl::string_view name = path.substr(path.rfind('/') + 1);
  if (absl::ConsumeSuffix(&name, ".scope") && !absl::ConsumePrefix(&name, "berth-")) return "";
  return IsId(name) ? std::string(name) : "";
}

std::vector<std::string> MountPoints(absl::string_view mountinfo) {
  std::vector<std::string> points;
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(' ', 5));
    if (fields.size() < 6) continue;
    // Blanks, tabs, line ends and backslashes are written as three octal digits.
    std::string point;
    for (size_t i = 0; i < fields[4].size(); ++i) {
      if (fields[4][i] == '\\' && i + 3 < fields[4].size()) {
        point +=
            static_cast<char>((fields[4][i + 1] - '0') * 64 + (fields[4][i + 2] - '0') * 8 + fields[4][i + 3] - '0');
        i += 3;
      } else {
        point += fields[4][i];
      }
    }
    points.push_back(std::move(point));
  }
  return points;
}

std::string OwnerOfPath(absl::string_view path, const daemon::Config& config) {
  const bool known = absl::ConsumePrefix(&path, config.state + "/pods/") ||
                     absl::ConsumePrefix(&path, config.state + "/netns/") ||
                     absl::ConsumePrefix(&path, config.root + "/images/snapshots/");
  const absl::string_view id = path.substr(0, path.find('/'));
  return known && IsId(id) ? std::string(id) : "";
}

World ReadWorld(const daemon::Config& config, const std::set<std::string>& parents) {
  World out;
  auto see = [&out](absl::string_view what, const absl::Status& status) {
    if (!status.ok()) out.blind.push_back(absl::StrCat(what, ": ", status.message()));
  };
  auto boot_id = sys::BootId();
  see("boot", boot_id.status());
  if (boot_id.ok()) out.boot_id = *std::move(boot_id);
  std::set<std::string> points;
  ReadMounts(config, out, points);
  out.directories = ReadEntries(config.state + "/pods", points, out);
  out.pins = ReadEntries(config.state + "/netns", points, out);
  see("cgroups", ReadCgroups(config, parents, out));
  see("network", ReadNetwork(config, out));
  see("writable layers", ReadSnapshots(config, out));
  out.shims = FindShims(config.state);
  return out;
}

}  // namespace berth::doctor
