#include "tests/bench/pull_side.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "runtime/sys/file.h"

namespace berth::bench {
namespace {

// A journal and a database grow a little with every round; layers are much more than this.
constexpr uint64_t kNothing = 16 << 20;
constexpr absl::Duration kRemovalLimit = absl::Seconds(30);
constexpr absl::Duration kSamplePause = absl::Milliseconds(10);

absl::StatusOr<uint64_t> BytesInUse(int fd) {
  struct statvfs fs;
  if (fstatvfs(fd, &fs) != 0) return ErrnoError(errno, "fstatvfs");
  return (fs.f_blocks - fs.f_bfree) * fs.f_frsize;
}

// A "KEY:  N kB" line of /proc/PID/status. 0 of a process that is gone.
int64_t StatusKib(pid_t pid, absl::string_view key) {
  auto text = sys::ReadFile(absl::StrCat("/proc/", pid, "/status"));
  if (!text.ok()) return 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    int64_t kib = 0;
    std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(": \tkB"), absl::SkipEmpty());
    return !words.empty() && absl::SimpleAtoi(words[0], &kib) ? kib : 0;
  }
  return 0;
}

int64_t SumPss(const std::vector<Process>& processes) {
  int64_t sum = 0;
  for (const Process& p : processes) sum += p.pss_kib;
  return sum;
}

int64_t SumStatus(const std::vector<Process>& processes, absl::string_view key) {
  int64_t sum = 0;
  for (const Process& p : processes) sum += StatusKib(p.pid, key);
  return sum;
}

double MillisecondsSince(absl::Time begin) { return absl::ToDoubleMilliseconds(absl::Now() - begin); }

}  // namespace

absl::StatusOr<PullSide> PullSide::Open(Side side, const std::string& root) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(root, O_RDONLY | O_DIRECTORY), side.name);
  PullSide out(std::move(side), std::move(fd));
  RETURN_IF_ERROR(out.Rest());
  ASSIGN_OR_RETURN(out.idle_bytes_, BytesInUse(out.root_.get()));
  ASSIGN_OR_RETURN(std::vector<Process> processes, out.side_.tree->Processes());
  out.idle_pss_ = SumPss(processes);
  out.idle_rss_ = SumStatus(processes, "VmRSS");
  return out;
}

absl::Status PullSide::Rest() const {
  if (syncfs(root_.get()) != 0) return ErrnoError(errno, "syncfs");
  return side_.tree->Settle();
}

absl::Status PullSide::MeasurePull(const std::string& image) {
  RETURN_IF_ERROR(Rest());
  ASSIGN_OR_RETURN(absl::Duration cpu, side_.tree->Cpu());
  const absl::Time begin = absl::Now();
  RETURN_IF_ERROR(side_.client->PullImage(image));
  const double answered = MillisecondsSince(begin);
  if (syncfs(root_.get()) != 0) return ErrnoError(errno, "syncfs");
  const double durable = MillisecondsSince(begin);
  RETURN_IF_ERROR(side_.tree->Settle());
  ASSIGN_OR_RETURN(absl::Duration cpu_after, side_.tree->Cpu());
  side_.samples.Add("pull_durable", "ms", durable);
  side_.samples.Add("pull_answered", "ms", answered);
  side_.samples.Add("pull_cpu", "ms", absl::ToDoubleMilliseconds(cpu_after - cpu));
  return absl::OkStatus();
}

absl::Status PullSide::MeasureMemory(const std::string& image) {
  RETURN_IF_ERROR(Rest());
  ASSIGN_OR_RETURN(std::vector<Process> processes, side_.tree->Processes());
  for (const Process& p : processes) {
    // "5": the high-water mark begins anew.
    RETURN_IF_ERROR(sys::WriteFileAt(AT_FDCWD, absl::StrCat("/proc/", p.pid, "/clear_refs"), "5"));
  }
  std::atomic<bool> done = false;
  int64_t most = 0;
  std::thread sampler([&] {
    while (!done) {
      if (auto now = side_.tree->Processes(); now.ok()) most = std::max(most, SumPss(*now));
      absl::SleepFor(kSamplePause);
    }
  });
  absl::Status pulled = side_.client->PullImage(image);
  done = true;
  sampler.join();
  RETURN_IF_ERROR(pulled);
  side_.samples.Add("peak_pss", "KiB", static_cast<double>(most - idle_pss_));
  side_.samples.Add("peak_rss", "KiB", static_cast<double>(SumStatus(processes, "VmHWM") - idle_rss_));
  return absl::OkStatus();
}

absl::Status PullSide::MeasureRemoval(const std::string& image) {
  RETURN_IF_ERROR(Rest());
  const absl::Time begin = absl::Now();
  RETURN_IF_ERROR(side_.client->RemoveImage(image));
  side_.samples.Add("remove_answered", "ms", MillisecondsSince(begin));
  for (;;) {
    ASSIGN_OR_RETURN(uint64_t bytes, BytesInUse(root_.get()));
    if (bytes < idle_bytes_ + kNothing) break;
    if (absl::Now() - begin > kRemovalLimit) {
      return absl::DeadlineExceededError(
          absl::StrCat(side_.name, ": ", (bytes - idle_bytes_) >> 20, " MiB of a removed image are still in use"));
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  side_.samples.Add("remove_settled", "ms", MillisecondsSince(begin));
  return absl::OkStatus();
}

}  // namespace berth::bench
