// What is on the machine that bears the name of a pod or container: read from the kernel and the disk, with nobody
// asked and nothing changed. A shim is found in /proc, not by its socket, so that it does not notice.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cri/daemon/config.h"
#include "cri/network/survey.h"
#include "runtime/base/status.h"

namespace berth::doctor {

// A process that has the directory of one of our pods open.
struct Shim {
  pid_t pid = 0;
  std::string pod;
  size_t processes = 0;              // that descend from it
  std::vector<std::string> cgroups;  // of all of them, those alone that are a pod's or a container's
};

struct CgroupEntry {
  std::string path;
  std::string id;       // of the pod or container whose it is
  bool of_pod = false;  // by its name
  size_t processes = 0;
  absl::Time made;
};

// An entry of pods/ or netns/.
struct PodEntry {
  std::string path;
  std::string pod;
  bool mounted = false;  // something is mounted there
};

struct MountEntry {
  std::string path;
  std::string id;  // of the pod or container in whose directory it is; empty: in none
};

struct SnapshotEntry {
  std::string container;
  absl::Time made;
};

struct World {
  std::string boot_id;
  std::vector<Shim> shims;
  std::vector<PodEntry> directories, pins;
  std::vector<CgroupEntry> cgroups;
  std::vector<MountEntry> mounts;
  std::vector<network::Trace> network;
  std::vector<SnapshotEntry> snapshots;
  // What could not be looked at, one line each.
  std::vector<std::string> blind;
};

// `parents` are the cgroups in which pods may be, besides the configured one.
World ReadWorld(const daemon::Config& config, const std::set<std::string>& parents);

// 64 hexadecimal digits.
bool IsId(absl::string_view text);
// The id in the last component of a cgroup's path ("/a/ID", "/a/berth-ID.scope"); "" when it is none of ours.
std::string IdOfCgroup(absl::string_view path);
// The mount points of /proc/PID/mountinfo.
std::vector<std::string> MountPoints(absl::string_view mountinfo);
// Which pod or container a path below `root` or `state` belongs to; "" for none.
std::string OwnerOfPath(absl::string_view path, const daemon::Config& config);

// The processes that have a directory of `state`/pods open and are called so.
std::vector<Shim> FindShims(const std::string& state);

}  // namespace berth::doctor
