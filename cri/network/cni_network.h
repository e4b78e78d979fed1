// The network of a cluster: CNI plugins are executed as the configuration directory says.
#pragma once

#include <memory>
#include <string>

#include "cri/network/cni_cache.h"
#include "cri/network/cni_config.h"
#include "cri/network/cni_request.h"
#include "cri/network/network.h"

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
  // The configuration is usable and its plugins' programs are there; from CNI 1.1.0 on they are asked by STATUS too.
  absl::Status Ready() override;
  std::string Describe() override;

 private:
  absl::StatusOr<std::string> FindPlugin(absl::string_view type);
  absl::StatusOr<std::string> Run(const CniConfig& config, const CniPlugin& plugin, const PluginCall& call,
                                  const Json& capabilities, const Json& result);
  absl::Status Add(CniAttachment& attachment, absl::string_view netns);
  absl::Status Del(const CniAttachment& attachment, absl::string_view netns);
  absl::StatusOr<std::vector<CniAttachment>> AttachmentsToUndo(const PodRequest& request);

  const CniOptions options_;
  CniConfigSource source_;
  CniCache cache_;
};

}  // namespace berth::network
