// What a container may call under RuntimeDefault. Not there, and so refused with EPERM: loading
// modules, mounting, namespaces, keyrings (keyctl, add_key, request_key), userfaultfd, io_uring,
// bpf, perf, kexec, swap, quotas, raw ports, setting the clock, and what is obsolete. A capability
// that the container was given opens what it is for.
//
// socketcall(2), by which old 32-bit programs reach all socket calls, passes the address family in
// memory where a filter cannot see it. It is allowed, since 32-bit glibc has nothing else; AF_ALG
// and AF_VSOCK are so refused on every other path, but to 32-bit code only an LSM can refuse them.
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>

#include <cerrno>

#include "absl/strings/str_split.h"
#include "runtime/security/profile.h"

namespace berth::security {
namespace {

constexpr uint64_t Bit(int cap) { return uint64_t{1} << cap; }

struct Group {
  uint64_t caps;  // any of them; 0 = always allowed
  const char* names;
};

constexpr Group kGroups[] = {
    // Files by name.
    {0,
     "access chdir chmod chown chown32 creat faccessat faccessat2 fchmodat fchmodat2 fchownat "
     "fstatat64 futimesat "
     "getcwd lchown lchown32 link linkat lstat lstat64 mkdir mkdirat mknod mknodat "
     "name_to_handle_at newfstatat open "
     "openat openat2 readlink readlinkat rename renameat renameat2 rmdir stat stat64 statfs "
     "statfs64 statx symlink "
     "symlinkat truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes"},
    {0,
     "getxattr lgetxattr listxattr llistxattr lremovexattr lsetxattr removexattr setxattr "
     "getxattrat listxattrat "
     "removexattrat setxattrat"},
    // Files by descriptor.
    {0,
     "_llseek arm_fadvise64_64 arm_sync_file_range cachestat close close_range copy_file_range dup "
     "dup2 dup3 fadvise64 "
     "fadvise64_64 fallocate fchdir fchmod fchown fchown32 fcntl fcntl64 fdatasync fgetxattr "
     "flistxattr flock "
     "fremovexattr fsetxattr fstat fstat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 getdents "
     "getdents64 ioctl "
     "lseek pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv "
     "sendfile sendfile64 "
     "splice sync sync_file_range sync_file_range2 syncfs tee vmsplice write writev"},
    {0,
     "inotify_add_watch inotify_init inotify_init1 inotify_rm_watch fanotify_mark io_cancel "
     "io_destroy io_getevents "
     "io_pgetevents io_pgetevents_time64 io_setup io_submit"},
    // Memory.
    {0,
     "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 "
     "mlockall mmap mmap2 "
     "mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect "
     "process_mrelease "
     "remap_file_pages"},
    // Processes, threads and what they are scheduled by.
    {0,
     "arch_prctl breakpoint cacheflush execve execveat exit exit_group fork vfork futex "
     "futex_requeue futex_time64 "
     "futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp "
     "getpid getppid "
     "getpriority getrandom getrlimit getrusage getsid gettid ioprio_get ioprio_set modify_ldt "
     "pidfd_open "
     "pidfd_send_signal prctl prlimit64 riscv_flush_icache restart_syscall rseq set_robust_list "
     "set_thread_area "
     "set_tid_address set_tls setpgid setpriority setrlimit setsid swapcontext sysinfo times "
     "ugetrlimit uname wait4 "
     "waitid waitpid"},
    {0,
     "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam "
     "sched_getscheduler "
     "sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr "
     "sched_setparam "
     "sched_setscheduler sched_yield"},
    // A tracer can no longer get past a filter since Linux 4.8.
    {0, "ptrace process_vm_readv process_vm_writev"},
    // Who a process is, and giving things up.
    {0,
     "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 "
     "getresgid getresgid32 "
     "getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid "
     "setgid32 setgroups "
     "setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid "
     "setreuid32 setuid "
     "setuid32"},
    {0,
     "landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr "
     "lsm_list_modules seccomp"},
    // Signals.
    {0,
     "alarm kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
     "rt_sigsuspend "
     "rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal "
     "signalfd signalfd4 "
     "sigpending sigprocmask sigreturn sigsuspend tgkill tkill"},
    // Reading and waiting for the time. adjtimex and clock_adjtime only read it without
    // CAP_SYS_TIME.
    {0,
     "adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
     "clock_gettime64 "
     "clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time "
     "timer_create "
     "timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 "
     "timerfd_create "
     "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64"},
    // Waiting for events.
    {0,
     "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 "
     "epoll_wait epoll_wait_old "
     "eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select"},
    // Sockets; socket(2) itself has conditions.
    {0,
     "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg "
     "recvmmsg_time64 "
     "recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair"},
    // System V and POSIX IPC.
    {0,
     "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
     "mq_timedsend_time64 "
     "mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat "
     "shmctl shmdt shmget"},

    {Bit(CAP_SYS_ADMIN),
     "clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount "
     "mount_setattr move_mount "
     "open_tree quotactl quotactl_fd setdomainname sethostname setns statmount umount umount2 "
     "unshare"},
    {Bit(CAP_SYS_ADMIN) | Bit(CAP_BPF), "bpf"},
    {Bit(CAP_SYS_ADMIN) | Bit(CAP_PERFMON), "perf_event_open"},
    {Bit(CAP_SYS_ADMIN) | Bit(CAP_SYSLOG), "syslog"},
    {Bit(CAP_DAC_READ_SEARCH), "open_by_handle_at"},
    {Bit(CAP_SYS_BOOT), "reboot"},
    {Bit(CAP_SYS_CHROOT), "chroot"},
    {Bit(CAP_SYS_MODULE), "delete_module finit_module init_module"},
    {Bit(CAP_SYS_NICE), "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {Bit(CAP_SYS_PACCT), "acct"},
    {Bit(CAP_SYS_PTRACE), "kcmp pidfd_getfd process_madvise"},
    {Bit(CAP_SYS_RAWIO), "ioperm iopl"},
    {Bit(CAP_SYS_TIME), "clock_settime clock_settime64 settimeofday stime"},
    {Bit(CAP_SYS_TTY_CONFIG), "vhangup"},
};

// cachestat, fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue, lsm_get_self_attr,
// lsm_list_modules, mseal, setxattrat, getxattrat, listxattrat, removexattrat.
constexpr uint32_t kNewNumbers[] = {451, 452, 453, 454, 455, 456, 459, 461, 462, 463, 464, 465, 466};

// The kernel looks at the low half of an int argument only. A comparison of all 64 bits would let a
// caller hide a refused value behind high bits, so every comparison of one is masked.
constexpr uint64_t kInt = 0xffffffff;

// All address families but AF_ALG (38) and AF_VSOCK (40), as ranges of bits.
constexpr SeccompCondition kFamilies[] = {
    {0, SCMP_CMP_MASKED_EQ, kInt & ~uint64_t{31}, 0},
    {0, SCMP_CMP_MASKED_EQ, kInt & ~uint64_t{3}, 32},
    {0, SCMP_CMP_MASKED_EQ, kInt & ~uint64_t{1}, 36},
    {0, SCMP_CMP_MASKED_EQ, kInt, 39},
    {0, SCMP_CMP_MASKED_EQ, kInt, 41},
    {0, SCMP_CMP_MASKED_EQ, kInt & ~uint64_t{1}, 42},
    {0, SCMP_CMP_MASKED_EQ, kInt & ~uint64_t{3}, 44},
};

// PER_LINUX, PER_LINUX32, both with UNAME26, and asking.
constexpr uint64_t kPersonalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

constexpr uint64_t kNamespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

std::vector<uint32_t> Companions() {
  switch (seccomp_arch_native()) {
    case SCMP_ARCH_X86_64:
      return {SCMP_ARCH_X86};
    case SCMP_ARCH_AARCH64:
      return {SCMP_ARCH_ARM};
    case SCMP_ARCH_S390X:
      return {SCMP_ARCH_S390};
    default:
      return {};
  }
}

void AddConditional(uint64_t caps, std::vector<SeccompRule>& rules) {
  for (const SeccompCondition& family : kFamilies) rules.push_back({"socket", SCMP_ACT_ALLOW, {family}});
  for (uint64_t persona : kPersonalities) {
    rules.push_back({"personality", SCMP_ACT_ALLOW, {{0, SCMP_CMP_MASKED_EQ, kInt, persona}}});
  }
  if (caps & Bit(CAP_SYS_ADMIN)) return;
  const uint32_t native = seccomp_arch_native();
  const unsigned flags = native == SCMP_ARCH_S390X || native == SCMP_ARCH_S390 ? 1 : 0;
  rules.push_back({"clone", SCMP_ACT_ALLOW, {{flags, SCMP_CMP_MASKED_EQ, kNamespaces, 0}}});
  // Its flags lie in memory. With ENOSYS, C libraries use clone instead.
  rules.push_back({"clone3", SCMP_ACT_ERRNO(ENOSYS), {}});
}

}  // namespace

uint64_t DefaultProfileCaps() {
  uint64_t caps = 0;
  for (const Group& group : kGroups) caps |= group.caps;
  return caps;
}

SeccompProfile DefaultProfile(uint64_t caps) {
  SeccompProfile profile;
  profile.default_action = SCMP_ACT_ERRNO(EPERM);
  profile.flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  profile.architectures = Companions();
  profile.allowed_numbers.assign(std::begin(kNewNumbers), std::end(kNewNumbers));
  for (const Group& group : kGroups) {
    if (group.caps != 0 && (group.caps & caps) == 0) continue;
    for (absl::string_view name : absl::StrSplit(group.names, ' ', absl::SkipEmpty())) {
      profile.rules.push_back({std::string(name), SCMP_ACT_ALLOW, {}});
    }
  }
  AddConditional(caps, profile.rules);
  return profile;
}

}  // namespace berth::security
