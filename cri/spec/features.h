// What this kernel lets containers have, found out by trying. The answers are what Status advertises.
#pragma once

namespace berth::spec {

struct Features {
  bool recursive_read_only = false;           // Mount.recursive_read_only
  bool mount_options = false;                 // Mount.mount_options
  bool user_namespaces = false;               // pods with their own, and id-mapped mounts
  bool user_namespaces_host_network = false;  // together with the host's network
};

// Once at start. Blocking; leaves nothing behind. What cannot be tried is not there.
Features ProbeFeatures();

}  // namespace berth::spec
