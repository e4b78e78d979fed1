// The daemon's configuration: /etc/berth/config.toml, then /etc/berth/config.d/*.toml in lexical order, then flags.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/store.h"
#include "runtime/base/status.h"

namespace berth::daemon {

constexpr int64_t kMaxContainerLogLine = 1 << 20;

enum class NetworkMode { kCni, kEmbedded };
enum class SelinuxMode { kAuto, kOff };

struct Config {
  std::string root = "/var/lib/berth";  // images, records: survives a reboot
  std::string state = "/run/berth";     // live pods: does not
  std::string socket = "/run/berth/berth.sock";
  std::string shim_binary;             // empty: berth-shim beside the daemon, then /usr/libexec/berth
  std::string log_level = "info";      // trace debug info warn error
  std::string cgroup_driver = "auto";  // "cgroupfs", "systemd"
  std::string cgroup_parent;           // for pods that name none; empty: /berth, or berth.slice with systemd
  int64_t pids_limit = 0;              // processes and threads of each container; 0 = unlimited
  // Bytes of text; 0 and -1 mean kMaxContainerLogLine.
  int64_t max_container_log_line_size = 16384;
  SelinuxMode selinux = SelinuxMode::kAuto;
  bool enable_unprivileged_ports = true;
  bool enable_unprivileged_icmp = true;
  bool privileged_without_host_devices = false;
  bool device_ownership_from_security_context = false;
  std::vector<std::string> cdi_spec_dirs = {"/etc/cdi", "/var/run/cdi"};  // a later one hides an earlier one's devices
  std::string default_rlimits;                                            // as in the annotation berth.dev/rlimits
  std::string blockio_config_file;                                        // empty: no classes
  std::string resctrl_root = "/sys/fs/resctrl";
  struct {
    NetworkMode mode = NetworkMode::kCni;
    std::vector<std::string> cni_conf_dirs = {"/etc/cni/net.d"};
    std::vector<std::string> cni_bin_dirs = {"/opt/cni/bin", "/usr/lib/cni"};
    std::string cni_cache_dir = "/var/lib/cni";
    int cni_plugin_timeout = 60;  // seconds
    int detach_patience = 120;    // seconds
    std::string bridge = "berth0";
    std::string subnet = "10.89.0.0/16";
  } network;
  struct {
    std::string address = "127.0.0.1";
    int port = 0;
    std::string tls_cert, tls_key, tls_client_ca;
    int idle_timeout = 14400;   // seconds
    int creation_timeout = 30;  // seconds
    int url_lifetime = 60;      // seconds
    int max_pending = 1000;
    int max_sessions = 1000;
  } streaming;
  struct {
    std::vector<std::string> hosts_dirs = {"/etc/berth/certs.d", "/etc/containerd/certs.d"};
    std::vector<std::string> pinned;
    int parallel_layers = 4;
    image::LayerStoreOptions layers;
    int max_transfers = 8;
    int range_connections = 1;
    int usage_interval = 10;    // seconds
    int progress_timeout = 60;  // seconds
    bool copy_volumes = true;   // image.volumes is "copy", not "ignore"
    std::string policy;         // empty: /etc/berth/policy.json, if there is one
    struct {
      std::string dir = "/opt/berth/image-verifier/bin";
      int max = 10;
      int64_t timeout = 10;  // seconds
    } verifiers;
  } image;
};

// Applies the TOML text of one file on top of `config`. InvalidArgument "FILE:LINE: …" for what is not TOML, an unknown
// key, a wrong type or a value out of range; `config` is then partly changed and of no use.
absl::Status ApplyToml(absl::string_view text, absl::string_view file, Config& config);

// Reads `file` (its absence is an error only when `required`) and the *.toml files of `dropin_dir` (which may be
// missing).
absl::StatusOr<Config> LoadConfig(const std::string& file, bool required, const std::string& dropin_dir);

// The whole configuration as TOML with a comment for each key: what `berthd config` prints.
std::string FormatConfig(const Config& config);

}  // namespace berth::daemon
