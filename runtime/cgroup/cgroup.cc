#include "runtime/cgroup/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>

#include "runtime/cgroup/hierarchies.h"
#include "runtime/sys/file.h"

namespace berth::cgroup {

void Cgroup::AddTo(std::vector<int>* fds, shim::v1::CgroupJoin* join) const {
  const auto add = [&](const sys::UniqueFd& fd) {
    if (!fd.valid()) return -1;
    fds->push_back(fd.get());
    return static_cast<int>(fds->size()) - 1;
  };
  join->Clear();
  join->set_v2_dir_fd(add(fds_.v2_dir));
  for (const sys::UniqueFd& tasks : fds_.v1_tasks) join->add_v1_tasks_fds(add(tasks));
  join->set_oom_fd(add(fds_.oom));
  join->set_kill_fd(add(fds_.kill));
  join->set_v1_procs_fd(add(fds_.v1_procs));
  join->set_v1_freezer_fd(add(fds_.v1_freezer));
  join->set_v1_dir_fd(add(fds_.v1_dir));
}

absl::Status CheckMemory(const Limits& limits, const Stats& stats) {
  if (!limits.memory || *limits.memory < 0 || static_cast<uint64_t>(*limits.memory) >= stats.memory_working_set) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("memory_limit_in_bytes: ", *limits.memory, " is below the ",
                                                    stats.memory_working_set, " bytes in use"));
}

absl::StatusOr<std::unique_ptr<Hierarchy>> Hierarchy::OpenV2(absl::string_view root) {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(root, O_RDONLY | O_DIRECTORY));
  struct statfs fs;
  if (fstatfs(dir.get(), &fs) != 0 || fs.f_type != CGROUP2_SUPER_MAGIC) {
    return absl::UnavailableError(absl::StrCat("'", root, "' is not cgroup v2"));
  }
  return MakeV2(std::move(dir));
}

absl::StatusOr<std::unique_ptr<Hierarchy>> Hierarchy::Probe(absl::string_view root) {
  if (auto v2 = OpenV2(root); v2.ok()) return v2;
  ASSIGN_OR_RETURN(std::vector<V1Tree> trees, FindV1Trees(root));
  if (trees.empty()) return absl::UnavailableError(absl::StrCat("no cgroups are mounted at '", root, "'"));
  return MakeV1(std::move(trees));
}

}  // namespace berth::cgroup
