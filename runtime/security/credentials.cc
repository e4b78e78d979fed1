#include "runtime/security/credentials.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "runtime/sys/file.h"
#include "runtime/sys/procfs.h"

namespace berth::security {
namespace {

using shim::v1::Process;
using sys::UniqueFd;

constexpr uint64_t kSysAdmin = uint64_t{1} << CAP_SYS_ADMIN;
constexpr int kLastCapability = 63;

// A seccomp program, readable without allocating.
class Filter {
 public:
  Filter() = default;
  // Mapped until exec: what is loaded may refuse munmap.
  ~Filter() = default;
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  absl::Status Map(int fd) {
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(fd, "seccomp program"));
    const auto size = static_cast<size_t>(st.st_size);
    if (size == 0 || size % sizeof(sock_filter) != 0 || size / sizeof(sock_filter) > BPF_MAXINSNS) {
      return absl::InvalidArgumentError(absl::StrCat("seccomp program of ", size, " bytes"));
    }
    void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return ErrnoError(errno, "mmap the seccomp program");
    map_ = map;
    size_ = size;
    return absl::OkStatus();
  }
  absl::Status Load(uint32_t flags, ListenerMailbox* mailbox) const {
    sock_fprog program = {static_cast<unsigned short>(size_ / sizeof(sock_filter)), static_cast<sock_filter*>(map_)};
    if (mailbox != nullptr) flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
    const long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result < 0) return ErrnoError(errno, "seccomp");
    if (mailbox != nullptr) mailbox->Offer(static_cast<int>(result));
    return absl::OkStatus();
  }

 private:
  void* map_ = nullptr;
  size_t size_ = 0;
};

absl::Status SetExecLabel(int procfs, const char* module, const std::string& value) {
  ASSIGN_OR_RETURN(const pid_t self, sys::SelfIn(procfs));
  absl::Status status = sys::WriteProc(procfs, absl::StrCat(self, "/attr/", module, "/exec"), value);
  // FALLBACK(linux<5.8): modules have no directories of their own; the file belongs to the first of them.
  if (ErrnoOf(status) == ENOENT) status = sys::WriteProc(procfs, absl::StrCat(self, "/attr/exec"), value);
  return Annotate(status, absl::StrCat(module, " label"));
}

// Without one of its own, the process would have the keyring of whoever started the daemon.
absl::Status JoinSessionKeyring() {
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) >= 0 || errno == ENOSYS) return absl::OkStatus();
  return ErrnoError(errno, "join a session keyring");
}

absl::Status SetRlimits(const Process& process) {
  for (const shim::v1::Rlimit& limit : process.rlimits()) {
    struct rlimit64 value = {limit.soft(), limit.hard()};
    if (syscall(SYS_prlimit64, 0, limit.resource(), &value, nullptr) != 0) {
      return ErrnoError(errno, absl::StrCat("rlimit ", limit.resource()));
    }
  }
  return absl::OkStatus();
}

absl::Status DropBounding(uint64_t keep) {
  for (int cap = 0; cap <= kLastCapability; ++cap) {
    if (keep >> cap & 1) continue;
    if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0) continue;
    if (errno == EINVAL) return absl::OkStatus();  // past the last one that the kernel knows
    return ErrnoError(errno, absl::StrCat("drop capability ", cap, " from the bounding set"));
  }
  return absl::OkStatus();
}

absl::Status SetIds(const Process& process) {
  const std::vector<gid_t> groups(process.groups().begin(), process.groups().end());
  if (syscall(SYS_setgroups, groups.size(), groups.data()) != 0) return ErrnoError(errno, "setgroups");
  const gid_t gid = process.gid();
  if (syscall(SYS_setresgid, gid, gid, gid) != 0) return ErrnoError(errno, absl::StrCat("setresgid ", gid));
  const uid_t uid = process.uid();
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return ErrnoError(errno, "PR_SET_KEEPCAPS");
  if (syscall(SYS_setresuid, uid, uid, uid) != 0) return ErrnoError(errno, absl::StrCat("setresuid ", uid));
  if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return ErrnoError(errno, "PR_SET_KEEPCAPS");
  return absl::OkStatus();
}

absl::Status SetCapabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (int i = 0; i < 2; ++i) {
    data[i].effective = static_cast<uint32_t>(effective >> (32 * i));
    data[i].permitted = static_cast<uint32_t>(permitted >> (32 * i));
    data[i].inheritable = static_cast<uint32_t>(inheritable >> (32 * i));
  }
  if (syscall(SYS_capset, &header, data) != 0) return ErrnoError(errno, "capset");
  return absl::OkStatus();
}

absl::Status SetAmbient(uint64_t ambient) {
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return ErrnoError(errno, "clear the ambient set");
  for (int cap = 0; cap <= kLastCapability; ++cap) {
    if ((ambient >> cap & 1) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0) {
      return ErrnoError(errno, absl::StrCat("raise ambient capability ", cap));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SetExecLabels(const Process& process, int procfs) {
  if (!process.apparmor_profile().empty()) {
    RETURN_IF_ERROR(SetExecLabel(procfs, "apparmor", absl::StrCat("exec ", process.apparmor_profile())));
  }
  if (!process.selinux_label().empty()) RETURN_IF_ERROR(SetExecLabel(procfs, "selinux", process.selinux_label()));
  return absl::OkStatus();
}

absl::Status ApplyCredentials(const Process& process, absl::Span<const int> fds, ListenerMailbox* mailbox) {
  Filter filter;
  const bool confined = process.seccomp_fd() >= 0;
  if (confined) {
    if (static_cast<size_t>(process.seccomp_fd()) >= fds.size()) {
      return absl::InvalidArgumentError(absl::StrCat("plan: no descriptor ", process.seccomp_fd(), " for seccomp"));
    }
    RETURN_IF_ERROR(filter.Map(fds[static_cast<size_t>(process.seccomp_fd())]));
  }
  int death_signal = 0;
  if (prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0) != 0) return ErrnoError(errno, "PR_GET_PDEATHSIG");
  RETURN_IF_ERROR(JoinSessionKeyring());
  RETURN_IF_ERROR(SetRlimits(process));
  umask(process.umask());
  RETURN_IF_ERROR(DropBounding(process.cap_bounding()));
  RETURN_IF_ERROR(SetIds(process));
  // Without no_new_privs, loading a program takes CAP_SYS_ADMIN. A capset after it would have to be
  // in every profile.
  const uint64_t loader = confined && !process.no_new_privs() ? kSysAdmin : 0;
  RETURN_IF_ERROR(
      SetCapabilities(process.cap_effective() | loader, process.cap_permitted() | loader, process.cap_inheritable()));
  RETURN_IF_ERROR(SetAmbient(process.cap_ambient()));
  if (process.no_new_privs() && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return ErrnoError(errno, "no_new_privs");
  }
  if (death_signal != 0) prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0);
  if (confined) RETURN_IF_ERROR(filter.Load(process.seccomp_flags(), mailbox));
  return absl::OkStatus();
}

}  // namespace berth::security
