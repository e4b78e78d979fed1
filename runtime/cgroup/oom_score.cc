#include "runtime/cgroup/oom_score.h"

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "runtime/sys/file.h"
#include "runtime/sys/procfs.h"

namespace berth::cgroup {
namespace {

// Children that are forked while others are looked at inherit either value: until nobody new has the old one.
constexpr int kMaxRounds = 20;

// False when it is gone or has another value.
absl::StatusOr<bool> ReplaceIn(int process, const std::string& from, const std::string& to) {
  auto present = sys::ReadFileAt(process, "oom_score_adj");
  if (!present.ok() || absl::StripAsciiWhitespace(*present) != from) return false;
  absl::Status written = sys::WriteFileAt(process, "oom_score_adj", to);
  if (written.ok()) return true;
  if (ErrnoOf(written) == ESRCH || ErrnoOf(written) == ENOENT) return false;
  return absl::FailedPreconditionError(absl::StrCat("oom_score_adj = ", to, ": ", written.message()));
}

}  // namespace

absl::Status ReplaceOomScore(Hierarchy& hierarchy, absl::string_view path, int from, int to) {
  ASSIGN_OR_RETURN(const sys::UniqueFd procfs, sys::OpenDetachedProcfs());
  const std::string old_value = absl::StrCat(from), new_value = absl::StrCat(to);
  for (int round = 0; round < kMaxRounds; ++round) {
    ASSIGN_OR_RETURN(const std::vector<pid_t> pids, hierarchy.Pids(path));
    std::vector<std::pair<pid_t, sys::UniqueFd>> opened;
    for (pid_t pid : pids) {
      auto process = sys::OpenBeneath(procfs.get(), absl::StrCat(pid), O_RDONLY | O_DIRECTORY);
      if (process.ok()) opened.emplace_back(pid, *std::move(process));
    }
    // A number that is still listed was not given to another process before its directory was opened, and the
    // directory stays that process's.
    ASSIGN_OR_RETURN(std::vector<pid_t> still, hierarchy.Pids(path));
    std::sort(still.begin(), still.end());
    bool any = false;
    for (const auto& [pid, process] : opened) {
      if (!std::binary_search(still.begin(), still.end(), pid)) continue;
      ASSIGN_OR_RETURN(const bool changed, ReplaceIn(process.get(), old_value, new_value));
      any = any || changed;
    }
    if (!any) break;
  }
  return absl::OkStatus();
}

}  // namespace berth::cgroup
