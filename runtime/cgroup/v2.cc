// cgroup v2: one tree, controllers enabled level by level.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/cgroup/device_program.h"
#include "runtime/cgroup/hierarchies.h"
#include "runtime/cgroup/kill.h"
#include "runtime/cgroup/path.h"
#include "runtime/sys/file.h"

namespace berth::cgroup {
namespace {

using sys::UniqueFd;

constexpr absl::string_view kWanted[] = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"};

bool Lists(absl::string_view text, absl::string_view word) {
  const std::vector<absl::string_view> words = absl::StrSplit(absl::StripAsciiWhitespace(text), ' ');
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The root of the tree may have processes; it is the one without a type.
bool HasProcesses(int dir) {
  return !ReadOrEmpty(dir, "cgroup.type").empty() && !ReadOrEmpty(dir, "cgroup.procs").empty();
}

// Before anything runs beneath: enabling a controller later waits for the whole machine. One by one, so that one that
// is refused (cpu, while realtime processes run) does not keep the others away; the first error is returned.
//
// Never in one that has processes itself: the kernel would refuse the controllers of domains (memory, io), but take
// those of threads (cpu, pids), and by that turn it into a threaded domain, beneath which no process can be born any
// more.
absl::Status EnableIn(int dir) {
  const std::string available = ReadOrEmpty(dir, "cgroup.controllers");
  const std::string enabled = ReadOrEmpty(dir, "cgroup.subtree_control");
  absl::Status first;
  bool looked = false;
  for (absl::string_view controller : kWanted) {
    if (!Lists(available, controller) || Lists(enabled, controller)) continue;
    if (!looked && HasProcesses(dir)) return absl::FailedPreconditionError("processes are in it itself");
    looked = true;
    absl::Status status = sys::WriteFileAt(dir, "cgroup.subtree_control", absl::StrCat("+", controller));
    if (first.ok()) first = status;
  }
  return first;
}

// A cgroup beneath a threaded one may not have processes, and clone(2) into it would say no more than EOPNOTSUPP.
absl::Status CheckType(int dir) {
  const std::string type = ReadOrEmpty(dir, "cgroup.type");
  if (absl::StripAsciiWhitespace(type) != "domain invalid") return absl::OkStatus();
  return absl::FailedPreconditionError("it is beneath a threaded cgroup, which can hold threads only");
}

class V2 final : public Hierarchy {
 public:
  explicit V2(UniqueFd root) : root_(std::move(root)) {}
  Version version() const override { return Version::kV2; }

  absl::StatusOr<Cgroup> Create(absl::string_view path, const Limits& limits) override {
    ASSIGN_OR_RETURN(std::vector<std::string> parts, SplitPath(path));
    ASSIGN_OR_RETURN(std::vector<FileWrite> writes, PlanV2(limits));
    bool made = false;
    auto result = CreateIn(path, parts, writes, limits, made);
    if (!result.ok()) {
      if (made) (void)RemoveTree(root_.get(), path, Deadline::In(absl::ZeroDuration()));
      return Annotate(result.status(), absl::StrCat("create cgroup '", path, "'"));
    }
    return result;
  }

  absl::StatusOr<Cgroup> Open(absl::string_view path) override {
    Cgroup::Descriptors fds;
    ASSIGN_OR_RETURN(fds.v2_dir, OpenDir(root_.get(), path), "cgroup '", path, "'");
    // Both are there unless the kernel (before 5.14) or a missing memory controller says otherwise.
    if (auto kill = sys::OpenAt(fds.v2_dir.get(), "cgroup.kill", O_WRONLY); kill.ok()) fds.kill = *std::move(kill);
    if (auto oom = sys::OpenAt(fds.v2_dir.get(), "memory.events", O_RDONLY); oom.ok()) fds.oom = *std::move(oom);
    return Cgroup(std::string(path), std::move(fds));
  }

  absl::StatusOr<std::vector<FileWrite>> Update(absl::string_view path, const Limits& limits) override {
    ASSIGN_OR_RETURN(std::vector<FileWrite> writes, PlanV2(limits));
    ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(root_.get(), path), "cgroup '", path, "'");
    ASSIGN_OR_RETURN(const Stats stats, ReadStats(path));
    RETURN_IF_ERROR(CheckMemory(limits, stats));
    std::vector<FileWrite> undo = PlanUndo(dir.get(), writes);
    if (absl::Status status = Write(dir.get(), writes, limits); !status.ok()) {
      (void)WriteLimits(dir.get(), undo);
      return Annotate(status, absl::StrCat("update cgroup '", path, "'"));
    }
    return undo;
  }

  absl::Status Restore(absl::string_view path, const std::vector<FileWrite>& former) override {
    ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(root_.get(), path), "cgroup '", path, "'");
    return Annotate(WriteLimits(dir.get(), former), absl::StrCat("restore cgroup '", path, "'"));
  }

  absl::Status EnableControllers(absl::string_view path) override {
    ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(root_.get(), path), "cgroup '", path, "'");
    return Annotate(EnableIn(dir.get()), absl::StrCat("enable controllers in cgroup '", path, "'"));
  }

  absl::StatusOr<std::vector<pid_t>> Pids(absl::string_view path) override {
    ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(root_.get(), path), "cgroup '", path, "'");
    return ReadPids(dir.get());
  }

  bool IsUnused(absl::string_view path) override {
    auto dir = OpenDir(root_.get(), path);
    return dir.ok() && IsUnusedDir(dir->get());
  }

  absl::Status Remove(absl::string_view path, absl::Duration timeout) override {
    return Annotate(RemoveTree(root_.get(), path, Deadline::In(timeout)), absl::StrCat("remove cgroup '", path, "'"));
  }

  absl::Status Kill(absl::string_view path) override {
    auto dir = OpenDir(root_.get(), path);
    if (ErrnoOf(dir.status()) == ENOENT) return absl::OkStatus();
    RETURN_IF_ERROR(dir, "kill cgroup '", path, "'");
    std::set<pid_t> signalled;
    return Annotate(KillAllIn(dir->get(), signalled), absl::StrCat("kill cgroup '", path, "'"));
  }

  void Thaw(absl::string_view path) override {
    if (auto dir = OpenDir(root_.get(), path); dir.ok()) cgroup::Thaw(dir->get());
  }

  absl::StatusOr<Stats> ReadStats(absl::string_view path) override {
    ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(root_.get(), path), "cgroup '", path, "'");
    const int fd = dir.get();
    Stats stats;
    stats.cpu_usage_ns = KeyedValue(ReadOrEmpty(fd, "cpu.stat"), "usage_usec").value_or(0) * 1000;
    stats.memory_usage = SingleValue(ReadOrEmpty(fd, "memory.current")).value_or(0);
    const std::string text = ReadOrEmpty(fd, "memory.stat");
    stats.memory_working_set = WorkingSet(stats.memory_usage, KeyedValue(text, "inactive_file").value_or(0));
    stats.memory_rss = KeyedValue(text, "anon").value_or(0);
    stats.page_faults = KeyedValue(text, "pgfault").value_or(0);
    stats.major_page_faults = KeyedValue(text, "pgmajfault").value_or(0);
    stats.memory_limit = SingleValue(ReadOrEmpty(fd, "memory.max"));
    stats.swap_usage = SingleValue(ReadOrEmpty(fd, "memory.swap.current")).value_or(0);
    stats.pids = SingleValue(ReadOrEmpty(fd, "pids.current")).value_or(0);
    stats.oom_kills = KeyedValue(ReadOrEmpty(fd, "memory.events"), "oom_kill").value_or(0);
    return stats;
  }

  absl::StatusOr<std::vector<HierarchyMount>> Mounts(absl::string_view path, bool) override {
    RETURN_IF_ERROR(SplitPath(path));
    return std::vector<HierarchyMount>();
  }

 private:
  absl::StatusOr<Cgroup> CreateIn(absl::string_view path, const std::vector<std::string>& parts,
                                  const std::vector<FileWrite>& writes, const Limits& limits, bool& made) {
    ASSIGN_OR_RETURN(UniqueFd dir, sys::OpenAt(root_.get(), ".", O_RDONLY | O_DIRECTORY));
    absl::Status enabled;
    for (const std::string& part : parts) {
      absl::Status status = EnableIn(dir.get());
      if (enabled.ok()) enabled = Annotate(status, absl::StrCat("above '", part, "'"));
      ASSIGN_OR_RETURN(made, MakeDir(dir.get(), part));
      ASSIGN_OR_RETURN(dir, sys::OpenBeneath(dir.get(), part, O_RDONLY | O_DIRECTORY));
    }
    RETURN_IF_ERROR(CheckType(dir.get()));
    absl::Status status = Write(dir.get(), writes, limits);
    // A controller that could not be enabled matters only to who needs it, and is then the reason.
    if (!status.ok() && !enabled.ok()) {
      return absl::Status(status.code(), absl::StrCat(status.message(), " (", enabled.message(), ")"));
    }
    RETURN_IF_ERROR(status);
    return Open(path);
  }

  absl::Status Write(int dir, std::vector<FileWrite> writes, const Limits& limits) {
    const std::string available = ReadOrEmpty(dir, "cgroup.controllers");
    const auto missing = [&](const FileWrite& w) { return w.controller_optional && !Lists(available, w.controller); };
    writes.erase(std::remove_if(writes.begin(), writes.end(), missing), writes.end());
    RETURN_IF_ERROR(WriteLimits(dir, writes));
    if (limits.devices) RETURN_IF_ERROR(programs_.Attach(dir, *limits.devices), "devices");
    return absl::OkStatus();
  }

  const UniqueFd root_;
  DevicePrograms programs_;
};

}  // namespace

std::unique_ptr<Hierarchy> MakeV2(UniqueFd root) { return std::make_unique<V2>(std::move(root)); }

}  // namespace berth::cgroup
