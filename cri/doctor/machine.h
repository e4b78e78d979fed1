// What a machine must have for pods to run on it, whatever the daemon has done so far.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cri/daemon/config.h"
#include "cri/doctor/finding.h"
#include "cri/spec/features.h"

namespace berth::doctor {

struct Disk {
  std::string path;   // the directory that is wanted on it
  std::string error;  // why it cannot be asked
  uint64_t bytes_free = 0, bytes = 0;
  uint64_t inodes_free = 0, inodes = 0;  // 0 of 0: the file system has no such limit
};

struct Machine {
  std::string kernel;   // uname's release
  std::string cgroups;  // "v1", "v2"; empty: none
  std::string cgroup_error;
  std::set<std::string> controllers;
  bool overlay = false, erofs = false;
  spec::Features features;
  std::vector<Disk> disks;
  uint64_t files_free = 0;      // of fs.file-max
  uint64_t net_namespaces = 0;  // user.max_net_namespaces
  uint64_t daemon_files = 0;    // RLIMIT_NOFILE of the daemon; 0: none runs
};

// `daemon` is its pid, or 0.
Machine ReadMachine(const daemon::Config& config, pid_t daemon);

// Pure.
std::vector<Finding> JudgeMachine(const Machine& machine, const daemon::Config& config);
// "6.1.0-13-amd64" → {6, 1}; {0, 0} for what is no release.
std::pair<int, int> KernelVersion(const std::string& release);

}  // namespace berth::doctor
