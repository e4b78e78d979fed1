#include <sys/utsname.h>

#include "cri/service/admin_calls.h"

namespace berth::service {

absl::Status AdminCalls::Info(const pod::CallContext&, const admin::InfoRequest&, admin::InfoResponse& out) {
  out.set_version(info_.version);
  out.set_commit(info_.commit);
  out.add_api_versions("runtime.v1");
  out.add_api_versions("berth.v1");
  out.set_state_dir(info_.state_dir);
  out.set_root_dir(info_.root_dir);
  out.set_network_mode(info_.network == "cni" ? admin::NETWORK_MODE_CNI : admin::NETWORK_MODE_BUILTIN);
  struct utsname kernel = {};
  if (uname(&kernel) == 0) out.set_kernel(kernel.release);
  out.set_cgroup_version(info_.cgroups == cgroup::Version::kV2 ? admin::CGROUP_VERSION_V2 : admin::CGROUP_VERSION_V1);
  return absl::OkStatus();
}

}  // namespace berth::service
