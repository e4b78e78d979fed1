// The network of a cluster: CNI plugins are executed as the configuration directory says.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cri/network/cni_cache.h"
#include "cri/network/cni_config.h"
#include "cri/network/cni_request.h"
#include "cri/network/network.h"
#include "runtime/sys/unique_fd.h"

namespace berth::network {

class CniNetwork : public PodNetwork {
 public:
  explicit CniNetwork(CniOptions options);

  // Errors: those of the configuration; of a plugin as PluginStatus says it; DeadlineExceeded for one that does not
  // end. After an error DEL has been called for the whole chain; when that failed too, the attachment stays on record
  // for Detach to try again.
  absl::StatusOr<PodAddresses> Attach(const PodRequest& request) override;
  // Goes through the chain to its end and returns the first plugin's error.
  absl::Status Detach(const PodRequest& request) override;
  bool HasAttachment(const PodId& pod) override;
  // DEL for each attachment on record whose pod is not alive. Then, from CNI 1.1.0 on and once in the life of this
  // object, the plugins of the configuration in force are asked by GC to drop what is not of a living pod: Unavailable
  // while pods are being attached, and those that come while they are asked wait.
  absl::Status CollectGarbage(const AlivePods& alive) override;
  // The configuration is usable and its plugins' programs are there; from CNI 1.1.0 on they are asked by STATUS too.
  absl::Status Ready() override;
  std::string Describe() override;
  void Interrupt() override;

 private:
  absl::StatusOr<std::string> FindPlugin(absl::string_view type);
  // One that does not end within `patience` is killed with all that it started.
  absl::StatusOr<std::string> Run(const CniConfig& config, const CniPlugin& plugin, const PluginCall& call,
                                  const Json& capabilities, const Json& result, absl::Duration patience);
  // A call that is about no pod: STATUS, GC.
  absl::Status Ask(const CniConfig& config, const CniPlugin& plugin, const char* command);
  absl::Status AskToCollect(const AlivePods& alive);
  absl::StatusOr<PodAddresses> AttachAlone(const PodRequest& request);
  absl::Status Add(CniAttachment& attachment, absl::string_view netns);
  absl::Status Del(const CniAttachment& attachment, absl::string_view netns);
  absl::StatusOr<std::vector<CniAttachment>> AttachmentsToUndo(const PodRequest& request);
  void EndInherited(const PodId& pod);

  const CniOptions options_;
  std::atomic<bool> ending_ = false;
  const sys::UniqueFd ends_;  // eventfd(2): the same for who waits
  CniConfigSource source_;
  CniCache cache_;

  absl::Mutex mu_;
  std::set<PodId> inherited_ ABSL_GUARDED_BY(mu_);  // on record before this object was, and not detached since
  int attaching_ ABSL_GUARDED_BY(mu_) = 0;
  bool collecting_ ABSL_GUARDED_BY(mu_) = false;
  bool asked_to_collect_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth::network
