#include "cri/daemon/parts.h"

namespace berth::daemon {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(2);

}  // namespace

std::string ClaimFile(absl::string_view directory) { return absl::StrCat(directory, "/berthd.lock"); }

absl::StatusOr<Claim> ClaimDirectories(const Config& config) {
  ASSIGN_OR_RETURN(sys::FileLock root, sys::FileLock::Take(ClaimFile(config.root), kPatience), "root");
  if (config.state == config.root) return Claim{std::move(root), std::nullopt};
  ASSIGN_OR_RETURN(sys::FileLock state, sys::FileLock::Take(ClaimFile(config.state), kPatience), "state");
  return Claim{std::move(root), std::move(state)};
}

network::CniOptions CniOptionsOf(const Config& config) {
  return {config.network.cni_conf_dirs, config.network.cni_bin_dirs, config.network.cni_cache_dir,
          absl::Seconds(config.network.cni_plugin_timeout)};
}

network::EmbeddedOptions EmbeddedOptionsOf(const Config& config) {
  network::EmbeddedOptions options;
  options.bridge = config.network.bridge;
  options.subnet = config.network.subnet;
  options.state_dir = config.root + "/network";
  return options;
}

absl::StatusOr<std::unique_ptr<network::PodNetwork>> MakeNetwork(const Config& config) {
  if (config.network.mode == NetworkMode::kCni) return network::NewCniNetwork(CniOptionsOf(config));
  return network::NewEmbeddedNetwork(EmbeddedOptionsOf(config));
}

image::Store::Options ImageOptionsOf(const Config& config) {
  image::Store::Options options;
  options.root = config.root + "/images";
  options.hosts_dirs = config.image.hosts_dirs;
  options.pinned = config.image.pinned;
  options.parallel_layers = config.image.parallel_layers;
  options.layers = config.image.layers;
  options.max_transfers = config.image.max_transfers;
  options.range_connections = config.image.range_connections;
  options.progress_timeout = absl::Seconds(config.image.progress_timeout);
  if (!config.image.policy.empty()) {
    options.trust.policy = config.image.policy;
    options.trust.policy_required = true;
  }
  options.trust.verifiers_dir = config.image.verifiers.dir;
  options.trust.most_verifiers = config.image.verifiers.max;
  options.trust.verifier_timeout = absl::Seconds(config.image.verifiers.timeout);
  options.usage_interval = absl::Seconds(config.image.usage_interval);
  return options;
}

}  // namespace berth::daemon
