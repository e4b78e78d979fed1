// The calls of CRI v1 that the measurements make, on any endpoint. Thread-safe; each call has a deadline.
// Errors carry the server's gRPC code, its message and the name of the call.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cri/v1/api.grpc.pb.h"
#include "runtime/base/status.h"

namespace berth::bench {

namespace v1 = ::runtime::v1;

class CriClient {
 public:
  // `endpoint` is a gRPC address as in "unix:///run/berth/berth.sock". Asks for Version until it answers, at most for
  // `patience`, with `pause` in between.
  static absl::StatusOr<std::unique_ptr<CriClient>> Connect(const std::string& endpoint,
                                                            absl::Duration patience = absl::Seconds(30),
                                                            absl::Duration pause = absl::Milliseconds(100));

  // "NAME VERSION", as the server calls itself.
  const std::string& server() const { return server_; }

  // Pulls `image` unless it is there.
  absl::Status EnsureImage(const std::string& image);
  absl::Status PullImage(const std::string& image);
  // OK when it is not there.
  absl::Status RemoveImage(const std::string& image);

  absl::StatusOr<std::string> RunPodSandbox(const v1::PodSandboxConfig& config);
  absl::StatusOr<std::string> CreateContainer(const std::string& pod, const v1::ContainerConfig& config,
                                              const v1::PodSandboxConfig& pod_config);
  absl::Status StartContainer(const std::string& container);
  // How long each step of the start took, as the status's verbose information tells it; berth alone does. Of equal
  // names the sum.
  absl::StatusOr<std::map<std::string, absl::Duration>> StartSteps(const std::string& container);
  // Internal when the command ends with anything but 0.
  absl::Status ExecSync(const std::string& container, const std::vector<std::string>& command);
  // The URL of a session with standard output, standard input or not, and no terminal.
  absl::StatusOr<std::string> Exec(const std::string& container, const std::vector<std::string>& command, bool in);
  absl::StatusOr<std::string> PortForward(const std::string& pod, uint16_t port);
  absl::Status StopContainer(const std::string& container, absl::Duration grace);
  absl::Status RemoveContainer(const std::string& container);
  absl::Status StopPodSandbox(const std::string& pod);
  absl::Status RemovePodSandbox(const std::string& pod);

  // The ids of the pods that carry this label.
  absl::StatusOr<std::vector<std::string>> Pods(const std::string& label, const std::string& value);
  // How many of those that carry this label are ready pods, and running containers.
  struct Numbers {
    int pods = 0, containers = 0;
  };
  absl::StatusOr<Numbers> Running(const std::string& label, const std::string& value);

 private:
  explicit CriClient(const std::string& endpoint);

  std::unique_ptr<v1::RuntimeService::Stub> runtime_;
  std::unique_ptr<v1::ImageService::Stub> image_;
  std::string server_;
};

}  // namespace berth::bench
