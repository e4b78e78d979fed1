#include "runtime/sys/process_state.h"

#include <fcntl.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"
#include "runtime/sys/procfs.h"

namespace berth::sys {
namespace {

constexpr size_t kShown = 4;

absl::string_view Word(char state) {
  switch (state) {
    case 'D':
      return " (uninterruptible)";
    case 'T':
      return " (stopped)";
    case 't':
      return " (traced)";
    case 'Z':
      return " (a zombie that nobody has reaped)";
    default:
      return "";
  }
}

std::string FirstWord(const std::string& path) {
  auto text = ReadFile(path, 4096);
  if (!text.ok()) return "";
  const std::vector<absl::string_view> words = absl::StrSplit(*text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  return words.empty() ? "" : std::string(words[0]);
}

struct Thread {
  pid_t id = 0;
  char state = '?';
};

// The thread that tells most: one in an uninterruptible sleep, else the first.
Thread Telling(int procfs, pid_t pid) {
  Thread found;
  auto tasks = Open(absl::StrCat("/proc/", pid, "/task"), O_RDONLY | O_DIRECTORY);
  auto names = tasks.ok() ? ListDir(tasks->get()) : tasks.status();
  if (!names.ok()) return found;
  for (const std::string& name : *names) {
    const pid_t id = std::atoi(name.c_str());
    ProcessStat stat;
    if (!ReadStat(procfs, id, &stat)) continue;
    if (found.id == 0 || (stat.state == 'D' && found.state != 'D')) found = {id, stat.state};
  }
  return found;
}

std::string Describe(pid_t pid, const Thread& thread) {
  auto comm = ReadFile(absl::StrCat("/proc/", pid, "/comm"));
  const std::string name = comm.ok() ? std::string(absl::StripAsciiWhitespace(*comm)) : "?";
  const std::string of_thread = absl::StrCat("/proc/", pid, "/task/", thread.id);
  std::string out =
      absl::StrCat("process ", pid, " (", name, ") in state ", absl::string_view(&thread.state, 1), Word(thread.state));
  if (const std::string where = FirstWord(of_thread + "/wchan"); !where.empty() && where != "0") {
    absl::StrAppend(&out, " in ", where);
  }
  if (const std::string call = FirstWord(of_thread + "/syscall"); !call.empty() && call != "running" && call != "-1") {
    absl::StrAppend(&out, ", system call ", call);
  }
  return out;
}

}  // namespace

std::string DescribeProcesses(const std::vector<pid_t>& pids) {
  auto procfs = Open("/proc", O_RDONLY | O_DIRECTORY);
  if (!procfs.ok()) return "";
  std::vector<std::pair<pid_t, Thread>> there;
  for (pid_t pid : pids) {
    if (const Thread thread = Telling(procfs->get(), pid); thread.id != 0) there.emplace_back(pid, thread);
  }
  std::stable_partition(there.begin(), there.end(), [](const auto& p) { return p.second.state == 'D'; });
  std::string out;
  for (size_t i = 0; i < std::min(there.size(), kShown); ++i) {
    absl::StrAppend(&out, i == 0 ? "" : "; ", Describe(there[i].first, there[i].second));
  }
  if (there.size() > kShown) absl::StrAppend(&out, "; and ", there.size() - kShown, " more");
  return out;
}

}  // namespace berth::sys
