#include "runtime/cgroup/pod_cgroups.h"

#include "absl/strings/match.h"
#include "runtime/cgroup/path.h"
#include "runtime/cgroup/slice.h"
#include "runtime/cgroup/systemd_units.h"

namespace berth::cgroup {
namespace {

// systemd answers within milliseconds; a machine that boots may keep it busy for a while.
constexpr absl::Duration kJobTimeout = absl::Seconds(30);

bool IsScope(absl::string_view pod_path) { return absl::EndsWith(pod_path, ".scope"); }

}  // namespace

absl::StatusOr<Driver> ChooseDriver(absl::string_view name, const Hierarchy& hierarchy) {
  const bool possible = SystemdIsInit() && hierarchy.version() == Version::kV2;
  if (name == "auto") return possible ? Driver::kSystemd : Driver::kCgroupfs;
  if (name == "cgroupfs") return Driver::kCgroupfs;
  if (name != "systemd") return absl::InvalidArgumentError("expected \"auto\", \"cgroupfs\" or \"systemd\"");
  if (possible) return Driver::kSystemd;
  return absl::FailedPreconditionError("\"systemd\" needs systemd as this machine's init, and cgroup v2 alone");
}

absl::string_view DefaultParent(Driver driver) { return driver == Driver::kSystemd ? "berth.slice" : "/berth"; }

absl::StatusOr<std::string> PathOfPod(Driver driver, absl::string_view parent, absl::string_view pod_id) {
  if (driver == Driver::kSystemd) {
    if (absl::StrContains(parent, '/')) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", parent, "' is a path, but the cgroup driver is systemd, whose parents are slices"));
    }
    ASSIGN_OR_RETURN(const std::string path, PathOfSlice(parent));
    return absl::StrCat(path, "/", ScopeOfPod(pod_id));
  }
  if (absl::EndsWith(parent, ".slice") && !absl::StrContains(parent, '/')) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", parent, "' is a systemd slice, but the cgroup driver is cgroupfs"));
  }
  std::string path = absl::StrCat(parent, "/", pod_id);
  if (!SplitPath(path).ok()) return absl::InvalidArgumentError(absl::StrCat("'", parent, "' is not an absolute path"));
  return path;
}

std::string PathOfContainer(absl::string_view pod_path, absl::string_view container_id) {
  if (!IsScope(pod_path)) pod_path = pod_path.substr(0, pod_path.rfind('/'));
  return absl::StrCat(pod_path, "/", container_id);
}

absl::StatusOr<PodCgroups::Unfinished> PodCgroups::Make(const std::string& pod_path) {
  if (!IsScope(pod_path)) {
    ASSIGN_OR_RETURN(Cgroup made, hierarchy_.Create(pod_path, {}));
    return Unfinished{std::move(made), nullptr};
  }
  ASSIGN_OR_RETURN(const Scope scope, ScopeOfPath(pod_path));
  ASSIGN_OR_RETURN(sys::IdleChild child, sys::IdleChild::Start(holder_, {"berth-shim", "hold"}), "holder of the scope");
  auto holder = std::make_unique<sys::IdleChild>(std::move(child));
  RETURN_IF_ERROR(StartScope(scope, holder->pid(), kJobTimeout));
  // Should this fail, the holder ends here, and systemd collects the scope.
  ASSIGN_OR_RETURN(Cgroup shim, hierarchy_.Create(pod_path + "/shim", {}));
  return Unfinished{std::move(shim), std::move(holder)};
}

void PodCgroups::Finish(const std::string& pod_path, Unfinished made) {
  if (!made.holder) return;
  // While a process is in the scope itself, no controller can be enabled for what is beneath.
  made.holder.reset();
  // What cannot be enabled shows, with the reason, when a container needs it.
  hierarchy_.EnableControllers(pod_path).IgnoreError();
}

absl::Status PodCgroups::Remove(const std::string& pod_path) {
  if (!IsScope(pod_path)) return hierarchy_.Remove(pod_path);
  ASSIGN_OR_RETURN(const Scope scope, ScopeOfPath(pod_path));
  // Its last process has ended: systemd has collected it, or is about to. What is stopped in between is waited for.
  absl::Status stopped = StopUnit(scope.unit, kJobTimeout);
  RETURN_IF_ERROR(hierarchy_.Remove(pod_path));
  // A machine that is no longer run by systemd has no units either.
  return absl::IsUnavailable(stopped) ? absl::OkStatus() : stopped;
}

void PodCgroups::RemoveParent(const std::string& parent) {
  if (driver_ == Driver::kCgroupfs) {
    (void)hierarchy_.Remove(parent, absl::ZeroDuration());
    return;
  }
  auto path = PathOfSlice(parent);
  // Not one in which something else lives, or with a slice for something else to live in.
  if (path.ok() && !path->empty() && hierarchy_.IsUnused(*path)) (void)StopUnit(parent, kJobTimeout);
}

}  // namespace berth::cgroup
