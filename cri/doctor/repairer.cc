#include "cri/doctor/repairer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <set>

#include "cri/daemon/parts.h"
#include "cri/doctor/records.h"
#include "cri/doctor/world.h"
#include "cri/network/network.h"
#include "cri/pod/records.h"
#include "cri/state/inspect.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"
#include "runtime/sys/pidfd.h"

namespace berth::doctor {
namespace {

constexpr int kEndOfShimMs = 10000;

absl::Status RemoveFile(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno == EISDIR) return sys::RemoveTreeAt(AT_FDCWD, path);
  return ErrnoError(errno, absl::StrCat("unlink '", path, "'"));
}

absl::Status TakeModeAway(const std::string& path, mode_t bits) {
  auto file = sys::Open(path, O_PATH | O_NOFOLLOW);
  if (ErrnoOf(file.status()) == ENOENT) return absl::OkStatus();
  RETURN_IF_ERROR(file);
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(file->get(), path));
  if (chmod(absl::StrCat("/proc/self/fd/", file->get()).c_str(), st.st_mode & 07777 & ~bits) != 0) {
    return ErrnoError(errno, absl::StrCat("chmod '", path, "'"));
  }
  return absl::OkStatus();
}

}  // namespace

Repairer::Repairer(const daemon::Config& config, std::unique_ptr<cgroup::Hierarchy> cgroups, cgroup::Driver driver)
    : config_(config), cgroups_(std::move(cgroups)), pod_cgroups_(*cgroups_, driver, "") {}

absl::StatusOr<std::unique_ptr<Repairer>> Repairer::Open(const daemon::Config& config) {
  ASSIGN_OR_RETURN(auto cgroups, cgroup::Hierarchy::Probe(), "cgroups");
  ASSIGN_OR_RETURN(cgroup::Driver driver, cgroup::ChooseDriver(config.cgroup_driver, *cgroups), "cgroup_driver");
  return std::unique_ptr<Repairer>(new Repairer(config, std::move(cgroups), driver));
}

// What the records say before any of them is set aside: one that cannot be read has a pod, too.
absl::Status Repairer::CollectNetwork() {
  ASSIGN_OR_RETURN(state::Inspection db, state::InspectStateDb(config_.root + "/state.db", false));
  const Records records = ParseRecords(db);
  if (!records.complete) return absl::FailedPreconditionError("not all records can be read");
  std::set<PodId> alive;
  for (const state::RawRecord& row : db.records) alive.insert(PodId(row.id));  // containers' do no harm
  ASSIGN_OR_RETURN(auto network, daemon::MakeNetwork(config_), "network");
  return network->CollectGarbage([&] { return alive; });
}

absl::StatusOr<image::Store*> Repairer::Images() {
  if (!images_) {
    ASSIGN_OR_RETURN(images_, image::Store::Open(daemon::ImageOptionsOf(config_)), "images");
  }
  return images_.get();
}

absl::StatusOr<state::StateStore*> Repairer::State() {
  if (!state_) {
    ASSIGN_OR_RETURN(state_, state::OpenSqliteStateStore(config_.root + "/state.db"));
  }
  return state_.get();
}

// Its containers first, each by its cgroup, and then the shim, which has nothing left to tell then.
absl::Status Repairer::EndShim(const std::string& pod) {
  for (const Shim& shim : FindShims(config_.state)) {
    if (shim.pod != pod) continue;
    ASSIGN_OR_RETURN(sys::UniqueFd pidfd, sys::OpenPidfd(shim.pid));
    for (const std::string& path : shim.cgroups) {
      if (IdOfCgroup(path) != pod) RETURN_IF_ERROR(cgroups_->Kill(path));
    }
    absl::Status killed = sys::SignalPidfd(pidfd.get(), SIGKILL);
    if (!absl::IsNotFound(killed)) RETURN_IF_ERROR(killed);
    if (!sys::WaitPidfdExited(pidfd.get(), kEndOfShimMs)) {
      return absl::DeadlineExceededError(absl::StrCat("shim ", shim.pid, " does not end after SIGKILL"));
    }
  }
  return absl::OkStatus();
}

absl::Status Repairer::Do(const Step& step) {
  const std::string& subject = step.subject;
  switch (step.act) {
    case Act::kEndShim:
      return EndShim(subject);
    case Act::kKillCgroup:
      return cgroups_->Kill(subject);
    case Act::kCollectNetwork:
      return CollectNetwork();
    case Act::kUnmount:
      return sys::UnmountPath(subject);
    case Act::kRemoveTree:
      return sys::RemoveTreeAt(AT_FDCWD, subject);
    case Act::kRemoveFile:
      return RemoveFile(subject);
    case Act::kRemoveCgroup:
      return pod_cgroups_.Remove(subject);
    case Act::kRemoveSnapshot: {
      ASSIGN_OR_RETURN(image::Store * images, Images());
      return images->RemoveSnapshot(ContainerId(subject));
    }
    case Act::kHealState: {
      ASSIGN_OR_RETURN(state::StateStore * state, State());
      return pod::ReadRecords(*state).status();
    }
    case Act::kCloseToWriters:
      return TakeModeAway(subject, 0022);
    case Act::kCloseToOthers:
      return TakeModeAway(subject, 0077);
  }
  return absl::InternalError("a step that is none");
}

}  // namespace berth::doctor
