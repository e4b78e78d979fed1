#include "tests/bench/restart.h"

#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <csignal>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "tests/bench/process_tree.h"

extern char** environ;

namespace berth::bench {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(2);
constexpr absl::Duration kPause = absl::Milliseconds(1);

absl::Duration Clock(clockid_t clock) {
  timespec t = {};
  clock_gettime(clock, &t);
  return absl::DurationFromTimespec(t);
}

absl::StatusOr<pid_t> DaemonOf(const Restarted& restarted) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(restarted.script + ".pid"));
  pid_t pid = 0;
  if (absl::SimpleAtoi(absl::StripSuffix(text, "\n"), &pid)) return pid;
  return absl::InvalidArgumentError(absl::StrCat("'", restarted.script, ".pid' has no number"));
}

absl::Status Kill(pid_t pid) {
  ASSIGN_OR_RETURN(sys::UniqueFd daemon, sys::OpenPidfd(pid));
  RETURN_IF_ERROR(sys::SignalPidfd(daemon.get(), SIGKILL));
  if (!sys::WaitPidfdExited(daemon.get(), 20'000)) return absl::DeadlineExceededError("it does not end by SIGKILL");
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;  // ours since its first restart
  return absl::OkStatus();
}

absl::StatusOr<pid_t> Start(const std::string& script) {
  std::string path = script;
  char* argv[] = {path.data(), nullptr};
  pid_t pid = 0;
  if (int error = posix_spawn(&pid, path.c_str(), nullptr, nullptr, argv, environ); error != 0) {
    return ErrnoError(error, absl::StrCat("start '", script, "'"));
  }
  return pid;
}

absl::Status AwaitAll(Side& side, int count, absl::Duration end) {
  for (;;) {
    auto running = side.client->Running(kRunLabel, side.workload.run_id);
    if (running.ok() && running->pods == count && running->containers == count) return absl::OkStatus();
    if (Clock(CLOCK_MONOTONIC) > end) {
      RETURN_IF_ERROR(running.status());
      return absl::DeadlineExceededError(absl::StrCat(running->pods, " pods are ready and ", running->containers,
                                                      " containers run, of ", count, " each"));
    }
    absl::SleepFor(kPause);
  }
}

}  // namespace

absl::Status RunMany(Side& side, int count) {
  return Together(count, [&](int) -> absl::Status {
    v1::PodSandboxConfig pod_config = PodConfig(side.workload);
    ASSIGN_OR_RETURN(std::string pod, side.client->RunPodSandbox(pod_config));
    ASSIGN_OR_RETURN(std::string container,
                     side.client->CreateContainer(pod, ContainerConfig(side.workload), pod_config));
    return side.client->StartContainer(container);
  });
}

absl::Status RunRestart(Side& side, const Restarted& restarted, int count) {
  ASSIGN_OR_RETURN(pid_t old, DaemonOf(restarted));
  RETURN_IF_ERROR(Kill(old), "the daemon ", old);
  const absl::Duration begin = Clock(CLOCK_MONOTONIC);
  ASSIGN_OR_RETURN(pid_t pid, Start(restarted.script));
  ASSIGN_OR_RETURN(side.client, CriClient::Connect(restarted.endpoint, kPatience, kPause));
  const absl::Duration answered = Clock(CLOCK_MONOTONIC);
  RETURN_IF_ERROR(AwaitAll(side, count, begin + kPatience));
  const absl::Duration end = Clock(CLOCK_MONOTONIC);
  clockid_t cpu = CLOCK_PROCESS_CPUTIME_ID;
  if (int error = clock_getcpuclockid(pid, &cpu); error != 0) return ErrnoError(error, "the new daemon's CPU time");
  const absl::Duration used = Clock(cpu);
  ASSIGN_OR_RETURN(std::string rollup, sys::ReadFile(absl::StrCat("/proc/", pid, "/smaps_rollup")));
  ASSIGN_OR_RETURN(int64_t pss, ParsePss(rollup));
  side.samples.Add("restart", "ms", absl::ToDoubleMilliseconds(end - begin));
  side.samples.Add("restart_answer", "ms", absl::ToDoubleMilliseconds(answered - begin));
  side.samples.Add("restart_cpu", "ms", absl::ToDoubleMilliseconds(used));
  side.samples.Add("restart_memory", "KiB", static_cast<double>(pss));
  return absl::OkStatus();
}

}  // namespace berth::bench
