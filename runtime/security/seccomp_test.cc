// Compiled programs, loaded by a forked child that then tries what they are about.
#include "runtime/security/seccomp.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>
#include <thread>

#include "runtime/security/capabilities.h"
#include "runtime/security/profile.h"
#include "runtime/sys/file.h"
#include "runtime/sys/memfd.h"

namespace berth::security {
namespace {

using ::testing::HasSubstr;

int64_t Microseconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
}

bool Load(int fd) {
  std::string bytes(1 << 16, '\0');
  const ssize_t n = pread(fd, bytes.data(), bytes.size(), 0);
  sock_fprog program = {static_cast<unsigned short>(n / static_cast<ssize_t>(sizeof(sock_filter))),
                        reinterpret_cast<sock_filter*>(bytes.data())};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kSeccompFlags, &program) == 0;
}

// What `body` returns in a child under the program: 0 … 127, 128 + signal.
int Under(const SeccompProgram& program, const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(20);
    if (!Load(program->get())) _exit(127);
    _exit(body());
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
// 0 or the errno of one call.
int Errno(long result) { return result >= 0 ? 0 : errno; }

// Calls the kernel as a 32-bit program does. -ENOSYS without support for them.
long Call32([[maybe_unused]] long nr, [[maybe_unused]] long a = 0, [[maybe_unused]] long b = 0,
            [[maybe_unused]] long c = 0) {
#ifdef __x86_64__
  long result;
  asm volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
  return static_cast<int>(result);
#else
  return -ENOSYS;
#endif
}

class RuntimeDefaultTest : public ::testing::Test {
 protected:
  SeccompProgram Program(uint64_t caps = kDefaultCapabilities) {
    auto program = cache_.RuntimeDefault(caps);
    EXPECT_TRUE(program.ok()) << program.status();
    return *program;
  }
  SeccompCache cache_;
};

TEST_F(RuntimeDefaultTest, OrdinaryProgramsWork) {
  EXPECT_EQ(Under(Program(),
                  [] {
                    int steps = 0;
                    if (socket(AF_INET, SOCK_STREAM, 0) >= 0) ++steps;
                    if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0) ++steps;
                    if (socket(AF_NETLINK, SOCK_RAW, 0) >= 0) ++steps;
                    std::thread([&] { ++steps; }).join();
                    const pid_t pid = fork();
                    if (pid == 0) _exit(0);
                    if (waitpid(pid, nullptr, 0) == pid) ++steps;
                    if (open("/dev/null", O_RDWR) >= 0) ++steps;
                    if (mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) ++steps;
                    if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0) ++steps;
                    if (personality(0xffffffff) >= 0) ++steps;
                    return steps;
                  }),
            9);
  EXPECT_EQ(Under(Program(), [] { return execl("/bin/true", "true", nullptr); }), 0);
}

TEST_F(RuntimeDefaultTest, WhatContainersNeedNotDoIsRefused) {
  const auto refused = [&](const std::function<long()>& call) {
    return Under(Program(), [&] { return Errno(call()); });
  };
  EXPECT_EQ(refused([] { return unshare(CLONE_NEWUSER); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_clone3, nullptr, 0); }), ENOSYS);
  EXPECT_EQ(refused([] { return syscall(SYS_keyctl, 0, 0, 0, 0, 0); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_add_key, "user", "x", "y", 1, -3); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, ""); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_setns, 0, 0); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_bpf, 0, nullptr, 0); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_userfaultfd, 0); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_io_uring_setup, 1, nullptr); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_perf_event_open, nullptr, 0, 0, 0, 0); }), EPERM);
  EXPECT_EQ(refused([] { return syscall(SYS_kexec_load, 0, 0, 0, 0); }), EPERM);
  EXPECT_EQ(refused([] { return personality(ADDR_NO_RANDOMIZE); }), EPERM);
}

TEST_F(RuntimeDefaultTest, SocketFamilies) {  // CVE-2026-31431
  constexpr uint64_t kHidden = uint64_t{1} << 32;
  const auto family = [&](uint64_t value) {
    return Under(Program(), [&] { return Errno(syscall(SYS_socket, value, SOCK_SEQPACKET, 0)); });
  };
  for (uint64_t value = 0; value < 48; ++value) {
    EXPECT_EQ(family(value) == EPERM, value == AF_ALG || value == AF_VSOCK) << value;
  }
  // The kernel takes an int: high bits do not make it another family.
  EXPECT_EQ(family(kHidden | AF_ALG), EPERM);
  EXPECT_EQ(family(kHidden | AF_VSOCK), EPERM);
  EXPECT_NE(family(kHidden | AF_INET), EPERM);
}

TEST_F(RuntimeDefaultTest, PersonalityIgnoresHighBitsToo) {
  EXPECT_EQ(Under(Program(), [] { return Errno(syscall(SYS_personality, (uint64_t{1} << 32) | ADDR_NO_RANDOMIZE)); }),
            EPERM);
}

TEST_F(RuntimeDefaultTest, NewerCallsThanLibseccompKnowsDoNotExist) {
  EXPECT_EQ(Under(Program(), [] { return Errno(syscall(1000)); }), ENOSYS);
  EXPECT_EQ(Under(Program(), [] { return Errno(syscall(0x40000000 + 39)); }), ENOSYS);  // x32
  // fchmodat2 is allowed by number.
  EXPECT_NE(Under(Program(), [] { return Errno(syscall(452, AT_FDCWD, "/none", 0, 0)); }), EPERM);
}

TEST_F(RuntimeDefaultTest, ThirtyTwoBitProgramsHaveTheSameRules) {
  if (Call32(20) != getpid()) GTEST_SKIP() << "this kernel runs no 32-bit programs";
  EXPECT_EQ(Under(Program(), [] { return Call32(20) == getpid() ? 0 : 1; }), 0);
  EXPECT_EQ(Under(Program(), [] { return static_cast<int>(-Call32(359, AF_ALG, SOCK_SEQPACKET, 0)); }), EPERM);
  EXPECT_EQ(Under(Program(), [] { return static_cast<int>(-Call32(310, CLONE_NEWUSER)); }),
            EPERM);                                                                   // unshare
  EXPECT_EQ(Under(Program(), [] { return static_cast<int>(-Call32(288)); }), EPERM);  // keyctl
  EXPECT_EQ(Under(Program(), [] { return static_cast<int>(-Call32(1000)); }), ENOSYS);
}

TEST_F(RuntimeDefaultTest, CapabilitiesOpenWhatTheyAreFor) {
  const SeccompProgram admin = Program(kDefaultCapabilities | uint64_t{1} << CAP_SYS_ADMIN);
  EXPECT_EQ(Under(admin, [] { return Errno(syscall(SYS_setns, -1, 0)); }), EBADF);
  EXPECT_EQ(Under(admin, [] { return Errno(syscall(SYS_clone3, nullptr, 0)); }), EINVAL);
  EXPECT_EQ(Under(admin, [] { return Errno(syscall(SYS_keyctl, 0, 0, 0, 0, 0)); }), EPERM);
  EXPECT_EQ(
      Under(Program(uint64_t{1} << CAP_SYS_PTRACE), [] { return Errno(syscall(SYS_kcmp, 0, 0, 99, 0, 0)) == EPERM; }),
      0);
  EXPECT_EQ(Under(Program(0), [] { return Errno(syscall(SYS_chroot, nullptr)); }), EPERM);
  EXPECT_EQ(Under(Program(), [] { return Errno(syscall(SYS_chroot, nullptr)); }), EFAULT);
}

TEST_F(RuntimeDefaultTest, CompiledOncePerRelevantCapabilities) {
  const SeccompProgram one = Program();
  EXPECT_EQ(one, Program());
  EXPECT_EQ(one, Program(kDefaultCapabilities & ~(uint64_t{1} << CAP_CHOWN)));
  EXPECT_NE(one, Program(kDefaultCapabilities | uint64_t{1} << CAP_SYS_TIME));
  EXPECT_TRUE(sys::IsSealed(one->get()));
}

TEST_F(RuntimeDefaultTest, Costs) {
  const int64_t compile = Microseconds([&] { (void)Program(); });
  const int64_t cached = Microseconds([&] { (void)Program(); });
  const SeccompProgram program = Program();
  const auto size = sys::StatFd(program->get(), "program")->st_size / static_cast<off_t>(sizeof(sock_filter));
  void* map = mmap(nullptr, static_cast<size_t>(size) * sizeof(sock_filter), PROT_READ, MAP_PRIVATE, program->get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  std::vector<int64_t> loads;
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  for (int i = 0; i < 20; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      // As the shim does it: mapped, not copied.
      struct sock_fprog filter = {static_cast<unsigned short>(size), static_cast<sock_filter*>(map)};
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      const int64_t us =
          Microseconds([&] { (void)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kSeccompFlags, &filter); });
      _exit(write(fds[1], &us, sizeof us) == sizeof us ? 0 : 1);
    }
    waitpid(pid, nullptr, 0);
    int64_t us = 0;
    ASSERT_EQ(read(fds[0], &us, sizeof us), static_cast<ssize_t>(sizeof us));
    loads.push_back(us);
  }
  close(fds[0]);
  close(fds[1]);
  munmap(map, static_cast<size_t>(size) * sizeof(sock_filter));
  std::sort(loads.begin(), loads.end());
  std::printf(
      "seccomp RuntimeDefault: %ld instructions, compile %ld us, from cache %ld us, load %ld us "
      "(min %ld)\n",
      static_cast<long>(size), compile, cached, loads[loads.size() / 2], loads[0]);
  EXPECT_LT(cached, compile);
}

// ---- profiles from files
// -------------------------------------------------------------------------------------------

class LocalhostTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-profile-XXXXXX";
    const int fd = mkstemp(name);
    ASSERT_GE(fd, 0);
    close(fd);
    path_ = name;
  }
  void TearDown() override { unlink(path_.c_str()); }
  absl::StatusOr<SeccompProgram> Compile(absl::string_view json, uint64_t caps = 0) {
    auto fd = sys::Open(path_, O_WRONLY | O_TRUNC);
    EXPECT_TRUE(fd.ok() && sys::WriteAll(fd->get(), json, path_).ok());
    return cache_.Localhost(path_, caps);
  }
  std::string Message(absl::string_view json) {
    auto program = Compile(json);
    EXPECT_EQ(program.status().code(), absl::StatusCode::kInvalidArgument) << json;
    return std::string(program.status().message());
  }
  std::string path_;
  SeccompCache cache_;
};

TEST_F(LocalhostTest, FewProgramsAreKept) {
  const auto memfds = [] {
    std::error_code gone;
    int count = 0;
    for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd"))
      count += std::filesystem::read_symlink(fd, gone).native().rfind("/memfd:berth-seccomp", 0) == 0 ? 1 : 0;
    return count;
  };
  const std::string allow = R"({"defaultAction": "SCMP_ACT_ALLOW"})";
  for (uint64_t caps = 0; caps < 200; ++caps) {
    ASSERT_TRUE(Compile(allow, caps).ok());
    ASSERT_GE(memfds(), 1);
    ASSERT_LE(memfds(), 64);
  }
}

TEST_F(LocalhostTest, DenyList) {
  auto program = Compile(
      R"({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [{"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                 {"name": "chdir", "action": "SCMP_ACT_ERRNO"}]})");
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(Under(*program, [] { return Errno(syscall(SYS_mkdirat, AT_FDCWD, "/tmp/x", 0)); }), ENOSPC);
  EXPECT_EQ(Under(*program, [] { return Errno(chdir("/")); }), EPERM);
  EXPECT_EQ(Under(*program, [] { return Errno(getppid()); }), 0);
  EXPECT_EQ(*program, *cache_.Localhost(path_));
}

TEST_F(LocalhostTest, AllowListWithArgumentsAndDefaultErrno) {
  auto program = Compile(R"({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "syscalls": [
      {"names": ["exit_group", "exit"], "action": "SCMP_ACT_ALLOW"},
      {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                                                                {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
      {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
       "args": [{"index": 0, "value": 4294967295, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]}]})");
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(Under(*program, [] { return Errno(socket(AF_UNIX, SOCK_STREAM, 0)); }), 0);
  EXPECT_EQ(Under(*program, [] { return Errno(socket(AF_INET, SOCK_STREAM, 0)); }), 0);
  EXPECT_EQ(Under(*program, [] { return Errno(socket(AF_INET6, SOCK_STREAM, 0)); }), EACCES);
  EXPECT_EQ(Under(*program, [] { return Errno(syscall(SYS_personality, 4294967295ul)); }), 0);
  EXPECT_EQ(Under(*program, [] { return Errno(syscall(1000)); }), ENOSYS);
}

TEST_F(LocalhostTest, KillAction) {
  auto program = Compile(
      R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_KILL_PROCESS"}]})");
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(Under(*program, [] { return chdir("/"); }), 128 + SIGSYS);
}

// Each action as the kernel carries it out.
TEST_F(LocalhostTest, EveryAction) {
  const auto with = [&](absl::string_view action) {
    auto program = Compile(absl::StrCat(R"({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock",
        "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_)",
                                        action, "\"}]}"));
    EXPECT_TRUE(program.ok()) << program.status();
    return *program;
  };
  const auto chdirs = [&](absl::string_view action) { return Under(with(action), [] { return Errno(chdir("/")); }); };
  EXPECT_EQ(chdirs("ALLOW"), 0);
  EXPECT_EQ(chdirs("LOG"), 0);
  EXPECT_EQ(chdirs("ERRNO"), EPERM);
  EXPECT_EQ(chdirs("TRAP"), 128 + SIGSYS);
  EXPECT_EQ(chdirs("KILL"), 128 + SIGSYS);
  EXPECT_EQ(chdirs("KILL_THREAD"), 128 + SIGSYS);
  EXPECT_EQ(chdirs("KILL_PROCESS"), 128 + SIGSYS);
  EXPECT_EQ(chdirs("TRACE"), ENOSYS) << "nobody traces";
  EXPECT_EQ(chdirs("NOTIFY"), ENOSYS) << "nobody listens";
  EXPECT_EQ(with("NOTIFY")->listener_path, "/run/agent.sock");
  EXPECT_EQ(with("LOG")->listener_path, "") << "nothing is notified";
}

TEST_F(LocalhostTest, KillThreadLeavesTheOthers) {
  auto program = Compile(
      R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_KILL_THREAD"}]})");
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(Under(*program,
                  [] {
                    std::thread([] { (void)!chdir("/"); }).detach();
                    while (sys::ReadFile("/proc/self/status")->find("Threads:\t1\n") == std::string::npos) usleep(1000);
                    return 7;
                  }),
            7);
}

TEST_F(LocalhostTest, ErrnoByNumberOrName) {
  const auto chdir_gives = [&](absl::string_view members) {
    auto program = Compile(absl::StrCat(R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["chdir"], "action": "SCMP_ACT_ERRNO", )",
                                        members, "}]}"));
    EXPECT_TRUE(program.ok()) << program.status();
    return Under(*program, [] { return Errno(chdir("/")); });
  };
  EXPECT_EQ(chdir_gives(R"("errnoRet": 28)"), ENOSPC);
  EXPECT_EQ(chdir_gives(R"("errno": "ENOSPC")"), ENOSPC);
  EXPECT_EQ(chdir_gives(R"("errnoRet": 1, "errno": "ENOSYS")"), ENOSYS);
  EXPECT_EQ(chdir_gives(R"("errno": "EOPNOTSUPP")"), EOPNOTSUPP);
  EXPECT_EQ(chdir_gives(R"("errno": "28")"), ENOSPC);
}

TEST_F(LocalhostTest, ConditionsOnSeveralArgumentsHoldTogether) {
  auto program = Compile(R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
      {"names": ["dup3"], "action": "SCMP_ACT_ERRNO", "errno": "EDOM", "args": [
          {"index": 0, "value": 1, "op": "SCMP_CMP_GE"}, {"index": 1, "value": 100, "op": "SCMP_CMP_LT"},
          {"index": 2, "value": 524288, "valueTwo": 524288, "op": "SCMP_CMP_MASKED_EQ"}]},
      {"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errno": "ERANGE", "args": [
          {"index": 1, "value": 5, "op": "SCMP_CMP_NE"}, {"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]},
      {"names": ["umask"], "action": "SCMP_ACT_ERRNO", "errno": "ERANGE", "args": [
          {"index": 0, "value": 18446744073709551615, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ"}]},
      {"names": ["alarm"], "action": "SCMP_ACT_ERRNO", "errno": "ERANGE", "args": [
          {"index": 0, "value": 10, "op": "SCMP_CMP_GT"}, {"index": 1, "value": 2, "op": "SCMP_CMP_LE"}]}]})");
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(Under(*program,
                  [] {
                    if (Errno(syscall(SYS_dup3, 1, 50, O_CLOEXEC)) != EDOM) return 1;
                    if (Errno(syscall(SYS_dup3, 0, 50, O_CLOEXEC)) == EDOM) return 2;
                    if (Errno(syscall(SYS_dup3, 1, 150, O_CLOEXEC)) == EDOM) return 3;
                    if (Errno(syscall(SYS_dup3, 1, 50, 0)) == EDOM) return 4;
                    if (Errno(syscall(SYS_lseek, 0, 4, SEEK_SET)) != ERANGE) return 5;
                    if (Errno(syscall(SYS_lseek, 0, 5, SEEK_SET)) == ERANGE) return 6;
                    if (Errno(syscall(SYS_umask, 7)) != ERANGE) return 7;
                    if (Errno(syscall(SYS_umask, 8)) != 0) return 8;
                    if (Errno(syscall(SYS_alarm, 11, 2)) != ERANGE) return 9;
                    if (Errno(syscall(SYS_alarm, 11, 3)) != 0) return 10;
                    return 0;
                  }),
            0);
}

TEST_F(LocalhostTest, SeveralArchitectures) {
#ifndef __x86_64__
  GTEST_SKIP() << "about 32-bit calls of x86-64";
#else
  if (Call32(20) != getpid()) GTEST_SKIP() << "this kernel runs no 32-bit programs";
  const char* rules = R"("syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errno": "EDOM"}]})";
  const auto probe = [&](absl::string_view head) {
    auto program = Compile(absl::StrCat(R"({"defaultAction": "SCMP_ACT_ALLOW", )", head, rules));
    EXPECT_TRUE(program.ok()) << program.status();
    return *program;
  };
  // 20 is getpid of i386; x32 numbers have bit 30 set.
  const auto i386 = [] { return static_cast<int>(-Call32(20)); };
  const auto x32 = [] { return Errno(syscall(0x40000000 | SYS_getpid)); };
  if (Under(probe(R"("architectures": ["SCMP_ARCH_X86"], )"), [] { return Call32(64) == -ENOSYS ? 1 : 0; }) == 0) {
    for (absl::string_view head : {R"("architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], )",
                                   R"("archMap": [{"architecture": "SCMP_ARCH_LOONGARCH64", "subArchitectures": null},
                         {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}], )"}) {
      EXPECT_EQ(Under(probe(head), i386), EDOM) << head;
      EXPECT_EQ(Under(probe(head), x32), EDOM) << head;
    }
  }
  // What is not listed cannot run at all.
  for (absl::string_view head : {"", R"("architectures": ["SCMP_ARCH_X86_64"], )"}) {
    EXPECT_EQ(Under(probe(head), i386), 128 + SIGSYS) << head;
    EXPECT_EQ(Under(probe(head), x32), 128 + SIGSYS) << head;
    EXPECT_EQ(Under(probe(head), [] { return Errno(syscall(SYS_getpid)); }), EDOM) << head;
  }
#endif
}

TEST_F(LocalhostTest, Flags) {
  const auto flags = [&](absl::string_view member) {
    auto program = Compile(absl::StrCat(R"({"defaultAction": "SCMP_ACT_ALLOW")", member, "}"));
    EXPECT_TRUE(program.ok()) << program.status();
    return (*program)->flags;
  };
  EXPECT_EQ(flags(""), kSeccompFlags);
  EXPECT_EQ(flags(R"(, "flags": [])"), 0u);
  EXPECT_EQ(flags(R"(, "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"])"),
            uint32_t{SECCOMP_FILTER_FLAG_LOG});
  EXPECT_EQ(flags(R"(, "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])"), uint32_t{SECCOMP_FILTER_FLAG_SPEC_ALLOW});
  EXPECT_EQ(flags(R"(, "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])"), 0u) << "takes a listener";
  EXPECT_EQ(flags(R"(, "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "listenerPath": "/a",
                       "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_NOTIFY"}])"),
            1u << 5);
}

TEST_F(LocalhostTest, OnlyARegularFileOfSensibleSizeIsRead) {
  EXPECT_EQ(cache_.Localhost("/tmp").status().code(), absl::StatusCode::kInvalidArgument);
  const std::string fifo = path_ + ".fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(cache_.Localhost(fifo).status().code(), absl::StatusCode::kInvalidArgument);
  unlink(fifo.c_str());
  EXPECT_EQ(Compile(std::string((4 << 20) + 1, ' ')).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(LocalhostTest, DockersIncludesAndExcludes) {
  const char* json = R"({"defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_CHROOT"]}},
                 {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_SYS_CHROOT"], "minKernel": "4.8"}},
                 {"names": ["umask"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "99.0"}},
                 {"names": ["sync"], "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["no-such"]}}]})";
  const auto probe = [](const SeccompProgram& program) {
    return Under(program, [] {
      char buf[64];
      return (chdir("/") == 0 ? 1 : 0) + (syscall(SYS_getcwd, buf, sizeof buf) > 0 ? 2 : 0) +
             (Errno(syscall(SYS_umask, 0)) == 0 ? 4 : 0) + (Errno(syscall(SYS_sync)) == 0 ? 8 : 0);
    });
  };
  EXPECT_EQ(probe(*Compile(json)), 2 + 4 + 8);
  EXPECT_EQ(probe(*Compile(json, uint64_t{1} << CAP_SYS_CHROOT)), 1 + 4 + 8);
}

TEST_F(LocalhostTest, ErrorsNameTheField) {
  EXPECT_THAT(Message("nonsense"), HasSubstr("seccomp profile"));
  EXPECT_THAT(Message("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(Message("{}"), HasSubstr("'defaultAction': missing"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_FLY"})"), HasSubstr("'SCMP_ACT_FLY'"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_NOTIFY"})"), HasSubstr("'listenerPath': missing"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "a.sock"})"),
              HasSubstr("'a.sock' is not an absolute path"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EFOO"})"), HasSubstr("'EFOO'"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]})"),
              HasSubstr("SECCOMP_FILTER_FLAG_X"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_ALLOW",, })"), HasSubstr("at byte 36"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000})"), HasSubstr("errno 5000"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]})"),
              HasSubstr("SCMP_ARCH_Z80"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}})"),
              HasSubstr("'syscalls': expected a list"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_LOG"}]})"),
              HasSubstr("syscalls.names"));
  EXPECT_THAT(Message(R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "x"}]})"),
              HasSubstr("rule 0"));
  const auto args = [&](absl::string_view arg) {
    return Message(absl::StrCat(
        R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [)",
        arg, "]}]}"));
  };
  EXPECT_THAT(args(R"({"index": 6, "op": "SCMP_CMP_EQ"})"), HasSubstr("args.index"));
  EXPECT_THAT(args(R"({"index": 1, "op": "EQ"})"), HasSubstr("'EQ'"));
  EXPECT_THAT(args(R"({"index": 1, "value": -1, "op": "SCMP_CMP_EQ"})"), HasSubstr("args.value"));
  EXPECT_THAT(args("7"), HasSubstr("expected objects"));
}

TEST_F(LocalhostTest, MissingFile) {
  EXPECT_EQ(cache_.Localhost("/none/x.json").status().code(), absl::StatusCode::kNotFound);
}

TEST(ProfileTest, EveryNameOfTheDefaultProfileIsThereOnce) {
  std::set<std::string> seen;
  for (const SeccompRule& rule : DefaultProfile(0).rules) {
    EXPECT_TRUE(!rule.conditions.empty() || seen.insert(rule.name).second) << rule.name;
  }
  for (const char* name :
       {"keyctl", "bpf", "mount", "unshare", "io_uring_setup", "userfaultfd", "kexec_load", "swapon"}) {
    EXPECT_FALSE(seen.contains(name)) << name;
  }
}

}  // namespace
}  // namespace berth::security
