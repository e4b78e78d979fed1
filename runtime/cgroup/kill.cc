#include "runtime/cgroup/kill.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"

namespace berth::cgroup {
namespace {

constexpr int kRounds = 8;
constexpr int kFreezeLooks = 100;  // a millisecond apart; only one in an uninterruptible sleep needs them all
constexpr size_t kOpenAtOnce = 128;

void Pause(long milliseconds) {
  const timespec t = {0, milliseconds * 1000000};
  nanosleep(&t, nullptr);
}

// Calls `visit` with the directory of each cgroup directly beneath `dir`.
absl::Status ForEachChild(int dir, absl::FunctionRef<absl::Status(int)> visit) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir));
  for (const std::string& name : names) {
    struct stat st;
    if (fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode)) continue;
    auto child = sys::OpenBeneath(dir, name, O_RDONLY | O_DIRECTORY);
    if (child.ok()) RETURN_IF_ERROR(visit(child->get()));
  }
  return absl::OkStatus();
}

std::vector<pid_t> PidsOrNone(int dir) {
  auto pids = ReadPids(dir);
  return pids.ok() ? *std::move(pids) : std::vector<pid_t>();
}

// Children are frozen with it.
bool Freeze(int dir) {
  if (!sys::WriteFileAt(dir, "freezer.state", "FROZEN").ok()) return false;
  for (int look = 0; look < kFreezeLooks; ++look) {
    auto state = sys::ReadFileAt(dir, "freezer.state");
    if (!state.ok() || absl::StartsWith(*state, "FROZEN")) return state.ok();
    Pause(1);
  }
  return false;
}

// One that nobody is frozen in, or that is frozen from above, says so.
bool FrozenFromAbove(int dir) {
  auto above = sys::ReadFileAt(dir, "freezer.parent_freezing");
  return above.ok() && absl::StartsWith(*above, "1");
}

}  // namespace

std::vector<pid_t> ParsePids(absl::string_view procs) {
  std::vector<pid_t> pids;
  for (absl::string_view line : absl::StrSplit(procs, '\n', absl::SkipWhitespace())) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(line, &pid) && pid > 0) pids.push_back(pid);
  }
  return pids;
}

absl::StatusOr<std::vector<pid_t>> ReadPids(int dir) {
  std::vector<pid_t> pids;
  RETURN_IF_ERROR(ForEachChild(dir, [&](int child) -> absl::Status {
    auto below = ReadPids(child);
    if (below.ok()) pids.insert(pids.end(), below->begin(), below->end());
    return absl::OkStatus();  // removed meanwhile
  }));
  auto procs = sys::ReadFileAt(dir, "cgroup.procs", 16 << 20);
  if (ErrnoOf(procs.status()) == EOPNOTSUPP) return pids;  // a threaded cgroup's processes are listed above it
  RETURN_IF_ERROR(procs);
  const std::vector<pid_t> own = ParsePids(*procs);
  pids.insert(pids.end(), own.begin(), own.end());
  return pids;
}

void Thaw(int dir) {
  for (const char* state : {"THAWED", "0"}) {
    const char* file = state[0] == '0' ? "cgroup.freeze" : "freezer.state";
    sys::WriteFileAt(dir, file, state).IgnoreError();
  }
  ForEachChild(dir, [](int child) -> absl::Status {
    Thaw(child);
    return absl::OkStatus();
  }).IgnoreError();
}

size_t SignalMembers(const std::function<std::vector<pid_t>()>& members, int signal, std::set<pid_t>& signalled) {
  std::vector<pid_t> fresh = members();
  fresh.erase(std::remove_if(fresh.begin(), fresh.end(),
                             [&](pid_t pid) { return pid <= 1 || pid == getpid() || signalled.count(pid) > 0; }),
              fresh.end());
  size_t count = 0;
  for (size_t begin = 0; begin < fresh.size(); begin += kOpenAtOnce) {
    std::vector<std::pair<pid_t, sys::UniqueFd>> opened;
    for (size_t i = begin; i < std::min(begin + kOpenAtOnce, fresh.size()); ++i) {
      if (auto pidfd = sys::OpenPidfd(fresh[i]); pidfd.ok()) opened.emplace_back(fresh[i], *std::move(pidfd));
    }
    std::vector<pid_t> still = members();
    std::sort(still.begin(), still.end());
    for (const auto& [pid, pidfd] : opened) {
      if (!std::binary_search(still.begin(), still.end(), pid)) continue;
      if (sys::SignalPidfd(pidfd.get(), signal).ok() && signalled.insert(pid).second) ++count;
    }
  }
  return count;
}

bool KillMembers(const KillTarget& target, std::set<pid_t>& signalled) {
  for (int round = 0; round < kRounds; ++round) {
    if (round > 0) Pause(5);
    const bool frozen = target.freeze();
    const size_t fresh = SignalMembers(target.members, SIGKILL, signalled);
    target.thaw();
    // What is frozen as a whole can have no more children.
    if (frozen || fresh == 0) return true;
  }
  return false;
}

absl::Status KillAllIn(int dir, std::set<pid_t>& signalled) {
  absl::Status killed = sys::WriteFileAt(dir, "cgroup.kill", "1");
  if (killed.ok() || ErrnoOf(killed) == ENODEV) return absl::OkStatus();
  if (ErrnoOf(killed) != ENOENT) return killed;
  // Version 1. FALLBACK(linux<5.14): there is no cgroup.kill, and the members are signalled.
  if (PidsOrNone(dir).empty()) return absl::OkStatus();
  const KillTarget target = {[dir] { return PidsOrNone(dir); }, [dir] { return Freeze(dir); }, [dir] { Thaw(dir); }};
  if (!KillMembers(target, signalled)) return absl::DeadlineExceededError("processes of the cgroup keep appearing");
  if (!FrozenFromAbove(dir)) return absl::OkStatus();
  return absl::FailedPreconditionError("a cgroup above it is frozen (freezer.parent_freezing)");
}

}  // namespace berth::cgroup
