#include "runtime/container/kill.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "runtime/cgroup/kill.h"
#include "runtime/container/step_timer.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/procfs.h"

namespace berth::container {
namespace {

// How long KillTree works at a stretch.
constexpr uint64_t kSlice = 100000000;
constexpr int kFirstLookMs = 20;

// From its start: a file of cgroupfs says how things are now.
absl::StatusOr<std::string> ReadAgain(int fd, absl::string_view name) {
  if (lseek(fd, 0, SEEK_SET) != 0) return ErrnoError(errno, name);
  return sys::ReadFd(fd, 16 << 20, name);
}

std::vector<pid_t> Members(const CgroupFds& cgroup) {
  if (const int dir = cgroup.v2_dir >= 0 ? cgroup.v2_dir : cgroup.v1_dir; dir >= 0) {
    auto pids = cgroup::ReadPids(dir);
    return pids.ok() ? *std::move(pids) : std::vector<pid_t>();
  }
  if (cgroup.v1_procs < 0) return {};
  auto text = ReadAgain(cgroup.v1_procs, "cgroup.procs");
  return text.ok() ? cgroup::ParsePids(*text) : std::vector<pid_t>();
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

bool CanKillCgroup(const CgroupFds& cgroup) { return cgroup.kill >= 0 || cgroup.v1_procs >= 0 || cgroup.v2_dir >= 0; }

absl::Status KillCgroup(const CgroupFds& cgroup) {
  std::set<pid_t> signalled;
  if (cgroup.v2_dir >= 0) return cgroup::KillAllIn(cgroup.v2_dir, signalled);
  if (cgroup.v1_dir >= 0) return cgroup::KillAllIn(cgroup.v1_dir, signalled);
  // From a daemon that gives no directory: what lives in cgroups beneath this one is not found.
  const cgroup::KillTarget target = {[&] { return Members(cgroup); },
                                     [&] {
                                       SetFreezer(cgroup.v1_freezer, "FROZEN");
                                       return false;
                                     },
                                     [&] { SetFreezer(cgroup.v1_freezer, "THAWED"); }};
  if (cgroup::KillMembers(target, signalled)) return absl::OkStatus();
  return absl::DeadlineExceededError("processes of the cgroup keep appearing");
}

absl::Status SignalCgroup(const CgroupFds& cgroup, int signal) {
  if (signal == SIGKILL) return KillCgroup(cgroup);
  std::set<pid_t> signalled;
  cgroup::SignalMembers([&] { return Members(cgroup); }, signal, signalled);
  return absl::OkStatus();
}

void SignalTree(int procfs, pid_t leader, int signal) {
  std::set<pid_t> seen = {leader};
  std::vector<std::pair<pid_t, sys::UniqueFd>> found;
  Collect(procfs, leader, seen, found);
  for (const auto& [pid, pidfd] : found) sys::SignalPidfd(pidfd.get(), signal).IgnoreError();
  kill(leader, signal);
}

bool KillTree(int procfs, pid_t leader) {
  const uint64_t end = StepTimer::Now() + kSlice;
  kill(leader, SIGSTOP);
  std::set<pid_t> killed;
  for (bool fresh = true; fresh;) {
    if (StepTimer::Now() >= end) return false;
    std::set<pid_t> seen = {leader};
    std::vector<std::pair<pid_t, sys::UniqueFd>> found;
    Collect(procfs, leader, seen, found);
    // All are stopped before the first is killed: a parent's death hands its children over, not away.
    for (const auto& [pid, pidfd] : found) sys::SignalPidfd(pidfd.get(), SIGSTOP).IgnoreError();
    fresh = false;
    for (const auto& [pid, pidfd] : found) {
      if (sys::SignalPidfd(pidfd.get(), SIGKILL).ok() && killed.insert(pid).second) fresh = true;
    }
    // Dead ones are not looked through again; one that waits for a disk keeps nobody else waiting.
    for (const auto& [pid, pidfd] : found) {
      if (!sys::WaitPidfdExited(pidfd.get(), kFirstLookMs)) break;
    }
  }
  kill(-leader, SIGKILL);
  kill(leader, SIGKILL);
  return true;
}

}  // namespace berth::container
