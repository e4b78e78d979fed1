#include "runtime/sys/family.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {
namespace {

constexpr int kMostRounds = 20;
constexpr size_t kEnvironmentLimit = 4 << 20;

struct Process {
  pid_t parent = 0, group = 0;
  bool marked = false;
};

std::vector<pid_t> AllPids() {
  std::vector<pid_t> pids;
  std::unique_ptr<DIR, int (*)(DIR*)> proc(opendir("/proc"), closedir);
  while (dirent* entry = proc ? readdir(proc.get()) : nullptr) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(entry->d_name, &pid)) pids.push_back(pid);
  }
  return pids;
}

// False for what is gone, or dead and not reaped yet.
bool Look(pid_t pid, absl::string_view mark, Process* out) {
  const std::string dir = absl::StrCat("/proc/", pid);
  auto stat = ReadFile(absl::StrCat(dir, "/stat"));
  if (!stat.ok()) return false;
  const size_t name_end = stat->rfind(')');  // the name may hold anything
  char state = 0;
  if (name_end == std::string::npos ||
      sscanf(stat->c_str() + name_end + 1, " %c %d %d", &state, &out->parent, &out->group) != 3) {
    return false;
  }
  if (state == 'Z' || state == 'X') return false;
  auto environment = ReadFile(absl::StrCat(dir, "/environ"), kEnvironmentLimit);
  if (!environment.ok()) return true;
  for (absl::string_view entry : absl::StrSplit(*environment, '\0')) out->marked |= entry == mark;
  return true;
}

std::map<pid_t, Process> Snapshot(absl::string_view mark) {
  std::map<pid_t, Process> found;
  for (pid_t pid : AllPids()) {
    Process process;
    if (Look(pid, mark, &process)) found.emplace(pid, process);
  }
  return found;
}

bool IsMember(pid_t leader, pid_t pid, const Process& process, const std::set<pid_t>& members) {
  const bool led = leader > 0 && (pid == leader || process.group == leader);
  return led || process.marked || members.count(process.parent) != 0;
}

// Stops the process, if the number still means the one that was looked at.
UniqueFd Stop(pid_t pid, const Process& seen, absl::string_view mark) {
  auto pidfd = OpenPidfd(pid);
  Process now;
  if (!pidfd.ok() || !Look(pid, mark, &now) || now.group != seen.group || now.marked != seen.marked) return UniqueFd();
  (void)SignalPidfd(pidfd->get(), SIGSTOP);
  return *std::move(pidfd);
}

}  // namespace

void KillFamily(pid_t leader, absl::string_view mark) {
  std::set<pid_t> members;
  std::vector<UniqueFd> stopped;
  for (int round = 0; round < kMostRounds; ++round) {
    const std::map<pid_t, Process> all = Snapshot(mark);
    const size_t before = members.size();
    for (bool grew = true; grew;) {  // a child may have a lower number than its parent
      grew = false;
      for (const auto& [pid, process] : all) {
        if (members.count(pid) != 0 || !IsMember(leader, pid, process, members)) continue;
        members.insert(pid);
        if (UniqueFd pidfd = Stop(pid, process, mark)) stopped.push_back(std::move(pidfd));
        grew = true;
      }
    }
    if (members.size() == before) break;
  }
  for (const UniqueFd& pidfd : stopped) (void)SignalPidfd(pidfd.get(), SIGKILL);
}

}  // namespace berth::sys
