// A Kubernetes v1 Pod as `berth run` understands it: what the YAML says, with Kubernetes' defaults
// filled in.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cli::manifest {

using StringMap = std::map<std::string, std::string>;

struct Volume {
  std::string name;
  bool empty_dir = false;
  std::string host_path;       // hostPath.path
  std::string host_path_type;  // hostPath.type: "", "Directory", "DirectoryOrCreate", "File", …
};

struct EnvVar {
  std::string name, value;
  std::string field;  // valueFrom.fieldRef.fieldPath; then `value` is not used
};

struct Port {
  int container_port = 0, host_port = 0;  // host_port 0: none
  std::string protocol = "TCP", host_ip;
};

struct VolumeMount {
  std::string volume, path, sub_path;
  bool read_only = false;
};

// cpu in thousandths, memory in bytes. A limit without a request is also the request.
struct Resources {
  std::optional<int64_t> cpu_request, cpu_limit, memory_request, memory_limit;
};

struct Profile {
  std::string type;  // RuntimeDefault, Unconfined, Localhost
  std::string localhost;
};

struct SeLinux {
  std::string user, role, type, level;
};

// What pod and container have in common; the container's value wins.
struct Identity {
  std::optional<int64_t> user, group;
  std::optional<bool> non_root;
  std::optional<Profile> seccomp, apparmor;
  std::optional<SeLinux> selinux;
};

struct Container {
  std::string name, image, pull_policy;  // pull_policy: Always, IfNotPresent, Never
  std::vector<std::string> command, args;
  std::string working_dir;
  std::vector<EnvVar> env;
  std::vector<Port> ports;
  Resources resources;
  std::vector<VolumeMount> mounts;
  bool stdin = false, stdin_once = false, tty = false;
  Identity identity;
  std::vector<std::string> add_capabilities, drop_capabilities;
  bool privileged = false, read_only_root = false, unmasked_proc = false;
  std::optional<bool> allow_privilege_escalation;
};

struct Dns {
  std::vector<std::string> servers, searches, options;
};

struct Pod {
  std::string name, ns;
  StringMap labels, annotations;
  std::string hostname;
  bool host_network = false, host_pid = false, host_ipc = false, share_process_namespace = false;
  std::string dns_policy;  // Default (also for ClusterFirst, as there is no cluster) or None
  Dns dns;
  std::string runtime_handler;
  int64_t grace_seconds = 30;
  Identity identity;
  std::optional<int64_t> fs_group;
  std::vector<int64_t> supplemental_groups;
  bool strict_groups = false;
  StringMap sysctls;
  std::vector<Volume> volumes;
  std::vector<Container> init_containers, containers;
};

struct Manifest {
  std::vector<Pod> pods;
  std::vector<std::string> warnings;  // "FILE: spec.restartPolicy: …"
};

// Every Pod of a YAML (or JSON) stream; `file` is for messages. InvalidArgument "FILE:LINE:COLUMN:
// bad YAML: …", or all problems, one to a line, each "FILE: PATH: … (line N)"; also when there is
// no Pod at all or a name is there twice.
absl::StatusOr<Manifest> ParseManifest(absl::string_view text, absl::string_view file);

}  // namespace berth::cli::manifest
