#include "cri/spec/launch_plan.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "absl/strings/match.h"
#include "cri/spec/process.h"
#include "runtime/rootfs/bind.h"
#include "runtime/rootfs/plan.h"
#include "runtime/security/capabilities.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

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

rootfs::Propagation PropagationOf(state::v1::Mount::Propagation p) {
  switch (p) {
    case state::v1::Mount::HOST_TO_CONTAINER:
      return rootfs::Propagation::kHostToContainer;
    case state::v1::Mount::BIDIRECTIONAL:
      return rootfs::Propagation::kBidirectional;
    default:
      return rootfs::Propagation::kPrivate;
  }
}

absl::StatusOr<rootfs::Bind> OpenVolume(const state::v1::Mount& m) {
  rootfs::BindRequest request{m.host_path(), m.readonly(), m.recursive_readonly(), PropagationOf(m.propagation())};
  auto bind = rootfs::OpenBind(request);
  if (!absl::IsNotFound(bind.status())) return bind;
  // A host path that is missing is made as a directory: what Docker began, kubelets and their users rely on.
  RETURN_IF_ERROR(sys::MakeDirs(m.host_path(), 0755));
  return rootfs::OpenBind(request);
}

bool Mounts(const ContainerSpec& spec, absl::string_view path) {
  for (const auto& m : spec.mounts()) {
    if (m.container_path() == path) return true;
  }
  return false;
}

// hosts, hostname and resolv.conf of the pod, unless the request brings its own.
absl::Status AddSandboxFiles(const LaunchInput& input, PlanFds& fds, std::vector<rootfs::Attachment>& out) {
  const ContainerSpec& spec = input.container.spec();
  for (const char* name : {"hosts", "hostname", "resolv.conf"}) {
    std::string target = absl::StrCat("/etc/", name);
    if (Mounts(spec, target)) continue;
    rootfs::BindRequest request{absl::StrCat(input.pod_dir, "/", name), spec.security().readonly_rootfs(), false,
                                rootfs::Propagation::kPrivate};
    ASSIGN_OR_RETURN(rootfs::Bind bind, rootfs::OpenBind(request));
    out.push_back({target, fds.Own(std::move(bind.mount)), bind.file});
  }
  return absl::OkStatus();
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
                                                                     security::SeccompCache& seccomp) {
  ASSIGN_OR_RETURN(rootfs::DeviceNodes devices, rootfs::DeviceNodes::Open());
  ASSIGN_OR_RETURN(uint64_t available, security::AvailableCapabilities());
  return std::unique_ptr<LaunchPlanner>(new LaunchPlanner(cgroups, seccomp, std::move(devices), available));
}

absl::StatusOr<Launch> LaunchPlanner::Plan(LaunchInput input) {
  const ContainerSpec& spec = input.container.spec();
  const Security& security = spec.security();
  Launch out;
  shim::v1::ContainerPlan& plan = out.plan;
  plan.set_container_id(input.container.id());
  plan.set_network(shim::v1::NAMESPACE_POD);
  plan.set_ipc(shim::v1::NAMESPACE_POD);
  plan.set_uts(shim::v1::NAMESPACE_POD);
  plan.set_pid(PidNamespace(security.namespaces().pid()));
  plan.set_cgroup_ns(security.privileged() ? shim::v1::NAMESPACE_HOST : shim::v1::NAMESPACE_NEW);
  plan.set_pid_ns_fd(input.target_pid_ns ? out.fds.Own(std::move(input.target_pid_ns)) : -1);
  plan.set_stdin(spec.stdin());
  plan.set_stdin_once(spec.stdin_once());

  RETURN_IF_ERROR(AddProcess(input, out));
  std::vector<cgroup::DeviceRule> rules;
  RETURN_IF_ERROR(AddDevices(input, out, rules));
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

absl::Status LaunchPlanner::AddProcess(const LaunchInput& input, Launch& out) {
  const ContainerSpec& spec = input.container.spec();
  const Security& s = spec.security();
  shim::v1::Process& process = *out.plan.mutable_process();

  security::UserRequest request;
  request.image_user = input.image.user;
  if (s.has_run_as_user()) request.run_as_user = s.run_as_user();
  if (s.has_run_as_group()) request.run_as_group = s.run_as_group();
  request.run_as_username = s.run_as_username();
  request.supplemental_groups = {s.supplemental_groups().begin(), s.supplemental_groups().end()};
  request.strict_groups = s.strict_groups();
  ASSIGN_OR_RETURN(security::UserFiles files, security::ReadUserFiles(input.rootfs.get()), "image");
  ASSIGN_OR_RETURN(out.user, security::ResolveUser(request, files));
  process.set_uid(out.user.uid);
  process.set_gid(out.user.gid);
  for (uint32_t g : out.user.groups) process.add_groups(g);

  ASSIGN_OR_RETURN(std::vector<std::string> argv, MergeCommand(spec, input.image));
  for (std::string& a : argv) process.add_argv(std::move(a));
  // HOSTNAME as the pod's hostname file says, without asking the kernel of another namespace.
  auto hostname = sys::ReadFile(input.pod_dir + "/hostname");
  std::string host = hostname.ok() ? hostname->substr(0, hostname->find('\n')) : "";
  for (std::string& e : MergeEnv(spec, input.image, host, out.user.home)) process.add_env(std::move(e));
  process.set_cwd(WorkingDir(spec, input.image));

  security::CapabilityRequest caps;
  caps.privileged = s.privileged();
  caps.add = {s.add_capabilities().begin(), s.add_capabilities().end()};
  caps.drop = {s.drop_capabilities().begin(), s.drop_capabilities().end()};
  caps.add_ambient = {s.add_ambient_capabilities().begin(), s.add_ambient_capabilities().end()};
  ASSIGN_OR_RETURN(security::CapabilitySets sets, security::ResolveCapabilities(caps, available_caps_), "capabilities");
  process.set_cap_bounding(sets.bounding);
  process.set_cap_permitted(sets.permitted);
  process.set_cap_effective(sets.effective);
  process.set_cap_inheritable(sets.inheritable);
  process.set_cap_ambient(sets.ambient);
  process.set_no_new_privs(s.no_new_privs());
  ASSIGN_OR_RETURN(int program, AddSeccomp(s, sets.bounding, out.fds));
  process.set_seccomp_fd(program);
  process.set_seccomp_flags(security::kSeccompFlags);
  process.set_tty(spec.tty());
  process.set_umask(022);
  process.set_oom_score_adj(static_cast<int32_t>(spec.resources().oom_score_adj()));
  process.set_new_session(true);

  ASSIGN_OR_RETURN(out.stop_signal,
                   ParseSignal(spec.stop_signal().empty() ? input.image.stop_signal : spec.stop_signal()));
  out.plan.set_stop_signal(static_cast<uint32_t>(out.stop_signal));
  return absl::OkStatus();
}

absl::StatusOr<int> LaunchPlanner::AddSeccomp(const Security& s, uint64_t caps, PlanFds& fds) {
  if (s.privileged() || s.seccomp().kind() == state::v1::SeccompProfile::UNCONFINED) return -1;
  auto program = s.seccomp().kind() == state::v1::SeccompProfile::LOCALHOST
                     ? seccomp_.Localhost(s.seccomp().path(), caps)
                     : seccomp_.RuntimeDefault(caps);
  RETURN_IF_ERROR(program, "seccomp");
  int index = fds.Borrow((*program)->get());
  fds.Keep(*std::move(program));
  return index;
}

absl::Status LaunchPlanner::AddMounts(const LaunchInput& input, Launch& out) {
  const ContainerSpec& spec = input.container.spec();
  rootfs::MountPlanInput mounts;
  mounts.privileged = spec.security().privileged();
  mounts.cgroup_v2 = cgroups_.version() == cgroup::Version::kV2;
  ASSIGN_OR_RETURN(auto hierarchies, cgroups_.Mounts(input.container.cgroup_path(), mounts.privileged));
  for (auto& h : hierarchies) mounts.cgroup_v1.push_back({h.name, out.fds.Own(std::move(h.mount)), false});

  bool host_ipc = input.pod.spec().namespaces().ipc() == state::v1::NODE;
  std::string shm_path = host_ipc ? "/dev/shm" : input.pod_dir + "/shm";
  ASSIGN_OR_RETURN(sys::UniqueFd shm, sys::CloneTree(AT_FDCWD, shm_path, false));
  mounts.shm_fd = out.fds.Own(std::move(shm));

  RETURN_IF_ERROR(AddSandboxFiles(input, out.fds, mounts.volumes));
  for (const auto& m : spec.mounts()) {
    ASSIGN_OR_RETURN(rootfs::Bind bind, OpenVolume(m), "mounts.host_path");
    mounts.volumes.push_back({m.container_path(), out.fds.Own(std::move(bind.mount)), bind.file});
  }
  ASSIGN_OR_RETURN(auto steps, rootfs::PlanMounts(mounts), "mounts.container_path");
  for (auto& step : steps) *out.plan.add_mounts() = std::move(step);
  return absl::OkStatus();
}

absl::Status LaunchPlanner::AddDevices(const LaunchInput& input, Launch& out, std::vector<cgroup::DeviceRule>& rules) {
  const ContainerSpec& spec = input.container.spec();
  auto add = [&](std::vector<rootfs::HostDevice> devices, const std::string& access) {
    for (rootfs::HostDevice& d : devices) {
      shim::v1::DeviceNode& node = *out.plan.add_devices();
      node.set_path(d.path);
      node.set_fd(out.fds.Own(std::move(d.mount)));
      if (!access.empty()) rules.push_back({d.type, d.major, d.minor, access});
    }
  };
  bool privileged = spec.security().privileged();
  rules = privileged ? cgroup::AllDeviceRules() : cgroup::DefaultDeviceRules();
  ASSIGN_OR_RETURN(auto defaults, devices_.Clone());
  add(std::move(defaults), "");
  if (privileged) {
    ASSIGN_OR_RETURN(auto all, rootfs::OpenAllHostDevices());
    add(std::move(all), "");
  }
  for (const auto& d : spec.devices()) {
    ASSIGN_OR_RETURN(auto devices, rootfs::OpenHostDevices(d.host_path(), d.container_path()), "devices.host_path");
    add(std::move(devices), d.permissions().empty() ? "rwm" : d.permissions());
  }
  return absl::OkStatus();
}

absl::StatusOr<cgroup::Limits> LaunchPlanner::LimitsOf(const state::v1::Resources& r) {
  cgroup::Limits limits;
  if (r.cpu_shares() != 0) limits.cpu_shares = static_cast<uint64_t>(r.cpu_shares());
  if (r.cpu_quota() != 0) limits.cpu_quota = r.cpu_quota();
  if (r.cpu_period() != 0) limits.cpu_period = static_cast<uint64_t>(r.cpu_period());
  limits.cpuset_cpus = r.cpuset_cpus();
  limits.cpuset_mems = r.cpuset_mems();
  if (r.memory_limit() != 0) limits.memory = r.memory_limit();
  if (r.memory_swap_limit() != 0) limits.memory_swap = r.memory_swap_limit();
  for (const auto& h : r.hugepages()) limits.hugepages[h.page_size()] = h.limit();
  limits.unified = {r.unified().begin(), r.unified().end()};
  return limits;
}

absl::Status LaunchPlanner::AddCgroup(const LaunchInput& input, Launch& out, std::vector<cgroup::DeviceRule> rules) {
  ASSIGN_OR_RETURN(cgroup::Limits limits, LimitsOf(input.container.spec().resources()));
  limits.devices = std::move(rules);
  ASSIGN_OR_RETURN(cgroup::Cgroup made, cgroups_.Create(input.container.cgroup_path(), limits), "resources");
  auto cgroup = std::make_shared<cgroup::Cgroup>(std::move(made));
  cgroup->AddTo(&out.fds.Get(), out.plan.mutable_cgroup());
  out.fds.Keep(std::move(cgroup));
  return absl::OkStatus();
}

absl::Status LaunchPlanner::AddLog(const LaunchInput& input, Launch& out) {
  shim::v1::Log& log = *out.plan.mutable_log();
  log.set_dir_fd(-1);
  const std::string& directory = input.pod.spec().log_directory();
  const std::string& path = input.container.spec().log_path();
  if (directory.empty() || path.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(directory, O_RDONLY | O_DIRECTORY), "log_directory");
  if (size_t slash = path.rfind('/'); slash != std::string::npos) {
    RETURN_IF_ERROR(sys::MakeDirsInRoot(dir.get(), path.substr(0, slash), 0755), "log_path");
  }
  log.set_dir_fd(out.fds.Own(std::move(dir)));
  log.set_name(path);
  log.set_append(true);
  return absl::OkStatus();
}

}  // namespace berth::spec
