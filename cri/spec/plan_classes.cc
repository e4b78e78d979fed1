// The classes that annotations name: block I/O and resctrl (Intel RDT, AMD QoS).
#include <fcntl.h>

#include "absl/strings/match.h"
#include "cri/spec/annotations.h"
#include "cri/spec/launch_plan.h"
#include "runtime/sys/file.h"

namespace berth::spec {

absl::StatusOr<std::optional<cgroup::BlockIo>> LaunchPlanner::BlockIoOf(const LaunchInput& input) const {
  const ClassRequest request = ClassOf("blockio", input.container.spec(), input.pod.spec());
  if (request.name.empty()) return std::nullopt;
  const std::string source = absl::StrCat("annotation ", request.annotation);
  if (!options_.block_io) {
    return absl::FailedPreconditionError(absl::StrCat(source, ": blockio_config_file is not configured"));
  }
  auto found = options_.block_io->find(request.name);
  if (found == options_.block_io->end()) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": there is no class '", request.name, "'"));
  }
  return ResolveBlockIo(found->second, FindBlockDevices);
}

absl::Status LaunchPlanner::AddRdtClass(const LaunchInput& input, const cdi::Edits& edits, Launch& out) {
  ClassRequest request = ClassOf("rdt", input.container.spec(), input.pod.spec());
  std::string source = absl::StrCat("annotation ", request.annotation);
  if (request.name.empty()) {
    request.name = edits.rdt_class;
    source = "CDI_devices: intelRdt.closID";
  }
  out.rdt_class = request.name;
  ASSIGN_OR_RETURN(const int fd, AddRdtTasks(request.name, out.fds), source);
  out.plan.mutable_process()->set_rdt_tasks_fd(fd);
  return absl::OkStatus();
}

absl::StatusOr<int> LaunchPlanner::AddRdtTasks(const std::string& name, PlanFds& fds) const {
  if (name.empty()) return -1;
  if (name == "." || name == ".." || name.size() > 255 || (name != "/" && absl::StrContains(name, '/')) ||
      absl::StrContains(name, '\n') || absl::StrContains(name, '\0')) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is not the name of a class"));
  }
  const std::string& root = options_.resctrl_root;
  const auto missing = [&] {
    return absl::FailedPreconditionError(absl::StrCat("there is no class '", name, "' in '", root, "'"));
  };
  auto dir = sys::Open(root, O_PATH | O_DIRECTORY);
  if (!dir.ok()) return missing();
  // "/" is the class that everything is in which is in no other.
  auto tasks = sys::OpenBeneath(dir->get(), name == "/" ? "tasks" : absl::StrCat(name, "/tasks"), O_WRONLY | O_APPEND);
  if (ErrnoOf(tasks.status()) == ENOENT || ErrnoOf(tasks.status()) == ENOTDIR) return missing();
  RETURN_IF_ERROR(tasks);
  return fds.Own(*std::move(tasks));
}

}  // namespace berth::spec
