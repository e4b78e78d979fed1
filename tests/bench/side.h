// One of the two that are compared, and the measurements that are made on it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "tests/bench/cri_client.h"
#include "tests/bench/process_tree.h"
#include "tests/bench/samples.h"
#include "tests/bench/workload.h"

namespace berth::bench {

struct Side {
  std::string name;
  std::unique_ptr<CriClient> client;
  // Of the daemon and all that it starts; without it CPU time and memory are not measured.
  std::optional<ProcessTree> tree;
  Workload workload;
  Samples samples;
};

// The whole life of one pod with one container, each call timed, CPU time and memory read between the calls. Adds
// run_pod_sandbox, create_container, start_container, exec_sync, stop_container, remove_container, stop_pod_sandbox,
// remove_pod_sandbox and their sums pod_start and pod_stop; and with a tree exec_cpu, pod_cpu, pod_memory,
// daemon_memory. A call that fails ends the round with its error, after the pod is removed as far as that goes.
absl::Status RunLifecycle(Side& side);

// A pod that runs until it is told otherwise. Removes it in its destructor as far as that goes.
class RunningPod {
 public:
  static absl::StatusOr<std::unique_ptr<RunningPod>> Start(Side& side);
  ~RunningPod();
  const std::string& pod() const { return pod_; }
  const std::string& container() const { return container_; }

 private:
  explicit RunningPod(Side& side) : side_(side) {}
  Side& side_;
  std::string pod_, container_;
};

// `count` times `true` in a container, one after the other; adds exec_sync, and with a tree exec_cpu (one exec's part).
absl::Status RunExecs(Side& side, const std::string& container, int count);

// `count` times `true` in a container, all at the same time, as probes that meet; adds concurrent_exec (each one's
// time), concurrent_all (until the last has answered) and with a tree concurrent_cpu (one exec's part).
absl::Status RunConcurrentExecs(Side& side, const std::string& container, int count);

// Starts `count` pods, adds pod_memory (one pod's part) and daemon_memory (all of what serves every pod), removes them.
absl::Status RunMemory(Side& side, int count);

// Calls `work` with 0 to `count` - 1, several at the same time: for what is not measured. Keeps going; the first error
// is returned.
absl::Status Together(int count, const std::function<absl::Status(int)>& work);

// Stops and removes every pod of this run, several at the same time. Keeps going; the first error is returned.
absl::Status RemoveAll(Side& side);

}  // namespace berth::bench
