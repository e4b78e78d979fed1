// cgroup v1: one tree for each controller, or for a few mounted together.
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "runtime/cgroup/hierarchies.h"
#include "runtime/cgroup/kill.h"
#include "runtime/cgroup/path.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::cgroup {
namespace {

using sys::UniqueFd;

// A new cpuset allows nothing, and no process may join it: it starts as its parent is. False: that allows nothing, too.
absl::StatusOr<bool> InheritCpuset(int parent, int dir) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    ASSIGN_OR_RETURN(std::string own, sys::ReadFileAt(dir, file));
    if (!absl::StripAsciiWhitespace(own).empty()) continue;
    ASSIGN_OR_RETURN(std::string inherited, sys::ReadFileAt(parent, file));
    if (absl::StripAsciiWhitespace(inherited).empty()) return false;
    RETURN_IF_ERROR(sys::WriteFileAt(dir, file, absl::StripAsciiWhitespace(inherited)));
  }
  return true;
}

class V1 final : public Hierarchy {
 public:
  explicit V1(std::vector<V1Tree> trees) : trees_(std::move(trees)) {}
  Version version() const override { return Version::kV1; }

  absl::StatusOr<Cgroup> Create(absl::string_view path, const Limits& limits) override {
    ASSIGN_OR_RETURN(std::vector<std::string> parts, SplitPath(path));
    ASSIGN_OR_RETURN(std::vector<FileWrite> writes, PlanV1(limits));
    std::vector<const V1Tree*> made;
    auto result = CreateIn(path, parts, std::move(writes), made);
    if (!result.ok()) {
      for (const V1Tree* tree : made) (void)RemoveTree(tree->root.get(), path, Deadline::In(absl::ZeroDuration()));
      return Annotate(result.status(), absl::StrCat("create cgroup '", path, "'"));
    }
    return result;
  }

  absl::StatusOr<Cgroup> Open(absl::string_view path) override {
    std::vector<UniqueFd> dirs;
    for (const V1Tree& tree : trees_) {
      ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(tree.root.get(), path), "cgroup '", path, "' (", tree.name, ")");
      dirs.push_back(std::move(dir));
    }
    return OpenFiles(path, dirs);
  }

  absl::StatusOr<std::vector<FileWrite>> Update(absl::string_view path, const Limits& limits) override {
    ASSIGN_OR_RETURN(std::vector<FileWrite> writes, PlanV1(limits));
    ASSIGN_OR_RETURN(const Stats stats, ReadStats(path));
    RETURN_IF_ERROR(CheckMemory(limits, stats));
    std::vector<FileWrite> undo;
    for (const V1Tree& tree : trees_) {
      ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(tree.root.get(), path), "cgroup '", path, "' (", tree.name, ")");
      for (FileWrite& back : PlanUndo(dir.get(), TakeOwn(tree, writes).first)) undo.push_back(std::move(back));
    }
    if (absl::Status status = WriteTo(path, writes); !status.ok()) {
      WriteTo(path, undo).IgnoreError();
      return Annotate(status, absl::StrCat("update cgroup '", path, "'"));
    }
    return undo;
  }

  absl::Status Restore(absl::string_view path, const std::vector<FileWrite>& former) override {
    return Annotate(WriteTo(path, former), absl::StrCat("restore cgroup '", path, "'"));
  }

  absl::Status EnableControllers(absl::string_view) override { return absl::OkStatus(); }

  absl::StatusOr<std::vector<pid_t>> Pids(absl::string_view path) override {
    ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(TreeOfProcesses().root.get(), path), "cgroup '", path, "'");
    return ReadPids(dir.get());
  }

  bool IsUnused(absl::string_view path) override {
    auto dir = OpenDir(TreeOfProcesses().root.get(), path);
    return dir.ok() && IsUnusedDir(dir->get());
  }

  absl::Status Remove(absl::string_view path, absl::Duration timeout) override {
    const Deadline deadline = Deadline::In(timeout);
    absl::Status first;
    for (const V1Tree& tree : trees_) {
      absl::Status status = RemoveTree(tree.root.get(), path, deadline);
      if (first.ok()) first = Annotate(status, absl::StrCat("remove cgroup '", path, "' (", tree.name, ")"));
    }
    return first;
  }

  // The freezer first. What a container with rights over the trees moved out of that one is still in others.
  absl::Status Kill(absl::string_view path) override {
    std::set<pid_t> signalled;
    RETURN_IF_ERROR(KillIn(TreeOfProcesses(), path, signalled));
    for (const V1Tree& tree : trees_) {
      if (&tree != &TreeOfProcesses()) RETURN_IF_ERROR(KillIn(tree, path, signalled));
    }
    return absl::OkStatus();
  }

  void Thaw(absl::string_view path) override {
    if (auto dir = OpenDir(TreeOfProcesses().root.get(), path); dir.ok()) cgroup::Thaw(dir->get());
  }

  absl::StatusOr<Stats> ReadStats(absl::string_view path) override {
    Stats stats;
    for (const V1Tree& tree : trees_) {
      ASSIGN_OR_RETURN(UniqueFd dir, OpenDir(tree.root.get(), path), "cgroup '", path, "' (", tree.name, ")");
      if (tree.controllers.contains("cpuacct")) {
        stats.cpu_usage_ns = SingleValue(ReadOrEmpty(dir.get(), "cpuacct.usage")).value_or(0);
      }
      if (tree.controllers.contains("pids")) {
        stats.pids = SingleValue(ReadOrEmpty(dir.get(), "pids.current")).value_or(0);
      }
      if (tree.controllers.contains("memory")) ReadMemory(dir.get(), stats);
    }
    return stats;
  }

  absl::StatusOr<std::vector<HierarchyMount>> Mounts(absl::string_view path, bool writable) override {
    std::vector<HierarchyMount> out;
    ASSIGN_OR_RETURN(const std::vector<std::string> parts, SplitPath(path));
    const std::string relative = absl::StrJoin(parts, "/");
    for (const V1Tree& tree : trees_) {
      // Programs look for a controller by its own name too when several share a directory.
      std::vector<std::string> names = {tree.name};
      if (tree.controllers.size() > 1) names.insert(names.end(), tree.controllers.begin(), tree.controllers.end());
      for (std::string& name : names) {
        // There are no symbolic links on the way: cgroupfs has none.
        ASSIGN_OR_RETURN(UniqueFd mount, sys::CloneTree(tree.root.get(), relative, false), "cgroup (", tree.name, ")");
        const uint64_t attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        RETURN_IF_ERROR(sys::SetMountAttrs(mount.get(), attrs | (writable ? 0 : MOUNT_ATTR_RDONLY), 0, 0, false));
        out.push_back({std::move(name), std::move(mount)});
      }
    }
    return out;
  }

 private:
  const V1Tree* TreeOf(absl::string_view controller) const {
    for (const V1Tree& tree : trees_) {
      if (tree.controllers.contains(std::string(controller))) return &tree;
    }
    return nullptr;
  }

  // Every tree has every process; the freezer's is the one that nobody else divides further.
  const V1Tree& TreeOfProcesses() const {
    const V1Tree* freezer = TreeOf("freezer");
    return freezer ? *freezer : trees_.front();
  }

  // The writes that belong to a tree, and the others.
  static std::pair<std::vector<FileWrite>, std::vector<FileWrite>> TakeOwn(const V1Tree& tree,
                                                                           const std::vector<FileWrite>& writes) {
    std::pair<std::vector<FileWrite>, std::vector<FileWrite>> out;
    for (const FileWrite& write : writes) {
      (tree.controllers.contains(write.controller) ? out.first : out.second).push_back(write);
    }
    return out;
  }

  absl::Status WriteTo(absl::string_view path, std::vector<FileWrite> writes) {
    return Write(std::move(writes), [&](const V1Tree& tree) { return OpenDir(tree.root.get(), path); });
  }

  // What is opened of the cgroup whose directories are `dirs`, one for each tree.
  absl::StatusOr<Cgroup> OpenFiles(absl::string_view path, const std::vector<UniqueFd>& dirs) {
    Cgroup::Descriptors fds;
    for (size_t i = 0; i < trees_.size(); ++i) {
      const V1Tree& tree = trees_[i];
      const int dir = dirs[i].get();
      ASSIGN_OR_RETURN(UniqueFd tasks, sys::OpenAt(dir, "tasks", O_WRONLY));
      fds.v1_tasks.push_back(std::move(tasks));
      if (tree.controllers.contains("memory")) {
        ASSIGN_OR_RETURN(fds.oom, sys::OpenAt(dir, "memory.oom_control", O_RDONLY));
      }
      if (tree.controllers.contains("freezer")) {
        ASSIGN_OR_RETURN(fds.v1_freezer, sys::OpenAt(dir, "freezer.state", O_RDWR));
      }
      if (!fds.v1_procs.valid() || tree.controllers.contains("freezer")) {
        ASSIGN_OR_RETURN(fds.v1_procs, sys::OpenAt(dir, "cgroup.procs", O_RDONLY));
        ASSIGN_OR_RETURN(fds.v1_dir, sys::OpenAt(dir, ".", O_RDONLY | O_DIRECTORY));
      }
    }
    return Cgroup(std::string(path), std::move(fds));
  }

  // Makes the directory `parts` in one tree, and those above it that are missing; `made` tells whether it is new.
  static absl::StatusOr<UniqueFd> MakeIn(const V1Tree& tree, absl::Span<const std::string> parts, bool& made) {
    const absl::Span<const std::string> above = parts.subspan(0, parts.size() - 1);
    // Nearly always the parent is there.
    auto parent = sys::OpenBeneath(tree.root.get(), absl::StrJoin(above, "/"), O_RDONLY | O_DIRECTORY);
    if (ErrnoOf(parent.status()) == ENOENT) {
      bool unused = false;
      parent = MakeIn(tree, above, unused);
    }
    RETURN_IF_ERROR(parent);
    ASSIGN_OR_RETURN(made, MakeDir(parent->get(), parts.back()), tree.name);
    ASSIGN_OR_RETURN(UniqueFd dir, sys::OpenBeneath(parent->get(), parts.back(), O_RDONLY | O_DIRECTORY));
    if (!tree.controllers.contains("cpuset")) return dir;
    ASSIGN_OR_RETURN(bool inherited, InheritCpuset(parent->get(), dir.get()));
    if (!inherited && !above.empty()) {
      bool unused = false;
      RETURN_IF_ERROR(MakeIn(tree, above, unused));
      ASSIGN_OR_RETURN(inherited, InheritCpuset(parent->get(), dir.get()));
    }
    return dir;
  }

  absl::StatusOr<Cgroup> CreateIn(absl::string_view path, const std::vector<std::string>& parts,
                                  std::vector<FileWrite> writes, std::vector<const V1Tree*>& made) {
    std::vector<UniqueFd> dirs;
    for (const V1Tree& tree : trees_) {
      bool created = false;
      auto dir = MakeIn(tree, parts, created);
      if (created) made.push_back(&tree);
      RETURN_IF_ERROR(dir);
      dirs.push_back(*std::move(dir));
    }
    auto open = [&](const V1Tree& tree) {
      return sys::OpenAt(dirs[static_cast<size_t>(&tree - trees_.data())].get(), ".", O_PATH | O_DIRECTORY);
    };
    RETURN_IF_ERROR(Write(std::move(writes), open));
    return OpenFiles(path, dirs);
  }

  // `open` gives the cgroup's directory in a tree.
  absl::Status Write(std::vector<FileWrite> rest, absl::FunctionRef<absl::StatusOr<UniqueFd>(const V1Tree&)> open) {
    for (const V1Tree& tree : trees_) {
      auto [own, others] = TakeOwn(tree, rest);
      rest = std::move(others);
      if (own.empty()) continue;
      ASSIGN_OR_RETURN(UniqueFd dir, open(tree), tree.name);
      RETURN_IF_ERROR(WriteLimits(dir.get(), own));
    }
    for (const FileWrite& write : rest) {
      if (write.optional || write.controller_optional) continue;
      return absl::FailedPreconditionError(
          absl::StrCat(write.field, ": this machine has no cgroup controller '", write.controller, "'"));
    }
    return absl::OkStatus();
  }

  static absl::Status KillIn(const V1Tree& tree, absl::string_view path, std::set<pid_t>& signalled) {
    auto dir = OpenDir(tree.root.get(), path);
    if (ErrnoOf(dir.status()) == ENOENT) return absl::OkStatus();
    RETURN_IF_ERROR(dir, "kill cgroup '", path, "'");
    return Annotate(KillAllIn(dir->get(), signalled), absl::StrCat("kill cgroup '", path, "'"));
  }

  static void ReadMemory(int dir, Stats& stats) {
    stats.memory_usage = SingleValue(ReadOrEmpty(dir, "memory.usage_in_bytes")).value_or(0);
    const std::string text = ReadOrEmpty(dir, "memory.stat");
    stats.memory_working_set = WorkingSet(stats.memory_usage, KeyedValue(text, "total_inactive_file").value_or(0));
    stats.memory_rss = KeyedValue(text, "total_rss").value_or(0);
    stats.swap_usage = KeyedValue(text, "total_swap").value_or(0);
    stats.page_faults = KeyedValue(text, "total_pgfault").value_or(0);
    stats.major_page_faults = KeyedValue(text, "total_pgmajfault").value_or(0);
    // Unlimited is the largest number of pages.
    const auto limit = SingleValue(ReadOrEmpty(dir, "memory.limit_in_bytes"));
    if (limit && *limit < uint64_t{1} << 62) stats.memory_limit = limit;
    stats.oom_kills = KeyedValue(ReadOrEmpty(dir, "memory.oom_control"), "oom_kill").value_or(0);
  }

  const std::vector<V1Tree> trees_;
};

// The controllers of the v1 hierarchy mounted at `point`, from mountinfo's last field.
std::set<std::string> ControllersAt(absl::string_view mountinfo, absl::string_view point) {
  std::set<std::string> out;
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    const std::vector<absl::string_view> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    const std::vector<absl::string_view> left = absl::StrSplit(halves[0], ' '), right = absl::StrSplit(halves[1], ' ');
    if (left.size() < 5 || right.size() < 3 || left[4] != point || right[0] != "cgroup") continue;
    out.clear();
    for (absl::string_view option : absl::StrSplit(right[2], ',')) {
      if (option == "rw" || option == "ro" || option == "xattr" || absl::StrContains(option, "=")) continue;
      out.emplace(option);
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<V1Tree>> FindV1Trees(absl::string_view root) {
  ASSIGN_OR_RETURN(std::string mountinfo, sys::ReadFile("/proc/self/mountinfo", 64 << 20));
  ASSIGN_OR_RETURN(UniqueFd dir, sys::Open(root, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir.get()));
  std::vector<V1Tree> trees;
  for (std::string& name : names) {
    // Symlinks such as cpu -> cpu,cpuacct are second names.
    auto tree = sys::OpenAt(dir.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    struct statfs fs;
    if (!tree.ok() || fstatfs(tree->get(), &fs) != 0 || fs.f_type != CGROUP_SUPER_MAGIC) continue;
    std::set<std::string> controllers = ControllersAt(mountinfo, absl::StrCat(root, "/", name));
    trees.push_back({std::move(name), std::move(controllers), *std::move(tree)});
  }
  return trees;
}

std::unique_ptr<Hierarchy> MakeV1(std::vector<V1Tree> trees) { return std::make_unique<V1>(std::move(trees)); }

}  // namespace berth::cgroup
