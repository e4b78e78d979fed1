#include "tests/bench/workload.h"

#include "absl/strings/str_cat.h"
#include "runtime/base/id.h"
#include "tests/bench/standard_paths.h"

namespace berth::bench {
namespace {

// What a kubelet gives every container of a pod without requests and limits.
constexpr int kBestEffortShares = 2;
constexpr int kBestEffortOomScore = 1000;

void SetNamespaces(v1::NamespaceOption* options) {
  options->set_network(v1::POD);
  options->set_pid(v1::CONTAINER);
  options->set_ipc(v1::POD);
}

}  // namespace

v1::PodSandboxConfig PodConfig(const Workload& workload) {
  std::string uid = RandomHexId().substr(0, 32);
  v1::PodSandboxConfig config;
  config.mutable_metadata()->set_name(absl::StrCat("bench-", uid.substr(0, 12)));
  config.mutable_metadata()->set_uid(uid);
  config.mutable_metadata()->set_namespace_("bench");
  config.set_hostname(config.metadata().name());
  config.set_log_directory(absl::StrCat(workload.log_directory, "/", config.metadata().name()));
  config.mutable_dns_config()->add_servers("10.96.0.10");
  config.mutable_dns_config()->add_searches("bench.svc.cluster.local");
  config.mutable_dns_config()->add_options("ndots:5");
  (*config.mutable_labels())[kRunLabel] = workload.run_id;
  config.mutable_linux()->set_cgroup_parent(workload.cgroup_parent);
  v1::LinuxSandboxSecurityContext* security = config.mutable_linux()->mutable_security_context();
  SetNamespaces(security->mutable_namespace_options());
  security->mutable_seccomp()->set_profile_type(v1::SecurityProfile::RuntimeDefault);
  return config;
}

v1::ContainerConfig ContainerConfig(const Workload& workload) {
  v1::ContainerConfig config;
  config.mutable_metadata()->set_name("sleep");
  config.mutable_image()->set_image(workload.image);
  config.add_command("sleep");
  config.add_args("86400");
  config.set_log_path("sleep/0.log");
  (*config.mutable_labels())[kRunLabel] = workload.run_id;
  v1::LinuxContainerResources* resources = config.mutable_linux()->mutable_resources();
  resources->set_cpu_shares(kBestEffortShares);
  resources->set_oom_score_adj(kBestEffortOomScore);
  v1::LinuxContainerSecurityContext* security = config.mutable_linux()->mutable_security_context();
  SetNamespaces(security->mutable_namespace_options());
  security->mutable_seccomp()->set_profile_type(v1::SecurityProfile::RuntimeDefault);
  for (const char* path : kMaskedPaths) security->add_masked_paths(path);
  for (const char* path : kReadOnlyPaths) security->add_readonly_paths(path);
  return config;
}

}  // namespace berth::bench
