// What this kernel lets containers have, found out by trying. The answers are what Status advertises.
#pragma once

#include <string>

#include "image/store.h"

namespace berth::spec {

struct Features {
  bool recursive_read_only = false;           // Mount.recursive_read_only
  bool mount_options = false;                 // Mount.mount_options
  bool user_namespaces = false;               // pods with their own, and id-mapped mounts
  bool user_namespaces_host_network = false;  // together with the host's network
  std::string why_no_user_namespaces;         // for who asks for one all the same
};

// Once at start. Blocking; leaves nothing behind. What cannot be tried is not there.
Features ProbeFeatures(image::Store& images);
// Without a store: what it takes for user namespaces is told only as far as the kernel goes.
Features ProbeKernelFeatures();

}  // namespace berth::spec
