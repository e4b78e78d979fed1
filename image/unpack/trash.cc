#include "image/unpack/trash.h"

#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <cstdio>

#include "runtime/base/id.h"
#include "runtime/sys/file.h"

namespace berth::image {

absl::StatusOr<std::unique_ptr<Trash>> Trash::Open(absl::string_view path) {
  RETURN_IF_ERROR(sys::MakeDirs(path, 0700));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::unique_ptr<Trash> trash(new Trash(std::move(dir)));
  trash->thread_ = std::thread(&Trash::Run, trash.get());
  return trash;
}

Trash::~Trash() {
  stop_ = true;
  {
    absl::MutexLock lock(&mu_);
    work_ = true;
  }
  thread_.join();
}

absl::Status Trash::Take(int dir, const std::string& name) {
  if (renameat(dir, name.c_str(), dir_.get(), RandomHexId().c_str()) != 0) {
    return errno == ENOENT ? absl::OkStatus()
                           : ErrnoError(errno, absl::StrCat("rename of '", name, "' into the trash"));
  }
  absl::MutexLock lock(&mu_);
  work_ = true;
  return absl::OkStatus();
}

absl::Status Trash::TakeAll(int dir) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir));
  for (const std::string& name : names) RETURN_IF_ERROR(Take(dir, name));
  return absl::OkStatus();
}

void Trash::Run() {
  sched_param idle = {};
  sched_setscheduler(0, SCHED_IDLE, &idle);  // of this thread; a machine that refuses has it at normal priority
  for (;;) {
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&work_));
      work_ = false;
    }
    if (stop_) return;
    auto names = sys::ListDir(dir_.get());
    if (!names.ok()) continue;
    // What cannot be removed now is tried again with the next thing that comes, or at the next start.
    for (const std::string& name : *names) sys::RemoveTreeAt(dir_.get(), name, &stop_).IgnoreError();
  }
}

}  // namespace berth::image
