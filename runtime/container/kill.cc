#include "runtime/container/kill.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/procfs.h"

namespace berth::container {
namespace {

constexpr int kMaxRounds = 100;

void Pause(long nanoseconds) {
  const timespec t = {0, nanoseconds};
  nanosleep(&t, nullptr);
}

// cgroup.procs, from its start. Opened anew below a v2 directory, or the descriptor that the plan gives.
std::vector<pid_t> Members(const CgroupFds& cgroup) {
  sys::UniqueFd opened;
  int fd = cgroup.v1_procs;
  if (fd < 0 && cgroup.v2_dir >= 0) {
    if (auto procs = sys::OpenBeneath(cgroup.v2_dir, "cgroup.procs", O_RDONLY); procs.ok()) {
      opened = *std::move(procs);
      fd = opened.get();
    }
  }
  if (fd < 0 || lseek(fd, 0, SEEK_SET) != 0) return {};
  auto text = sys::ReadFd(fd, 16 << 20, "cgroup.procs");
  return text.ok() ? ParsePids(*text) : std::vector<pid_t>();
}

// To every member but ourselves: a process is signalled through a descriptor that was opened before the list was
// read a second time and still named it. How many there were that `seen` did not hold; it holds them then.
size_t SignalMembers(const CgroupFds& cgroup, int signal, std::set<pid_t>& seen) {
  std::vector<std::pair<pid_t, sys::UniqueFd>> opened;
  for (pid_t pid : Members(cgroup)) {
    if (pid <= 1 || pid == getpid()) continue;
    if (auto pidfd = sys::OpenPidfd(pid); pidfd.ok()) opened.emplace_back(pid, *std::move(pidfd));
  }
  if (opened.empty()) return 0;
  std::vector<pid_t> still = Members(cgroup);
  std::sort(still.begin(), still.end());
  size_t count = 0;
  for (const auto& [pid, pidfd] : opened) {
    if (!std::binary_search(still.begin(), still.end(), pid)) continue;
    if (sys::SignalPidfd(pidfd.get(), signal).ok() && seen.insert(pid).second) ++count;
  }
  return count;
}

void SetFreezer(int fd, absl::string_view state) {
  if (fd >= 0 && lseek(fd, 0, SEEK_SET) == 0) sys::WriteAll(fd, state, "freezer.state").IgnoreError();
}

// Descendants of `pid`, with a pidfd that is certain to be theirs: opened, then found beneath the parent again.
void Collect(int procfs, pid_t parent, std::set<pid_t>& seen, std::vector<std::pair<pid_t, sys::UniqueFd>>& found) {
  for (pid_t child : sys::ChildrenOf(procfs, parent)) {
    if (seen.count(child)) continue;
    auto pidfd = sys::OpenPidfd(child);
    sys::ProcessStat stat;
    if (!pidfd.ok() || !sys::ReadStat(procfs, child, &stat) || stat.parent != parent) continue;
    seen.insert(child);
    if (stat.state != 'Z') found.emplace_back(child, *std::move(pidfd));
    Collect(procfs, child, seen, found);
  }
}

}  // namespace

std::vector<pid_t> ParsePids(absl::string_view text) {
  std::vector<pid_t> pids;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    int pid = 0;
    if (absl::SimpleAtoi(line, &pid) && pid > 0) pids.push_back(pid);
  }
  return pids;
}

bool CanKillCgroup(const CgroupFds& cgroup) { return cgroup.kill >= 0 || cgroup.v1_procs >= 0 || cgroup.v2_dir >= 0; }

absl::Status KillCgroup(const CgroupFds& cgroup) {
  if (cgroup.kill >= 0) {
    if (sys::WriteAll(cgroup.kill, "1", "cgroup.kill").ok()) return absl::OkStatus();
  } else if (cgroup.v2_dir >= 0 && sys::WriteFileAt(cgroup.v2_dir, "cgroup.kill", "1").ok()) {
    return absl::OkStatus();  // FALLBACK(linux<5.14): there is no cgroup.kill, and the members are signalled
  }
  std::set<pid_t> seen;
  for (int round = 0; round < kMaxRounds; ++round) {
    SetFreezer(cgroup.v1_freezer, "FROZEN");
    const size_t fresh = SignalMembers(cgroup, SIGKILL, seen);
    SetFreezer(cgroup.v1_freezer, "THAWED");
    if (fresh == 0) return absl::OkStatus();
    Pause(100000);
  }
  return absl::DeadlineExceededError("processes of the cgroup keep appearing");
}

absl::Status SignalCgroup(const CgroupFds& cgroup, int signal) {
  if (signal == SIGKILL) return KillCgroup(cgroup);
  std::set<pid_t> seen;
  SignalMembers(cgroup, signal, seen);
  return absl::OkStatus();
}

void SignalTree(int procfs, pid_t leader, int signal) {
  std::set<pid_t> seen = {leader};
  std::vector<std::pair<pid_t, sys::UniqueFd>> found;
  Collect(procfs, leader, seen, found);
  for (const auto& [pid, pidfd] : found) sys::SignalPidfd(pidfd.get(), signal).IgnoreError();
  kill(leader, signal);
}

void KillTree(int procfs, pid_t leader) {
  kill(leader, SIGSTOP);
  for (int round = 0; round < kMaxRounds; ++round) {
    std::set<pid_t> seen = {leader};
    std::vector<std::pair<pid_t, sys::UniqueFd>> found;
    Collect(procfs, leader, seen, found);
    if (found.empty()) break;
    // All are stopped before the first is killed: a parent's death hands its children over, not away.
    for (const auto& [pid, pidfd] : found) sys::SignalPidfd(pidfd.get(), SIGSTOP).IgnoreError();
    for (const auto& [pid, pidfd] : found) sys::SignalPidfd(pidfd.get(), SIGKILL).IgnoreError();
    for (const auto& [pid, pidfd] : found) {
      if (!sys::WaitPidfdExited(pidfd.get(), 20)) break;  // one that waits for a disk keeps nobody else waiting
    }
  }
  kill(-leader, SIGKILL);
  kill(leader, SIGKILL);
}

}  // namespace berth::container
