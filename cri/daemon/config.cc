#include "cri/daemon/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "runtime/sys/file.h"

namespace berth::daemon {
namespace {

// One key of the file: where it stands, what it means, how it is read and printed. The table is the only list of keys.
struct Key {
  absl::string_view name;  // "table.key" or "key"
  absl::string_view help;
  std::function<absl::Status(const toml::node&, Config&)> set;
  std::function<std::string(const Config&)> get;
};

std::string Quote(absl::string_view s) {
  std::string out = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

template <typename Field>
Key StringKey(absl::string_view name, absl::string_view help, Field field) {
  return {name, help,
          [field](const toml::node& n, Config& c) {
            auto v = n.value<std::string>();
            if (!n.is_string()) return absl::InvalidArgumentError("expected a string");
            field(c) = *v;
            return absl::OkStatus();
          },
          [field](const Config& c) { return Quote(field(const_cast<Config&>(c))); }};
}

template <typename Field>
Key PathKey(absl::string_view name, absl::string_view help, Field field) {
  Key key = StringKey(name, help, field);
  key.set = [set = key.set, field](const toml::node& n, Config& c) -> absl::Status {
    RETURN_IF_ERROR(set(n, c));
    if (!absl::StartsWith(field(c), "/")) return absl::InvalidArgumentError("expected an absolute path");
    return absl::OkStatus();
  };
  return key;
}

template <typename Field>
Key ListKey(absl::string_view name, absl::string_view help, Field field) {
  return {name, help,
          [field](const toml::node& n, Config& c) {
            const toml::array* list = n.as_array();
            if (!list) return absl::InvalidArgumentError("expected a list of strings");
            std::vector<std::string> values;
            for (const toml::node& item : *list) {
              if (!item.is_string()) return absl::InvalidArgumentError("expected a list of strings");
              values.push_back(*item.value<std::string>());
            }
            field(c) = std::move(values);
            return absl::OkStatus();
          },
          [field](const Config& c) {
            auto append = [](std::string* out, const std::string& s) { *out += Quote(s); };
            return absl::StrCat("[", absl::StrJoin(field(const_cast<Config&>(c)), ", ", append), "]");
          }};
}

template <typename Field>
Key BoolKey(absl::string_view name, absl::string_view help, Field field) {
  return {name, help,
          [field](const toml::node& n, Config& c) {
            if (!n.is_boolean()) return absl::InvalidArgumentError("expected true or false");
            field(c) = *n.value<bool>();
            return absl::OkStatus();
          },
          [field](const Config& c) { return std::string(field(const_cast<Config&>(c)) ? "true" : "false"); }};
}

template <typename Field>
Key IntegerKey(absl::string_view name, absl::string_view help, int64_t least, int64_t most, Field field) {
  return {name, help,
          [=](const toml::node& n, Config& c) -> absl::Status {
            auto v = n.value<int64_t>();
            if (!n.is_integer() || *v < least || *v > most) {
              return absl::InvalidArgumentError(absl::StrCat("expected an integer from ", least, " to ", most));
            }
            field(c) = static_cast<std::decay_t<decltype(field(c))>>(*v);
            return absl::OkStatus();
          },
          [field](const Config& c) { return absl::StrCat(field(const_cast<Config&>(c))); }};
}

Key ChoiceOfNetwork() {
  return {"network.mode",
          "\"cni\" (plugins, for clusters) or \"embedded\" (a bridge of our own, needs no configuration)",
          [](const toml::node& n, Config& c) {
            auto v = n.value<std::string>();
            if (v == "cni") {
              c.network.mode = NetworkMode::kCni;
            } else if (v == "embedded") {
              c.network.mode = NetworkMode::kEmbedded;
            } else {
              return absl::InvalidArgumentError("expected \"cni\" or \"embedded\"");
            }
            return absl::OkStatus();
          },
          [](const Config& c) { return Quote(c.network.mode == NetworkMode::kCni ? "cni" : "embedded"); }};
}

Key ChoiceOfSelinux() {
  return {"selinux", "\"auto\" (labels where the host has SELinux and a policy for containers) or \"off\"",
          [](const toml::node& n, Config& c) {
            auto v = n.value<std::string>();
            if (v == "auto") {
              c.selinux = SelinuxMode::kAuto;
            } else if (v == "off") {
              c.selinux = SelinuxMode::kOff;
            } else {
              return absl::InvalidArgumentError("expected \"auto\" or \"off\"");
            }
            return absl::OkStatus();
          },
          [](const Config& c) { return Quote(c.selinux == SelinuxMode::kAuto ? "auto" : "off"); }};
}

Key LogLevel() {
  Key key = StringKey(
      "log_level", "trace, debug, info, warn or error", [](Config & c) -> auto& { return c.log_level; });
  key.set = [set = key.set](const toml::node& n, Config& c) -> absl::Status {
    RETURN_IF_ERROR(set(n, c));
    for (const char* level : {"trace", "debug", "info", "warn", "error"}) {
      if (c.log_level == level) return absl::OkStatus();
    }
    return absl::InvalidArgumentError("expected trace, debug, info, warn or error");
  };
  return key;
}

Key CgroupDriver() {
  Key key = StringKey(
      "cgroup_driver",
      "\"cgroupfs\" (directories of our own), \"systemd\" (a scope for each pod; cgroup v2), or \"auto\": systemd "
      "where it "
      "is the init and there is only cgroup v2; the kubelet asks for it",
      [](Config & c) -> auto& { return c.cgroup_driver; });
  key.set = [set = key.set](const toml::node& n, Config& c) -> absl::Status {
    RETURN_IF_ERROR(set(n, c));
    for (const char* driver : {"auto", "cgroupfs", "systemd"}) {
      if (c.cgroup_driver == driver) return absl::OkStatus();
    }
    return absl::InvalidArgumentError("expected \"auto\", \"cgroupfs\" or \"systemd\"");
  };
  return key;
}

constexpr std::pair<const char*, image::LayerStoreOptions::Format> kLayerFormats[] = {
    {"auto", image::LayerStoreOptions::Format::kAuto},
    {"erofs", image::LayerStoreOptions::Format::kErofs},
    {"directory", image::LayerStoreOptions::Format::kDirectory}};

Key Layers() {
  return {
      "image.layers",
      "how new layers are kept: \"erofs\" (one file each, which the kernel mounts), \"directory\" (a tree of files) "
      "or \"auto\" (erofs where it works)",
      [](const toml::node& n, Config& c) {
        auto v = n.value<std::string>();
        for (const auto& [name, format] : kLayerFormats) {
          if (v != name) continue;
          c.image.layers.format = format;
          return absl::OkStatus();
        }
        return absl::InvalidArgumentError("expected \"auto\", \"erofs\" or \"directory\"");
      },
      [](const Config& c) {
        for (const auto& [name, format] : kLayerFormats) {
          if (c.image.layers.format == format) return Quote(name);
        }
        return Quote("");
      }};
}

Key ImageVolumes() {
  return {"image.volumes",
          "VOLUMEs of a container's image: \"copy\" (a directory of the container's own that begins with the image's "
          "content) or \"ignore\"",
          [](const toml::node& n, Config& c) {
            auto v = n.value<std::string>();
            if (v != "copy" && v != "ignore") return absl::InvalidArgumentError("expected \"copy\" or \"ignore\"");
            c.image.copy_volumes = v == "copy";
            return absl::OkStatus();
          },
          [](const Config& c) { return Quote(c.image.copy_volumes ? "copy" : "ignore"); }};
}

Key ImagePolicy() {
  Key key = StringKey(
      "image.policy",
      "containers-policy.json(5): who must have signed which images; read for each pull. Empty: "
      "/etc/berth/policy.json, and while there is none all images are accepted; a file that is named here must exist",
      [](Config & c) -> auto& { return c.image.policy; });
  key.set = [set = key.set](const toml::node& n, Config& c) -> absl::Status {
    RETURN_IF_ERROR(set(n, c));
    if (c.image.policy.empty() || absl::StartsWith(c.image.policy, "/")) return absl::OkStatus();
    return absl::InvalidArgumentError("expected an absolute path, or nothing");
  };
  return key;
}

const std::vector<Key>& Keys() {
  static const auto* keys = new std::vector<Key>{
      PathKey(
          "root", "images and records; survives a reboot", [](Config & c) -> auto& { return c.root; }),
      PathKey(
          "state", "live pods; on a tmpfs", [](Config & c) -> auto& { return c.state; }),
      PathKey(
          "socket", "where CRI is served", [](Config & c) -> auto& { return c.socket; }),
      StringKey(
          "shim_binary", "empty: berth-shim beside berthd, then /usr/libexec/berth/berth-shim",
          [](Config & c) -> auto& { return c.shim_binary; }),
      LogLevel(),
      CgroupDriver(),
      StringKey(
          "cgroup_parent", "of pods that name none; empty: \"/berth\", or \"berth.slice\" with the systemd driver",
          [](Config & c) -> auto& { return c.cgroup_parent; }),
      IntegerKey(
          "pids_limit", "processes and threads of each container, unless its `unified` has pids.max; 0: unlimited", 0,
          4194304, [](Config & c) -> auto& { return c.pids_limit; }),
      IntegerKey(
          "max_container_log_line_size",
          "bytes of a container's line before its log has it in parts, 1 to 1048576; 0 or -1: the most. Of containers "
          "that are created from now on",
          -1, kMaxContainerLogLine, [](Config & c) -> auto& { return c.max_container_log_line_size; }),
      ChoiceOfSelinux(),
      BoolKey(
          "enable_unprivileged_ports", "pods may bind ports below 1024 without NET_BIND_SERVICE",
          [](Config & c) -> auto& { return c.enable_unprivileged_ports; }),
      BoolKey(
          "enable_unprivileged_icmp", "pods may ping without NET_RAW",
          [](Config & c) -> auto& { return c.enable_unprivileged_icmp; }),
      BoolKey(
          "privileged_without_host_devices", "privileged containers get only the devices that they ask for",
          [](Config & c) -> auto& { return c.privileged_without_host_devices; }),
      BoolKey(
          "device_ownership_from_security_context", "nodes of devices belong to the container's run_as_user and _group",
          [](Config & c) -> auto& { return c.device_ownership_from_security_context; }),
      ListKey(
          "cdi_spec_dirs", "spec files of the Container Device Interface; a later one hides an earlier one's devices",
          [](Config & c) -> auto& { return c.cdi_spec_dirs; }),
      StringKey(
          "default_rlimits", "of containers without the annotation berth.dev/rlimits: \"nofile=1024:4096,core=0\"",
          [](Config & c) -> auto& { return c.default_rlimits; }),
      StringKey(
          "blockio_config_file", "classes for the blockio annotations, as goresctrl has them; empty: none",
          [](Config & c) -> auto& { return c.blockio_config_file; }),
      PathKey(
          "resctrl_root", "where resctrl is mounted, for the rdt annotations",
          [](Config & c) -> auto& { return c.resctrl_root; }),
      ChoiceOfNetwork(),
      ListKey(
          "network.cni_conf_dirs", "CNI network configurations, the lexically first is used",
          [](Config & c) -> auto& { return c.network.cni_conf_dirs; }),
      ListKey(
          "network.cni_bin_dirs", "CNI plugins", [](Config & c) -> auto& { return c.network.cni_bin_dirs; }),
      PathKey(
          "network.cni_cache_dir", "results of ADD, needed for DEL",
          [](Config & c) -> auto& { return c.network.cni_cache_dir; }),
      IntegerKey(
          "network.cni_plugin_timeout",
          "seconds after which a plugin that does not end is killed with all that it started, 1 to 3600", 1, 3600,
          [](Config & c) -> auto& { return c.network.cni_plugin_timeout; }),
      IntegerKey(
          "network.detach_patience",
          "seconds for which a pod whose network cannot be detached is not let go, from the first failure on, 0 to "
          "86400; then it is stopped and removed without, and the detach is tried until it works",
          0, 86400, [](Config & c) -> auto& { return c.network.detach_patience; }),
      StringKey(
          "network.bridge", "embedded: the bridge's name", [](Config & c) -> auto& { return c.network.bridge; }),
      StringKey(
          "network.subnet", "embedded: where pods get their addresses",
          [](Config & c) -> auto& { return c.network.subnet; }),
      StringKey(
          "streaming.address",
          "where exec, attach and port-forward are served to the kubelet, IPv4 or IPv6; other than loopback only with "
          "TLS",
          [](Config & c) -> auto& { return c.streaming.address; }),
      IntegerKey(
          "streaming.port", "0: any free one", 0, 65535, [](Config & c) -> auto& { return c.streaming.port; }),
      StringKey(
          "streaming.tls_cert", "PEM file, read anew when it changes; empty: no TLS",
          [](Config & c) -> auto& { return c.streaming.tls_cert; }),
      StringKey(
          "streaming.tls_key", "PEM file, read anew when it changes",
          [](Config & c) -> auto& { return c.streaming.tls_key; }),
      StringKey(
          "streaming.tls_client_ca", "PEM file: clients must show a certificate of it; empty: they need none",
          [](Config & c) -> auto& { return c.streaming.tls_client_ca; }),
      IntegerKey(
          "streaming.idle_timeout", "seconds without a byte after which a session is ended, 1 to 604800", 1, 604800,
          [](Config & c) -> auto& { return c.streaming.idle_timeout; }),
      IntegerKey(
          "streaming.creation_timeout", "seconds in which a client has to open its streams, 1 to 3600", 1, 3600,
          [](Config & c) -> auto& { return c.streaming.creation_timeout; }),
      IntegerKey(
          "streaming.url_lifetime", "seconds for which a URL that was given out is good, 1 to 3600", 1, 3600,
          [](Config & c) -> auto& { return c.streaming.url_lifetime; }),
      IntegerKey(
          "streaming.max_pending", "URLs that are given out and not used yet, 1 to 100000; more are refused", 1, 100000,
          [](Config & c) -> auto& { return c.streaming.max_pending; }),
      IntegerKey(
          "streaming.max_sessions", "connections at once, 1 to 100000; more are refused", 1, 100000,
          [](Config & c) -> auto& { return c.streaming.max_sessions; }),
      ListKey(
          "image.hosts_dirs", "HOST/hosts.toml: mirrors, certificates; first match wins",
          [](Config & c) -> auto& { return c.image.hosts_dirs; }),
      ListKey(
          "image.pinned", "images that a kubelet must not remove", [](Config & c) -> auto& { return c.image.pinned; }),
      IntegerKey(
          "image.parallel_layers", "layers of one image that are fetched and unpacked at the same time, 1 to 32", 1, 32,
          [](Config & c) -> auto& { return c.image.parallel_layers; }),
      IntegerKey(
          "image.max_transfers", "connections over which all pulls together fetch layers at the same time, 1 to 128", 1,
          128, [](Config & c) -> auto& { return c.image.max_transfers; }),
      IntegerKey(
          "image.range_connections",
          "connections for one layer of more than 64 MiB, each with 4 MiB of memory, 1 to 16; 1: no ranges", 1, 16,
          [](Config & c) -> auto& { return c.image.range_connections; }),
      IntegerKey(
          "image.progress_timeout", "seconds after which a connection that brings nothing is given up, 1 to 3600", 1,
          3600, [](Config & c) -> auto& { return c.image.progress_timeout; }),
      IntegerKey(
          "image.usage_interval",
          "seconds from one measurement of all writable layers to the next, 1 to 3600; they are measured while "
          "somebody "
          "asks, the kubelet for one",
          1, 3600, [](Config & c) -> auto& { return c.image.usage_interval; }),
      Layers(),
      BoolKey(
          "image.keep_blobs",
          "new layers are kept as the registry sent them, too: takes more disk, pushes them unchanged",
          [](Config & c) -> auto& { return c.image.layers.keep_blobs; }),
      ImageVolumes(),
      ImagePolicy(),
      PathKey(
          "image.verifiers.dir",
          "programs that judge images, by containerd's contract; a missing or empty directory: none",
          [](Config & c) -> auto& { return c.image.verifiers.dir; }),
      IntegerKey(
          "image.verifiers.max", "the first so many of them are asked, by name; -1: all", -1, 1000,
          [](Config & c) -> auto& { return c.image.verifiers.max; }),
      IntegerKey(
          "image.verifiers.timeout", "seconds that each of them may take, 1 to 600", 1, 600,
          [](Config & c) -> auto& { return c.image.verifiers.timeout; }),
  };
  return *keys;
}

absl::Status ErrorAt(absl::string_view file, const toml::source_region& where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ":", where.begin.line, ": ", what));
}

absl::Status ApplyTable(const toml::table& table, const std::string& prefix, absl::string_view file, Config& config) {
  for (const auto& [key, node] : table) {
    std::string name = absl::StrCat(prefix, std::string(key.str()));
    auto known = std::find_if(Keys().begin(), Keys().end(), [&](const Key& k) { return k.name == name; });
    if (known != Keys().end()) {
      if (absl::Status s = known->set(node, config); !s.ok()) {
        return ErrorAt(file, node.source(), absl::StrCat(name, ": ", s.message()));
      }
      continue;
    }
    bool is_table =
        std::any_of(Keys().begin(), Keys().end(), [&](const Key& k) { return absl::StartsWith(k.name, name + "."); });
    if (!is_table) return ErrorAt(file, key.source(), absl::StrCat("unknown key '", name, "'"));
    const toml::table* sub = node.as_table();
    if (!sub) return ErrorAt(file, node.source(), absl::StrCat(name, ": expected a table"));
    RETURN_IF_ERROR(ApplyTable(*sub, name + ".", file, config));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyToml(absl::string_view text, absl::string_view file, Config& config) {
  try {
    toml::table table = toml::parse(std::string_view(text.data(), text.size()));
    return ApplyTable(table, "", file, config);
  } catch (const toml::parse_error& e) {
    return ErrorAt(file, e.source(), std::string(e.description()));
  }
}

absl::StatusOr<Config> LoadConfig(const std::string& file, bool required, const std::string& dropin_dir) {
  Config config;
  auto text = sys::ReadFile(file);
  if (text.ok()) {
    RETURN_IF_ERROR(ApplyToml(*text, file, config));
  } else if (required || ErrnoOf(text.status()) != ENOENT) {
    return text.status();
  }
  auto dir = sys::Open(dropin_dir, O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return config;
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir->get()));
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".toml")) continue;
    std::string path = absl::StrCat(dropin_dir, "/", name);
    ASSIGN_OR_RETURN(std::string dropin, sys::ReadFile(path));
    RETURN_IF_ERROR(ApplyToml(dropin, path, config));
  }
  return config;
}

std::string FormatConfig(const Config& config) {
  std::string out, table;
  for (const Key& key : Keys()) {
    absl::string_view name = key.name;
    size_t dot = name.find('.');
    if (dot != absl::string_view::npos && name.substr(0, dot) != table) {
      table = std::string(name.substr(0, dot));
      absl::StrAppend(&out, "\n[", table, "]\n");
    }
    if (dot != absl::string_view::npos) name.remove_prefix(dot + 1);
    absl::StrAppend(&out, "# ", key.help, "\n", name, " = ", key.get(config), "\n");
  }
  return out;
}

}  // namespace berth::daemon
