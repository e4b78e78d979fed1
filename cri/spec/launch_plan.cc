#include "cri/spec/launch_plan.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "runtime/security/capabilities.h"
#include "runtime/sys/file.h"

namespace berth::spec {
namespace {

using state::v1::ContainerSpec;
using state::v1::Security;

shim::v1::Namespace PidNamespace(state::v1::NamespaceMode mode) {
  switch (mode) {
    case state::v1::POD:
      return shim::v1::NAMESPACE_POD;
    case state::v1::NODE:
      return shim::v1::NAMESPACE_HOST;
    case state::v1::TARGET:
      return shim::v1::NAMESPACE_FD;
    default:
      return shim::v1::NAMESPACE_NEW;
  }
}

uint64_t RootfsPropagation(const ContainerSpec& spec) {
  uint64_t propagation = MS_PRIVATE;
  for (const auto& m : spec.mounts()) {
    if (m.propagation() == state::v1::Mount::BIDIRECTIONAL) return MS_SHARED;
    if (m.propagation() == state::v1::Mount::HOST_TO_CONTAINER) propagation = MS_SLAVE;
  }
  return propagation;
}

}  // namespace

int PlanFds::Own(sys::UniqueFd fd) {
  owned_.push_back(std::move(fd));
  return Borrow(owned_.back().get());
}

int PlanFds::Borrow(int fd) {
  fds_.push_back(fd);
  return static_cast<int>(fds_.size()) - 1;
}

absl::StatusOr<std::unique_ptr<LaunchPlanner>> LaunchPlanner::Create(cgroup::Hierarchy& cgroups,
                                                                     security::Confinement& confinement,
                                                                     LaunchOptions options) {
  ASSIGN_OR_RETURN(rootfs::DeviceNodes devices, rootfs::DeviceNodes::Open());
  ASSIGN_OR_RETURN(uint64_t available, security::AvailableCapabilities());
  return std::unique_ptr<LaunchPlanner>(
      new LaunchPlanner(cgroups, confinement, std::move(options), std::move(devices), available));
}

absl::StatusOr<Launch> LaunchPlanner::Plan(LaunchInput input) {
  ASSIGN_OR_RETURN(const cdi::Edits edits, ResolveCdi(input.container->spec()));
  if (edits.empty()) return PlanEdited(std::move(input), edits);
  // The record stays as it was asked for; what the devices add is decided anew for each container.
  state::v1::Container edited = *input.container;
  ApplyCdi(edits, *edited.mutable_spec());
  input.container = &edited;
  ASSIGN_OR_RETURN(input.device_mounts, MountsOf(edits));
  return PlanEdited(std::move(input), edits);
}

absl::StatusOr<Launch> LaunchPlanner::PlanEdited(LaunchInput input, const cdi::Edits& edits) {
  const ContainerSpec& spec = input.container->spec();
  const Security& security = spec.security();
  Launch out;
  shim::v1::ContainerPlan& plan = out.plan;
  plan.set_container_id(input.container->id());
  plan.set_network(shim::v1::NAMESPACE_POD);
  plan.set_ipc(shim::v1::NAMESPACE_POD);
  plan.set_uts(shim::v1::NAMESPACE_POD);
  plan.set_pid(PidNamespace(security.namespaces().pid()));
  // Root of a user namespace may not mount the host's cgroup namespace.
  plan.set_cgroup_ns(security.privileged() && !input.userns ? shim::v1::NAMESPACE_HOST : shim::v1::NAMESPACE_NEW);
  plan.set_pid_ns_fd(input.target_pid_ns ? out.fds.Own(std::move(input.target_pid_ns)) : -1);
  plan.set_stdin(spec.stdin());
  plan.set_stdin_once(spec.stdin_once());

  RETURN_IF_ERROR(AddProcess(input, out));
  RETURN_IF_ERROR(AddRlimits(input, out));
  RETURN_IF_ERROR(AddRdtClass(input, edits, out));
  std::vector<cgroup::DeviceRule> rules;
  RETURN_IF_ERROR(AddDevices(input, edits, out, rules));
  RETURN_IF_ERROR(AddCgroup(input, out, std::move(rules)));
  RETURN_IF_ERROR(AddMounts(input, out));
  RETURN_IF_ERROR(AddLog(input, out));
  plan.set_rootfs_fd(out.fds.Own(std::move(input.rootfs)));
  plan.set_readonly_rootfs(security.readonly_rootfs());
  plan.set_rootfs_propagation(RootfsPropagation(spec));
  if (!security.privileged()) {
    for (const std::string& p : security.masked_paths()) plan.add_masked_paths(p);
    for (const std::string& p : security.readonly_paths()) plan.add_readonly_paths(p);
  }
  return out;
}

absl::Status LaunchPlanner::AddLog(const LaunchInput& input, Launch& out) {
  shim::v1::Log& log = *out.plan.mutable_log();
  log.set_dir_fd(-1);
  const std::string& directory = input.pod.spec().log_directory();
  const std::string& path = input.container->spec().log_path();
  if (directory.empty() || path.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(directory, O_RDONLY | O_DIRECTORY), "log_directory");
  if (size_t slash = path.rfind('/'); slash != std::string::npos) {
    RETURN_IF_ERROR(sys::MakeDirsInRoot(dir.get(), path.substr(0, slash), 0755), "log_path");
  }
  log.set_dir_fd(out.fds.Own(std::move(dir)));
  log.set_name(path);
  log.set_append(true);
  log.set_max_line_bytes(options_.max_log_line);
  return absl::OkStatus();
}

}  // namespace berth::spec
