#include "cli/pod/pod_runner.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "cli/logs/print_log.h"
#include "cli/manifest/cri_messages.h"
#include "cli/pod/volumes.h"
#include "cli/text/table.h"
#include "runtime/base/id.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

// Random, in the form of a version 4 UUID.
std::string NewUid() {
  std::string hex = RandomHexId().substr(0, 32);
  hex[12] = '4';
  hex[16] = "89ab"[hex[16] % 4];
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-", hex.substr(16, 4), "-",
                      hex.substr(20));
}

manifest::HostFacts LookUpHost(const RunnerHooks& hooks) {
  manifest::HostFacts host;
  host.uid = NewUid();
  host.log_root = hooks.log_root;
  host.volume_root = hooks.volume_root;
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  host.node_name = name;
  host.resolv_conf = sys::ReadFile("/etc/resolv.conf").value_or("");
  host.memory_capacity = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return host;
}

// The end of a failed container's log, for the error message.
std::string LastLines(const std::string& log) {
  std::ostringstream text;
  LogOptions options;
  options.tail = 5;
  if (!PrintLogs({{log, "", "", nullptr}}, options, text, text).ok() || text.str().empty()) return "";
  return absl::StrCat("\n", Printable(text.str(), /*keep_newlines=*/true));
}

}  // namespace

template <typename F>
auto PodRunner::Timed(std::string step, F work) -> decltype(work()) {
  absl::Time start = absl::Now();
  auto result = work();
  times_.push_back({std::move(step), absl::Now() - start});
  return result;
}

absl::Status PodRunner::CheckName(const manifest::Pod& pod) {
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client_->ListPods());
  for (const PodInfo& other : pods) {
    if (!other.ready || other.name != pod.name || other.ns != pod.ns) continue;
    std::string word = pod.ns == "default" ? pod.name : absl::StrCat(pod.ns, "/", pod.name);
    return absl::AlreadyExistsError(
        absl::StrCat("already exists (", other.id.substr(0, 12), "): remove it with berth rm -f ", word));
  }
  return absl::OkStatus();
}

absl::StatusOr<manifest::ContainerFacts> PodRunner::PrepareImage(const manifest::Pod& pod,
                                                                 const manifest::Container& container) {
  const std::string& image = container.image;
  ASSIGN_OR_RETURN(auto found, client_->FindImage(image), "image ", image);
  if (!found && container.pull_policy == "Never") {
    return absl::NotFoundError(absl::StrCat("image ", image, ": not found: not here, and imagePullPolicy is Never"));
  }
  manifest::ContainerFacts facts;
  if (!found || container.pull_policy == "Always") {
    ASSIGN_OR_RETURN(facts.image_id, hooks_.pull(image), "pull ", image);
    ASSIGN_OR_RETURN(found, client_->FindImage(facts.image_id), "image ", image);
    if (!found) return absl::NotFoundError(absl::StrCat("image ", image, ": not found after it was pulled"));
  }
  facts.image_id = found->id;
  facts.image_uid = found->uid;
  facts.image_username = found->username;
  RETURN_IF_ERROR(manifest::CheckNonRoot(pod, container, facts));
  return facts;
}

// By uid and not by id: a call that timed out has no id to give, but the daemon may have made the
// pod all the same.
absl::Status PodRunner::RemoveByUid(const std::string& uid) {
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client_->ListPods(), "list pods");
  for (const PodInfo& pod : pods) {
    if (pod.uid != uid) continue;
    RETURN_IF_ERROR(client_->StopPod(pod.id), "stop pod");
    RETURN_IF_ERROR(client_->RemovePod(pod.id), "remove pod");
  }
  return absl::OkStatus();
}

absl::Status PodRunner::WaitForInit(const manifest::Pod& pod, const manifest::Container& container,
                                    const std::string& id, const std::string& log) {
  absl::Duration pause = absl::Milliseconds(2);
  for (;;) {
    ASSIGN_OR_RETURN(ContainerDetails details, client_->ContainerStatus(id));
    if (details.state == ContainerState::kExited || details.state == ContainerState::kUnknown) {
      if (details.state == ContainerState::kExited && details.exit_code == 0) return absl::OkStatus();
      return absl::AbortedError(absl::StrCat("init container ", container.name, " of pod ", pod.name,
                                             " failed with exit code ", details.exit_code, " (", details.reason, ")",
                                             LastLines(log)));
    }
    absl::SleepFor(pause);
    pause = std::min(pause * 2, absl::Milliseconds(200));
  }
}

absl::Status PodRunner::MakeDirectories(const manifest::Pod& pod, const manifest::HostFacts& host,
                                        std::vector<Planned>& plan) {
  undo_.push_back([path = manifest::VolumeDirectory(host)] { return RemoveDirectory(path); });
  ASSIGN_OR_RETURN(auto volumes, MakeVolumes(pod, host));
  for (Planned& p : plan) {
    ASSIGN_OR_RETURN(p.facts.mount_sources, MountSources(*p.container, volumes), "container ", p.container->name);
  }
  std::string logs = manifest::LogDirectory(pod, host);
  undo_.push_back([logs] { return RemoveDirectory(logs); });
  for (const Planned& p : plan) {
    RETURN_IF_ERROR(sys::MakeDirs(absl::StrCat(logs, "/", p.container->name), 0755), "log directory");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> PodRunner::StartContainer(const manifest::Pod& pod, const manifest::HostFacts& host,
                                                      const std::string& pod_id, const Planned& planned) {
  const std::string& name = planned.container->name;
  auto message = manifest::ContainerMessage(pod, *planned.container, planned.init, host, planned.facts);
  ASSIGN_OR_RETURN(
      std::string id,
      Timed(absl::StrCat("create ", name),
            [&] { return client_->CreateContainer(pod_id, message, manifest::SandboxMessage(pod, host)); }),
      "create container ", name);
  RETURN_IF_ERROR(Timed(absl::StrCat("start ", name), [&] { return client_->StartContainer(id); }), "start container ",
                  name);
  if (!planned.init) return id;
  std::string log = absl::StrCat(manifest::LogDirectory(pod, host), "/", message.log_path());
  RETURN_IF_ERROR(Timed(absl::StrCat("run ", name), [&] { return WaitForInit(pod, *planned.container, id, log); }));
  return id;
}

absl::Status PodRunner::Run(const manifest::Pod& pod) {
  RETURN_IF_ERROR(CheckName(pod));
  manifest::HostFacts host = LookUpHost(hooks_);
  std::vector<Planned> plan;
  for (const auto& c : pod.init_containers) plan.push_back({&c, true, {}});
  for (const auto& c : pod.containers) plan.push_back({&c, false, {}});
  for (Planned& p : plan) {
    ASSIGN_OR_RETURN(
        p.facts, Timed(absl::StrCat("image ", p.container->image), [&] { return PrepareImage(pod, *p.container); }));
  }
  RETURN_IF_ERROR(Timed("directories", [&] { return MakeDirectories(pod, host, plan); }));

  RunningPod running{pod.name, pod.ns, "", host.uid, {}, {}};
  undo_.push_back([this, uid = host.uid] { return RemoveByUid(uid); });
  ASSIGN_OR_RETURN(running.id, Timed("pod sandbox", [&] {
                     return client_->RunPod(manifest::SandboxMessage(pod, host), pod.runtime_handler);
                   }));
  ASSIGN_OR_RETURN(running.ips, client_->PodIps(running.id), "pod status");
  for (Planned& p : plan) {
    p.facts.pod_ips = running.ips;
    ASSIGN_OR_RETURN(std::string id, StartContainer(pod, host, running.id, p));
    if (!p.init) running.containers.emplace_back(p.container->name, id);
  }
  pods_.push_back(std::move(running));
  return absl::OkStatus();
}

std::vector<absl::Status> PodRunner::Undo() {
  std::vector<absl::Status> errors;
  for (; !undo_.empty(); undo_.pop_back()) {
    absl::Status status = undo_.back()();
    if (!status.ok()) errors.push_back(std::move(status));
  }
  pods_.clear();
  return errors;
}

}  // namespace berth::cli
