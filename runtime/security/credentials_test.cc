// ApplyCredentials in a forked child, and what /proc says of the program that it executes. Needs
// root.
#include "runtime/security/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "runtime/security/capabilities.h"
#include "runtime/security/seccomp.h"
#include "runtime/sys/file.h"
#include "runtime/sys/memfd.h"
#include "runtime/sys/procfs.h"

namespace berth::security {
namespace {

using shim::v1::Process;
using ::testing::HasSubstr;
using ::testing::Not;

class CredentialsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "changing ids needs root";
    process_.set_seccomp_fd(-1);
    process_.set_umask(022);
    SetCapabilities(ResolveCapabilities({}, *AvailableCapabilities()).value());
  }
  void SetCapabilities(const CapabilitySets& sets) {
    process_.set_cap_bounding(sets.bounding);
    process_.set_cap_permitted(sets.permitted);
    process_.set_cap_effective(sets.effective);
    process_.set_cap_inheritable(sets.inheritable);
    process_.set_cap_ambient(sets.ambient);
  }
  // What the child writes to its standard output.
  std::string Child(
      const std::function<void()>& body, const std::function<void()>& before = [] {}) {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      alarm(20);
      dup2(fds[1], STDOUT_FILENO);
      before();
      absl::Status status = ApplyCredentials(process_, fds_);
      if (status.ok()) body();
      (void)sys::WriteAll(STDOUT_FILENO, status.ToString(), "pipe");
      _exit(1);
    }
    close(fds[1]);
    auto text = sys::ReadFd(fds[0], 1 << 20, "pipe");
    close(fds[0]);
    EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
    return text.ok() ? *text : text.status().ToString();
  }
  std::string Exec(const char* file = "/proc/self/status") {
    return Child([=] { execl("/bin/cat", "cat", file, nullptr); });
  }
  static std::string Caps(const char* field, uint64_t mask) {
    return absl::StrCat(field, ":\t", absl::Hex(mask, absl::kZeroPad16), "\n");
  }

  Process process_;
  std::vector<int> fds_;
};

TEST_F(CredentialsTest, RootWithTheDefaultSet) {
  const std::string status = Exec();
  EXPECT_THAT(status, HasSubstr(Caps("CapInh", 0)));
  EXPECT_THAT(status, HasSubstr(Caps("CapPrm", 0xa80425fb)));
  EXPECT_THAT(status, HasSubstr(Caps("CapEff", 0xa80425fb)));
  EXPECT_THAT(status, HasSubstr(Caps("CapBnd", 0xa80425fb)));
  EXPECT_THAT(status, HasSubstr(Caps("CapAmb", 0)));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t0\n"));
  EXPECT_THAT(status, HasSubstr("Seccomp:\t0\n"));
  EXPECT_THAT(status, HasSubstr("Umask:\t0022\n"));
}

TEST_F(CredentialsTest, AUserHasNoCapabilitiesButTheBoundingSet) {
  process_.set_uid(1234);
  process_.set_gid(55);
  for (uint32_t group : {55u, 7u, 8u}) process_.add_groups(group);
  process_.set_umask(077);
  const std::string status = Exec();
  EXPECT_THAT(status, HasSubstr("Uid:\t1234\t1234\t1234\t1234\n"));
  EXPECT_THAT(status, HasSubstr("Gid:\t55\t55\t55\t55\n"));
  EXPECT_THAT(status, HasSubstr("Groups:\t7 8 55"));
  EXPECT_THAT(status, HasSubstr(Caps("CapPrm", 0)));
  EXPECT_THAT(status, HasSubstr(Caps("CapBnd", 0xa80425fb)));
  EXPECT_THAT(status, HasSubstr("Umask:\t0077\n"));
}

TEST_F(CredentialsTest, AmbientCapabilitiesReachAUser) {
  process_.set_uid(1234);
  SetCapabilities(
      ResolveCapabilities({.drop = {"ALL"}, .add_ambient = {"NET_BIND_SERVICE"}}, *AvailableCapabilities()).value());
  const std::string status = Exec();
  for (const char* field : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_THAT(status, HasSubstr(Caps(field, uint64_t{1} << CAP_NET_BIND_SERVICE)));
  }
}

TEST_F(CredentialsTest, NoCapabilitiesAtAll) {
  SetCapabilities({});
  const std::string status = Exec();
  for (const char* field : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_THAT(status, HasSubstr(Caps(field, 0)));
}

TEST_F(CredentialsTest, SeccompWithAndWithoutNoNewPrivileges) {
  SeccompCache cache;
  const SeccompProgram program = cache.RuntimeDefault(kDefaultCapabilities).value();
  fds_.push_back(program->get());
  process_.set_seccomp_fd(0);
  process_.set_seccomp_flags(kSeccompFlags);
  for (bool no_new_privs : {false, true}) {
    for (uint32_t uid : {0u, 1234u}) {
      process_.set_no_new_privs(no_new_privs);
      process_.set_uid(uid);
      const std::string status = Exec();
      EXPECT_THAT(status, HasSubstr("Seccomp:\t2\nSeccomp_filters:\t1\n"));
      EXPECT_THAT(status, HasSubstr(absl::StrCat("NoNewPrivs:\t", no_new_privs ? 1 : 0, "\n")));
      // The capability that loading takes is gone.
      EXPECT_THAT(status, HasSubstr(Caps("CapPrm", uid == 0 ? 0xa80425fb : 0)));
      EXPECT_THAT(status, HasSubstr(Caps("CapEff", uid == 0 ? 0xa80425fb : 0)));
    }
  }
}

TEST_F(CredentialsTest, Rlimits) {
  shim::v1::Rlimit* limit = process_.add_rlimits();
  limit->set_resource(RLIMIT_NOFILE);
  limit->set_soft(77);
  limit->set_hard(88);
  EXPECT_THAT(Exec("/proc/self/limits"), HasSubstr("Max open files            77                   88 "));
}

TEST_F(CredentialsTest, SessionKeyringIsNew) {
  const long before = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1);
  if (before < 0 && errno == ENOSYS) GTEST_SKIP() << "this kernel has no keyrings";
  const std::string after = Child([] {
    (void)sys::WriteAll(STDOUT_FILENO,
                        absl::StrCat(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)), "out");
    _exit(0);
  });
  EXPECT_NE(after, absl::StrCat(before));
  EXPECT_THAT(after, Not(HasSubstr("-")));
}

TEST_F(CredentialsTest, ADeathSignalOutlivesTheChangeOfUser) {
  // Under a program that refuses prctl: the last call before it.
  char profile[] = "/tmp/berth-profile-XXXXXX";
  const int fd = mkstemp(profile);
  ASSERT_TRUE(sys::WriteAll(fd, R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
      {"names": ["prctl"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]})",
                            profile)
                  .ok());
  close(fd);
  SeccompCache cache;
  const SeccompProgram program = cache.Localhost(profile).value();
  unlink(profile);
  fds_.push_back(program->get());
  process_.set_seccomp_fd(0);
  process_.set_uid(1234);
  prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
  EXPECT_EQ(Child(
                [] {
                  int signal = 0;
                  prctl(PR_GET_PDEATHSIG, &signal, 0, 0, 0);
                  (void)sys::WriteAll(STDOUT_FILENO, absl::StrCat(signal), "out");
                  _exit(0);
                },
                [] { prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0); }),
            absl::StrCat(SIGUSR1));
}

TEST_F(CredentialsTest, BadProgramsAreRefusedBeforeAnythingChanges) {
  process_.set_seccomp_fd(3);
  EXPECT_THAT(Exec(), HasSubstr("no descriptor 3"));
  process_.set_seccomp_fd(0);
  for (absl::string_view bytes : {"", "odd", "12345678"}) {
    auto fd = sys::SealedData(bytes, "test");
    ASSERT_TRUE(fd.ok()) << fd.status();
    fds_ = {fd->get()};
    EXPECT_THAT(Exec(), HasSubstr("INVALID_ARGUMENT"));
  }
}

// FALLBACK(linux<5.8) of runtime/security/credentials.cc: the module's own directory is missing here as there.
TEST_F(CredentialsTest, LabelOfAnAbsentModuleIsAnError) {
  if (access("/sys/kernel/security/apparmor", F_OK) == 0) GTEST_SKIP() << "this machine has AppArmor";
  process_.set_apparmor_profile("berth-default");
  auto procfs = sys::OpenDetachedProcfs();
  ASSERT_TRUE(procfs.ok()) << procfs.status();
  absl::Status status = SetExecLabels(process_, procfs->get());
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("apparmor label"));
}

}  // namespace
}  // namespace berth::security
