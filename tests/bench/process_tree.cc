#include "tests/bench/process_tree.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "runtime/sys/file.h"

namespace berth::bench {
namespace {

bool Exists(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0;
}

// Where the hierarchies are on every distribution; cpuacct may be a symlink to a joint hierarchy.
constexpr const char* kRoots[] = {"/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"};

// Less CPU than this in one pause counts as quiet: an idle daemon has its timers.
constexpr absl::Duration kPause = absl::Milliseconds(25);
constexpr absl::Duration kQuiet = absl::Microseconds(500);

// NotFound and a vanished process are the same: it ended.
void AddProcess(pid_t pid, const std::string& cgroup, std::vector<Process>& out) {
  std::string proc = absl::StrCat("/proc/", pid);
  auto name = sys::ReadFile(proc + "/comm");
  auto rollup = sys::ReadFile(proc + "/smaps_rollup");
  if (!name.ok() || !rollup.ok()) return;
  auto pss = ParsePss(*rollup);
  if (!pss.ok()) return;  // a zombie has no memory
  out.push_back({pid, cgroup, std::string(absl::StripSuffix(*name, "\n")), *pss});
}

void AddCgroup(const std::filesystem::path& directory, std::vector<Process>& out) {
  auto procs = sys::ReadFile((directory / "cgroup.procs").string());
  if (!procs.ok()) return;
  for (absl::string_view line : absl::StrSplit(*procs, '\n', absl::SkipEmpty())) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(line, &pid)) AddProcess(pid, directory.filename().string(), out);
  }
}

}  // namespace

absl::StatusOr<int64_t> ParseKeyed(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() < 2 || words[0] != key) continue;
    int64_t value = 0;
    if (!absl::SimpleAtoi(words[1], &value)) {
      return absl::InvalidArgumentError(absl::StrCat("'", line, "' has no number"));
    }
    return value;
  }
  return absl::NotFoundError(absl::StrCat("no line '", key, "'"));
}

absl::StatusOr<int64_t> ParsePss(absl::string_view smaps_rollup) { return ParseKeyed(smaps_rollup, "Pss:"); }

absl::StatusOr<ProcessTree> ProcessTree::Open(absl::string_view cgroup) {
  for (const char* root : kRoots) {
    auto tree = OpenDirectory(absl::StrCat(root, cgroup));
    if (tree.ok()) return tree;
  }
  return absl::NotFoundError(absl::StrCat("cgroup '", cgroup, "' is neither in cpuacct nor in a cgroup v2 hierarchy"));
}

absl::StatusOr<ProcessTree> ProcessTree::OpenDirectory(std::string directory) {
  if (Exists(directory + "/cpuacct.usage")) return ProcessTree(std::move(directory), false);
  if (Exists(directory + "/cpu.stat")) return ProcessTree(std::move(directory), true);
  return absl::NotFoundError(absl::StrCat("'", directory, "' accounts for no CPU time"));
}

absl::StatusOr<absl::Duration> ProcessTree::Cpu() const {
  if (v2_) {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(directory_ + "/cpu.stat"));
    ASSIGN_OR_RETURN(int64_t us, ParseKeyed(text, "usage_usec"), directory_, "/cpu.stat");
    return absl::Microseconds(us);
  }
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(directory_ + "/cpuacct.usage"));
  int64_t ns = 0;
  if (!absl::SimpleAtoi(text, &ns)) {
    return absl::InvalidArgumentError(absl::StrCat(directory_, "/cpuacct.usage: '", text, "'"));
  }
  return absl::Nanoseconds(ns);
}

absl::Status ProcessTree::Settle(absl::Duration limit) const {
  absl::Time end = absl::Now() + limit;
  ASSIGN_OR_RETURN(absl::Duration before, Cpu());
  while (absl::Now() < end) {
    absl::SleepFor(kPause);
    ASSIGN_OR_RETURN(absl::Duration now, Cpu());
    if (now - before < kQuiet) break;
    before = now;
  }
  return absl::OkStatus();
}

absl::StatusOr<ProcessTree> ProcessTree::Below(absl::string_view name) const {
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator below(directory_, error), end; !error && below != end;
       below.increment(error)) {
    if (below->path().filename().string() == name) return OpenDirectory(below->path().string());
  }
  return absl::NotFoundError(absl::StrCat("no cgroup '", name, "' below '", directory_, "'"));
}

absl::StatusOr<std::vector<Process>> ProcessTree::Processes() const {
  std::vector<Process> found;
  AddCgroup(directory_, found);
  std::error_code error;
  std::filesystem::recursive_directory_iterator below(directory_, error), end;
  while (!error && below != end) {
    std::error_code gone;
    if (below->is_directory(gone) && !gone) AddCgroup(below->path(), found);
    below.increment(error);
  }
  if (error) return ErrnoError(error.value(), absl::StrCat("walk '", directory_, "'"));
  return found;
}

}  // namespace berth::bench
