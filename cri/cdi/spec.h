// A spec file of the Container Device Interface (CDI, versions 0.3.0 to 1.1.0): which edits of a container make a
// device usable in it. Pure functions over untrusted text.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cdi {

struct DeviceNode {
  std::string path;       // in the container
  std::string host_path;  // empty: as `path`
  char type = 0;          // 'b', 'c' or 'p'; 0 = as the host's node
  uint32_t major = 0;     // with `type`; 0 = as the host's node
  uint32_t minor = 0;
  std::optional<uint32_t> file_mode;  // permission bits
  std::string permissions;            // of "rwm"; empty = the cgroup allows no more than it did
  std::optional<uint32_t> uid, gid;
};

struct Mount {
  std::string host_path;
  std::string container_path;
  std::string type;
  std::vector<std::string> options;
};

struct Edits {
  std::vector<std::string> env;  // "KEY=value"
  std::vector<DeviceNode> nodes;
  std::vector<Mount> mounts;
  std::vector<uint32_t> gids;
  std::string rdt_class;  // intelRdt.closID
  // What berth does not do, as words for an error: "hooks", "netDevices". Empty = all of it can be done.
  std::string unsupported;
  std::string unsupported_file;  // the spec file that asks for it

  bool empty() const;
  void Append(const Edits& other);
};

struct Spec {
  std::string path;  // of the file
  std::string vendor;
  std::string device_class;
  std::map<std::string, Edits> devices;
  Edits edits;  // once for each container with any of the devices
};

struct DeviceName {
  std::string vendor;
  std::string device_class;
  std::string name;
  std::string Kind() const { return vendor + "/" + device_class; }
  std::string str() const { return Kind() + "=" + name; }
};

// "vendor.com/class=name". InvalidArgument when it is not that.
absl::StatusOr<DeviceName> ParseDeviceName(absl::string_view text);

// The file's text, as JSON when `path` ends with ".json", else as YAML. InvalidArgument saying what breaks the
// specification: an unknown version or field, a feature that is younger than the version, names outside of the
// permitted letters, a device twice or without edits, edits that are incomplete.
absl::StatusOr<Spec> ParseSpec(absl::string_view path, absl::string_view text);

}  // namespace berth::cdi
