#include "runtime/sys/family.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/procfs.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {
namespace {

constexpr int kMostRounds = 20;
constexpr size_t kEnvironmentLimit = 4 << 20;

struct Process {
  pid_t parent = 0, group = 0;
  bool marked = false;
};

// False for what is gone, or dead and not reaped yet.
bool Look(int procfs, pid_t pid, absl::string_view mark, Process* out) {
  ProcessStat stat;
  if (!ReadStat(procfs, pid, &stat) || stat.state == 'Z' || stat.state == 'X') return false;
  *out = {stat.parent, stat.group};
  auto environment = ReadFileAt(procfs, absl::StrCat(pid, "/environ"), kEnvironmentLimit);
  if (!environment.ok()) return true;
  for (absl::string_view entry : absl::StrSplit(*environment, '\0')) out->marked |= entry == mark;
  return true;
}

std::map<pid_t, Process> Snapshot(int procfs, absl::string_view mark) {
  std::map<pid_t, Process> found;
  auto names = ListDir(procfs);
  if (!names.ok()) return found;
  for (const std::string& name : *names) {
    Process process;
    if (pid_t pid = 0; absl::SimpleAtoi(name, &pid) && Look(procfs, pid, mark, &process)) found.emplace(pid, process);
  }
  return found;
}

bool IsMember(pid_t leader, pid_t pid, const Process& process, const std::set<pid_t>& members) {
  const bool led = leader > 0 && (pid == leader || process.group == leader);
  return led || process.marked || members.count(process.parent) != 0;
}

// Stops the process, if the number still means the one that was looked at.
UniqueFd Stop(int procfs, pid_t pid, const Process& seen, absl::string_view mark) {
  auto pidfd = OpenPidfd(pid);
  Process now;
  if (!pidfd.ok() || !Look(procfs, pid, mark, &now) || now.group != seen.group || now.marked != seen.marked)
    return UniqueFd();
  (void)SignalPidfd(pidfd->get(), SIGSTOP);
  return *std::move(pidfd);
}

}  // namespace

void KillFamily(pid_t leader, absl::string_view mark) {
  auto procfs = Open("/proc", O_RDONLY | O_DIRECTORY);
  if (!procfs.ok()) return;
  std::set<pid_t> members;
  std::vector<UniqueFd> stopped;
  for (int round = 0; round < kMostRounds; ++round) {
    const std::map<pid_t, Process> all = Snapshot(procfs->get(), mark);
    const size_t before = members.size();
    for (bool grew = true; grew;) {  // a child may have a lower number than its parent
      grew = false;
      for (const auto& [pid, process] : all) {
        if (members.count(pid) != 0 || !IsMember(leader, pid, process, members)) continue;
        members.insert(pid);
        if (UniqueFd pidfd = Stop(procfs->get(), pid, process, mark)) stopped.push_back(std::move(pidfd));
        grew = true;
      }
    }
    if (members.size() == before) break;
  }
  for (const UniqueFd& pidfd : stopped) (void)SignalPidfd(pidfd.get(), SIGKILL);
}

}  // namespace berth::sys
