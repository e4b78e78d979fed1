// The files that a pod's containers share: hostname, hosts, resolv.conf and /dev/shm. They live in the pod's
// directory under the daemon's state directory and are mounted into each container.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::pod {

// The content of resolv.conf(5): the pod's DNS config, or `host_resolv_conf` when it has none.
std::string FormatResolvConf(const state::v1::PodSpec& spec, absl::string_view host_resolv_conf);

// The content of hosts(5): localhost and the pod's own addresses, or `host_hosts` with the host's network.
std::string FormatHosts(const state::v1::PodSpec& spec, absl::string_view hostname, const std::vector<std::string>& ips,
                        absl::string_view host_hosts);

// spec.hostname, or what stands in for it: the host's name with the host's network, else the pod's name.
std::string HostnameOf(const state::v1::PodSpec& spec, absl::string_view host_name);

// Writes hostname, hosts and resolv.conf into `dir` (which exists). Root of the pod owns them.
absl::Status WriteSandboxFiles(const std::string& dir, const state::v1::PodSpec& spec,
                               const std::vector<std::string>& ips);

// Mounts a tmpfs of `size` bytes at DIR/shm, for a pod that does not use the host's IPC and whose root owns it; `label`
// is the SELinux context of its files, empty = none. Undone by UnmountShm, which is OK when nothing is mounted.
absl::Status MountShm(const std::string& dir, uint64_t size, const state::v1::PodSpec& spec,
                      const std::string& label = "");
absl::Status UnmountShm(const std::string& dir);

// Binds the network namespace `netns` to the file `path`, where CNI plugins find it. Undone by UnpinNetns (idempotent,
// whatever was made of the path since: no mount any more, several, a directory).
absl::Status PinNetns(int netns, const std::string& path);
absl::Status UnpinNetns(const std::string& path);

}  // namespace berth::pod
