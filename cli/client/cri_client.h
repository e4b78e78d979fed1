// The daemon as the commands see it: CRI v1 and berth.v1 over its unix socket, in plain values.
// gRPC stays inside.
//
// Every call blocks until it is answered, its deadline passes (DeadlineExceeded) or Interrupt() is
// called (Cancelled). Errors are RpcError()s: the daemon's code, and its message with the code in
// words. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/client/transfer.h"
#include "runtime/base/status.h"

namespace runtime::v1 {
class ContainerConfig;
class PodSandboxConfig;
}  // namespace runtime::v1

namespace berth::cli {

using StringMap = std::map<std::string, std::string>;

struct VersionInfo {
  std::string runtime_name, runtime_version, api_version;
};

struct Condition {
  std::string type;
  bool status = false;
  std::string reason, message;
};

struct DaemonInfo {
  std::vector<Condition> conditions;
  std::vector<std::string> handlers;  // without the default's second entry ""
  std::string cgroup_driver;          // "cgroupfs" or "systemd"
  // Of berth.v1; empty with a runtime that has no such service.
  std::string commit, state_dir, root_dir, network_mode, kernel, cgroup_version;
};

struct PodInfo {
  std::string id, name, ns, uid, handler;
  uint32_t attempt = 0;
  bool ready = false;
  int64_t created_at = 0;  // nanoseconds since the epoch, as all times here
  StringMap labels, annotations;
};

enum class ContainerState { kCreated, kRunning, kExited, kUnknown };
absl::string_view StateName(ContainerState state);  // "Created", "Running", "Exited", "Unknown"

struct ContainerInfo {
  std::string id, pod_id, name, image, image_id;
  uint32_t attempt = 0;
  ContainerState state = ContainerState::kUnknown;
  int64_t created_at = 0;
  StringMap labels, annotations;
};

struct ContainerDetails {
  ContainerState state = ContainerState::kUnknown;
  int exit_code = 0;
  std::string reason, message, log_path;
};

// The streams that a command is to have.
struct StreamSet {
  bool in = false, out = false, err = false, tty = false;
};

struct ImageInfo {
  std::string id;
  std::vector<std::string> tags, digests;
  uint64_t size = 0;
  std::optional<int64_t> uid;
  std::string username;
  bool pinned = false;
};

struct ContainerUsage {
  std::string id, name;
  StringMap labels;
  int64_t cpu_time = 0;  // when `cpu_nanos` was read
  std::optional<uint64_t> cpu_nanos, nano_cores, working_set, writable_bytes;
};

struct ExecResult {
  std::string out, err;
  int exit_code = 0;
};

struct Credentials {
  std::string username, password;
};

enum class PullPhase { kUnknown, kResolving, kWaiting, kDownloading, kUnpacking, kDone };
absl::string_view PhaseName(PullPhase phase);  // "resolving", …; "working" for one that is not known

struct LayerState {
  std::string digest;
  PullPhase phase = PullPhase::kUnknown;
  uint64_t done = 0, total = 0;  // compressed bytes, of the current phase
};

// How far a pull is, as berth.v1's PullProgress has it.
struct PullState {
  PullPhase phase = PullPhase::kUnknown;
  std::vector<LayerState> layers;
};
using PullWatcher = std::function<void(const PullState&)>;

struct PrunedImage {
  std::string id;
  std::vector<std::string> names;
};

struct PruneReport {
  std::vector<PrunedImage> images;
  uint64_t bytes = 0;
};

// As berth.v1's DiskUsageResponse.
struct DiskReport {
  struct Layer {
    std::string diff_id;
    uint64_t bytes = 0, inodes = 0;
    std::string format;
    uint32_t images = 0;
  };
  struct Image {
    std::string id;
    std::vector<std::string> names;
    uint64_t bytes = 0, own_bytes = 0;
    uint32_t containers = 0;
    bool pinned = false;
  };
  struct Snapshot {
    std::string container_id;
    uint64_t bytes = 0, inodes = 0;
  };
  std::vector<Layer> layers;
  std::vector<Image> images;
  std::vector<Snapshot> snapshots;
  uint64_t content_bytes = 0, reclaimable_bytes = 0, free_bytes = 0;
  int64_t snapshots_measured_at = 0;
};

class CriClient {
 public:
  // Unavailable or PermissionDenied from CannotReach. `timeout` bounds every call; absent: two
  // minutes, and no bound for calls that take as long as their subject does (pull, exec, stop).
  static absl::StatusOr<std::unique_ptr<CriClient>> Connect(const std::string& socket_path,
                                                            std::optional<absl::Duration> timeout);
  ~CriClient();

  // Cancels every call that is under way and every later one, until Resume(): a signal stops the
  // work, and the undoing of it goes on.
  void Interrupt();
  void Resume();

  absl::StatusOr<VersionInfo> Version();
  absl::StatusOr<DaemonInfo> Info();

  absl::StatusOr<std::vector<PodInfo>> ListPods();
  absl::StatusOr<std::string> RunPod(const runtime::v1::PodSandboxConfig& config, const std::string& handler);
  // Primary address first; none with the host's network.
  absl::StatusOr<std::vector<std::string>> PodIps(const std::string& id);
  absl::Status StopPod(const std::string& id);
  absl::Status RemovePod(const std::string& id);
  // Status and verbose info as indented JSON.
  absl::StatusOr<std::string> InspectPod(const std::string& id);

  absl::StatusOr<std::vector<ContainerInfo>> ListContainers();
  absl::StatusOr<std::string> CreateContainer(const std::string& pod_id, const runtime::v1::ContainerConfig& config,
                                              const runtime::v1::PodSandboxConfig& pod_config);
  absl::Status StartContainer(const std::string& id);
  absl::Status StopContainer(const std::string& id, int64_t grace_seconds);
  absl::Status RemoveContainer(const std::string& id);
  absl::StatusOr<ContainerDetails> ContainerStatus(const std::string& id);
  absl::StatusOr<std::string> InspectContainer(const std::string& id);
  // Those that a running container has. What the runtime does not tell is taken for: no stdin, no terminal.
  absl::StatusOr<StreamSet> ContainerStreams(const std::string& id);
  absl::StatusOr<std::vector<ContainerUsage>> ListStats();
  // `timeout_seconds` 0 is no limit. A command that fails is a result, not an error.
  absl::StatusOr<ExecResult> ExecSync(const std::string& id, const std::vector<std::string>& command,
                                      int64_t timeout_seconds);
  // URLs that are good once and soon; each is a secret.
  absl::StatusOr<std::string> ExecUrl(const std::string& id, const std::vector<std::string>& command,
                                      StreamSet streams);
  absl::StatusOr<std::string> AttachUrl(const std::string& id, StreamSet streams);
  absl::StatusOr<std::string> PortForwardUrl(const std::string& pod_id, const std::vector<uint16_t>& ports);

  // Of berth.v1 alone: Unimplemented with another runtime. `watch` is called from this thread; may be empty.
  absl::StatusOr<PushedImage> PushImage(const PushOptions& options, const std::optional<Credentials>& credentials,
                                        const PushWatcher& watch);
  absl::Status SaveImages(const std::vector<std::string>& images, bool docker, const ArchiveSink& sink);
  absl::StatusOr<std::vector<LoadedImage>> LoadImages(const ArchiveSource& source);

  absl::StatusOr<std::vector<ImageInfo>> ListImages();
  // Absent when there is no such image.
  absl::StatusOr<std::optional<ImageInfo>> FindImage(const std::string& reference);
  absl::StatusOr<std::string> InspectImage(const std::string& reference);  // NotFound when there is none
  // The image's id. `watch` is called from this thread when the daemon reports progress, never
  // otherwise.
  absl::StatusOr<std::string> PullImage(const std::string& reference, const std::optional<Credentials>& credentials,
                                        const PullWatcher& watch);
  absl::Status RemoveImage(const std::string& reference);

  // Of berth.v1 alone: Unimplemented with another runtime.
  // The new name in full.
  absl::StatusOr<std::string> TagImage(const std::string& image, const std::string& name);
  absl::StatusOr<PruneReport> PruneImages(bool untagged_only, bool dry_run);
  absl::StatusOr<DiskReport> DiskUsage();

 private:
  struct Impl;
  explicit CriClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::cli
