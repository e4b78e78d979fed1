#include "tests/bench/side.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace berth::bench {
namespace {

// An immediate kill: the time of StopContainer is then the runtime's alone.
constexpr absl::Duration kNoGrace = absl::ZeroDuration();

const absl::Status& StatusOf(const absl::Status& s) { return s; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& s) {
  return s.status();
}

int64_t Monotonic() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec;
}

double MillisecondsSince(int64_t begin) { return static_cast<double>(Monotonic() - begin) / 1e6; }

// Collects the times of one round's calls; they count only when the whole round went well.
class Stopwatch {
 public:
  template <typename Call>
  auto Time(absl::string_view name, Call call) {
    int64_t begin = Monotonic();
    auto result = call();
    double ms = MillisecondsSince(begin);
    if (StatusOf(result).ok()) round_.Add(name, "ms", ms);
    return result;
  }

  void Add(absl::string_view name, absl::string_view unit, double value) { round_.Add(name, unit, value); }

  void AddSum(absl::string_view name, std::initializer_list<absl::string_view> parts) {
    double sum = 0;
    for (absl::string_view part : parts) sum += round_.Find(part)->values.front();
    round_.Add(name, "ms", sum);
  }

  void GiveTo(Samples& samples) const {
    for (const Series& s : round_.all()) {
      for (double value : s.values) samples.Add(s.name, s.unit, value);
    }
  }

 private:
  Samples round_;
};

// CPU time once all that was begun is done; zero without a tree.
absl::StatusOr<absl::Duration> SettledCpu(const Side& side) {
  if (!side.tree) return absl::ZeroDuration();
  RETURN_IF_ERROR(side.tree->Settle());
  return side.tree->Cpu();
}

absl::StatusOr<std::set<pid_t>> PidsOf(const Side& side) {
  std::set<pid_t> pids;
  ASSIGN_OR_RETURN(auto processes, side.tree->Processes());
  for (const Process& p : processes) pids.insert(p.pid);
  return pids;
}

struct Memory {
  int64_t pods = 0, daemon = 0;  // KiB, PSS
};

// `standing` are the processes from before the first pod. Those in a container's own cgroup are the workload.
absl::StatusOr<Memory> MeasureMemory(const Side& side, const std::set<pid_t>& standing,
                                     const std::vector<std::string>& containers) {
  Memory memory;
  ASSIGN_OR_RETURN(auto processes, side.tree->Processes());
  size_t workload = 0;
  for (const Process& p : processes) {
    if (std::find(containers.begin(), containers.end(), p.cgroup) != containers.end()) {
      ++workload;
    } else {
      (standing.count(p.pid) ? memory.daemon : memory.pods) += p.pss_kib;
    }
  }
  if (workload != containers.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat(side.name, ": ", workload, " processes in the cgroups of ", containers.size(), " containers"));
  }
  return memory;
}

void RemovePod(Side& side, const std::string& pod) {
  if (pod.empty()) return;
  side.client->StopPodSandbox(pod).IgnoreError();
  side.client->RemovePodSandbox(pod).IgnoreError();
}

// The part of a round between StartContainer and StopContainer.
absl::Status MeasureRunning(Side& side, const std::set<pid_t>& standing, const std::string& container,
                            Stopwatch& watch) {
  ASSIGN_OR_RETURN(absl::Duration before, SettledCpu(side));
  RETURN_IF_ERROR(watch.Time("exec_sync", [&] { return side.client->ExecSync(container, {"true"}); }));
  if (!side.tree) return absl::OkStatus();
  ASSIGN_OR_RETURN(absl::Duration after, SettledCpu(side));
  watch.Add("exec_cpu", "ms", absl::ToDoubleMilliseconds(after - before));
  ASSIGN_OR_RETURN(Memory memory, MeasureMemory(side, standing, {container}));
  watch.Add("pod_memory", "KiB", static_cast<double>(memory.pods));
  watch.Add("daemon_memory", "KiB", static_cast<double>(memory.daemon));
  return absl::OkStatus();
}

}  // namespace

absl::Status RunLifecycle(Side& side) {
  CriClient& client = *side.client;
  Stopwatch watch;
  std::string pod;
  absl::Cleanup remove = [&] { RemovePod(side, pod); };
  v1::PodSandboxConfig pod_config = PodConfig(side.workload);
  v1::ContainerConfig container_config = ContainerConfig(side.workload);
  ASSIGN_OR_RETURN(absl::Duration before, SettledCpu(side));
  std::set<pid_t> standing;
  if (side.tree) {
    ASSIGN_OR_RETURN(standing, PidsOf(side));
  }

  ASSIGN_OR_RETURN(pod, watch.Time("run_pod_sandbox", [&] { return client.RunPodSandbox(pod_config); }));
  ASSIGN_OR_RETURN(std::string container, watch.Time("create_container", [&] {
    return client.CreateContainer(pod, container_config, pod_config);
  }));
  RETURN_IF_ERROR(watch.Time("start_container", [&] { return client.StartContainer(container); }));
  RETURN_IF_ERROR(MeasureRunning(side, standing, container, watch));
  RETURN_IF_ERROR(watch.Time("stop_container", [&] { return client.StopContainer(container, kNoGrace); }));
  RETURN_IF_ERROR(watch.Time("remove_container", [&] { return client.RemoveContainer(container); }));
  RETURN_IF_ERROR(watch.Time("stop_pod_sandbox", [&] { return client.StopPodSandbox(pod); }));
  RETURN_IF_ERROR(watch.Time("remove_pod_sandbox", [&] { return client.RemovePodSandbox(pod); }));
  pod.clear();

  watch.AddSum("pod_start", {"run_pod_sandbox", "create_container", "start_container"});
  watch.AddSum("pod_stop", {"stop_container", "remove_container", "stop_pod_sandbox", "remove_pod_sandbox"});
  if (side.tree) {
    ASSIGN_OR_RETURN(absl::Duration after, SettledCpu(side));
    watch.Add("pod_cpu", "ms", absl::ToDoubleMilliseconds(after - before));
  }
  watch.GiveTo(side.samples);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RunningPod>> RunningPod::Start(Side& side) {
  std::unique_ptr<RunningPod> running(new RunningPod(side));
  v1::PodSandboxConfig pod_config = PodConfig(side.workload);
  ASSIGN_OR_RETURN(running->pod_, side.client->RunPodSandbox(pod_config));
  ASSIGN_OR_RETURN(running->container_,
                   side.client->CreateContainer(running->pod_, ContainerConfig(side.workload), pod_config));
  RETURN_IF_ERROR(side.client->StartContainer(running->container_));
  return running;
}

RunningPod::~RunningPod() { RemovePod(side_, pod_); }

absl::Status RunExecs(Side& side, const std::string& container, int count) {
  Stopwatch watch;
  ASSIGN_OR_RETURN(absl::Duration before, SettledCpu(side));
  for (int i = 0; i < count; ++i) {
    RETURN_IF_ERROR(watch.Time("exec_sync", [&] { return side.client->ExecSync(container, {"true"}); }));
  }
  if (side.tree) {
    ASSIGN_OR_RETURN(absl::Duration after, SettledCpu(side));
    watch.Add("exec_cpu", "ms", absl::ToDoubleMilliseconds(after - before) / count);
  }
  watch.GiveTo(side.samples);
  return absl::OkStatus();
}

absl::Status RunConcurrentExecs(Side& side, const std::string& container, int count) {
  ASSIGN_OR_RETURN(absl::Duration before, SettledCpu(side));
  std::vector<absl::Status> results(count);
  std::vector<double> times(count);
  absl::Notification go;
  std::vector<std::thread> callers;
  callers.reserve(count);
  for (int i = 0; i < count; ++i) {
    callers.emplace_back([&, i] {
      go.WaitForNotification();
      int64_t begin = Monotonic();
      results[i] = side.client->ExecSync(container, {"true"});
      times[i] = MillisecondsSince(begin);
    });
  }
  int64_t begin = Monotonic();
  go.Notify();
  for (std::thread& caller : callers) caller.join();
  double all = MillisecondsSince(begin);
  for (const absl::Status& result : results) RETURN_IF_ERROR(result);
  for (double time : times) side.samples.Add("concurrent_exec", "ms", time);
  side.samples.Add("concurrent_all", "ms", all);
  if (side.tree) {
    ASSIGN_OR_RETURN(absl::Duration after, SettledCpu(side));
    side.samples.Add("concurrent_cpu", "ms", absl::ToDoubleMilliseconds(after - before) / count);
  }
  return absl::OkStatus();
}

absl::Status RunMemory(Side& side, int count) {
  if (!side.tree) return absl::FailedPreconditionError(absl::StrCat(side.name, ": no cgroup to find its processes in"));
  RETURN_IF_ERROR(side.tree->Settle());
  ASSIGN_OR_RETURN(std::set<pid_t> standing, PidsOf(side));
  std::vector<std::unique_ptr<RunningPod>> pods;
  std::vector<std::string> containers;
  for (int i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(auto pod, RunningPod::Start(side));
    containers.push_back(pod->container());
    pods.push_back(std::move(pod));
  }
  RETURN_IF_ERROR(side.tree->Settle());
  ASSIGN_OR_RETURN(Memory memory, MeasureMemory(side, standing, containers));
  side.samples.Add("pod_memory", "KiB", static_cast<double>(memory.pods) / count);
  side.samples.Add("daemon_memory", "KiB", static_cast<double>(memory.daemon));
  return absl::OkStatus();
}

absl::Status Together(int count, const std::function<absl::Status(int)>& work) {
  constexpr int kAtOnce = 8;
  std::atomic<int> next = 0;
  std::vector<absl::Status> results(kAtOnce);
  std::vector<std::thread> threads;
  for (int t = 0; t < kAtOnce; ++t) {
    threads.emplace_back([&, t] {
      for (int i = next++; i < count; i = next++) results[t].Update(work(i));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

absl::Status RemoveAll(Side& side) {
  ASSIGN_OR_RETURN(auto pods, side.client->Pods(kRunLabel, side.workload.run_id));
  return Together(static_cast<int>(pods.size()), [&](int i) {
    absl::Status first = side.client->StopPodSandbox(pods[i]);
    first.Update(side.client->RemovePodSandbox(pods[i]));
    return first;
  });
}

}  // namespace berth::bench
