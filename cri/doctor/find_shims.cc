// Shims by /proc: each keeps its pod's directory open.
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cri/doctor/world.h"
#include "runtime/sys/file.h"

namespace berth::doctor {
namespace {

constexpr char kShimName[] = "berth-shim";

std::vector<std::string> NamesIn(const std::string& path) {
  auto dir = sys::Open(path, O_RDONLY | O_DIRECTORY);
  auto names = dir.ok() ? sys::ListDir(dir->get()) : dir.status();
  return names.ok() ? *std::move(names) : std::vector<std::string>();
}

std::string ReadProc(pid_t pid, const char* file) {
  auto text = sys::ReadFile(absl::StrCat("/proc/", pid, "/", file));
  return text.ok() ? *std::move(text) : "";
}

// The pod whose directory in `pods` the process has open; "" when it has none.
std::string PodOf(pid_t pid, const std::string& pods) {
  const std::string fds = absl::StrCat("/proc/", pid, "/fd");
  for (const std::string& number : NamesIn(fds)) {
    char target[PATH_MAX];
    const ssize_t n = readlink(absl::StrCat(fds, "/", number).c_str(), target, sizeof target);
    absl::string_view path(target, n > 0 ? static_cast<size_t>(n) : 0);
    (void)absl::ConsumeSuffix(&path, " (deleted)");
    if (absl::ConsumePrefix(&path, pods) && IsId(path)) return std::string(path);
  }
  return "";
}

pid_t ParentOf(pid_t pid) {
  const std::string stat = ReadProc(pid, "stat");
  const size_t name_end = stat.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return 0;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(stat).substr(name_end + 1), ' ', absl::SkipEmpty());
  int parent = 0;
  return fields.size() > 1 && absl::SimpleAtoi(fields[1], &parent) ? parent : 0;
}

std::set<std::string> CgroupsOf(pid_t pid) {
  std::set<std::string> out;
  const std::string text = ReadProc(pid, "cgroup");
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    absl::string_view path = parts[2];
    (void)absl::ConsumeSuffix(&path, "/shim");  // of a scope
    if (!IdOfCgroup(path).empty()) out.emplace(path);
  }
  return out;
}

}  // namespace

std::vector<Shim> FindShims(const std::string& state) {
  const std::string pods = state + "/pods/";
  std::map<pid_t, std::vector<pid_t>> children;
  std::vector<Shim> shims;
  for (const std::string& name : NamesIn("/proc")) {
    int pid = 0;
    if (!absl::SimpleAtoi(name, &pid)) continue;
    children[ParentOf(pid)].push_back(pid);
    if (absl::StripAsciiWhitespace(ReadProc(pid, "comm")) != kShimName) continue;
    if (std::string pod = PodOf(pid, pods); !pod.empty()) shims.push_back({.pid = pid, .pod = std::move(pod)});
  }
  for (Shim& shim : shims) {
    std::set<std::string> cgroups;
    std::vector<pid_t> tree = {shim.pid};
    for (size_t i = 0; i < tree.size(); ++i) {
      cgroups.merge(CgroupsOf(tree[i]));
      const std::vector<pid_t>& of_this = children[tree[i]];
      tree.insert(tree.end(), of_this.begin(), of_this.end());
    }
    shim.processes = tree.size() - 1;
    shim.cgroups.assign(cgroups.begin(), cgroups.end());
  }
  return shims;
}

}  // namespace berth::doctor
