// Pods with a user namespace of their own. Needs root, and a file system of /tmp that maps ids.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/client/pod_fixture.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::client {
namespace {

using shim::v1::MountStep;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr uint32_t kHost = 200000;
constexpr uint32_t kLength = 65536;

void Map(google::protobuf::RepeatedPtrField<shim::v1::IdMapping>* mappings) {
  shim::v1::IdMapping* m = mappings->Add();
  m->set_host_id(kHost);
  m->set_length(kLength);
}

class ShimUsernsTest : public PodFixture {
 protected:
  std::shared_ptr<PodShim> LaunchUsernsPod(bool shared_pid = false) {
    shim::v1::SandboxPlan plan = Sandbox();
    Map(plan.mutable_uids());
    Map(plan.mutable_gids());
    plan.set_shared_pid(shared_pid);
    auto* sysctl = plan.add_sysctls();
    sysctl->set_key("kernel.shmmax");
    sysctl->set_value("12345678");
    sysctl = plan.add_sysctls();
    sysctl->set_key("net.ipv4.ip_unprivileged_port_start");
    sysctl->set_value("77");
    auto pod = LaunchPod(plan);
    EXPECT_NE(pod, nullptr);
    return pod;
  }
  // As Script, with the rootfs mapped and what the kernel makes only for namespaces that one owns.
  PlannedContainer MappedScript(PodShim& pod, const std::string& id, const std::string& script) {
    PlannedContainer c = Script(id, script);
    auto userns = pod.OpenUserns();
    EXPECT_TRUE(userns.ok() && userns->valid()) << userns.status();
    absl::Status mapped = sys::MapMountIds(c.owned[size_t(c.plan.rootfs_fd())].get(), userns->get());
    EXPECT_TRUE(mapped.ok()) << mapped;
    AddStep(c, MountStep::SYSFS, "/sys");
    AddStep(c, MountStep::MQUEUE, "/dev/mqueue");
    return c;
  }
  MountStep* AddStep(PlannedContainer& c, MountStep::Kind kind, const char* target) {
    MountStep* step = c.plan.add_mounts();
    step->set_kind(kind);
    step->set_target(target);
    step->set_fd(-1);
    return step;
  }
};

TEST_F(ShimUsernsTest, RootInsideIsNobodyOutside) {
  auto pod = LaunchUsernsPod();
  auto c =
      MappedScript(*pod, "c",
                   "tr -s ' ' </proc/self/uid_map; id -u; stat -c '%u:%g' /bin/sh; echo x >/etc/mine; stat -c '%u' "
                   "/etc/mine /dev/mqueue /proc/1/stat; echo again >/dev/stderr; hostname; cat "
                   "/proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /sys/class/net");
  Run(*pod, c);
  EXPECT_EQ(AwaitExit("c").exit_code(), 0) << Log("c");
  const std::string log = Log("c");
  EXPECT_THAT(log, HasSubstr("stdout F  0 200000 65536\n"));
  EXPECT_THAT(log, HasSubstr("stdout F 0\nstdout F 0:0\nstdout F 0\nstdout F 0\nstdout F 0\n"));
  EXPECT_THAT(log, HasSubstr("stderr F again\n"));
  EXPECT_THAT(log, HasSubstr("stdout F pod-host\nstdout F 12345678\nstdout F 77\nstdout F lo\n"));
  struct stat st;
  ASSERT_EQ(stat((rootfs_ + "/etc/mine").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0u) << "the mapped mount writes what root inside would";
}

TEST_F(ShimUsernsTest, TheNamespacesBelongToThePod) {
  auto pod = LaunchUsernsPod();
  auto c = MappedScript(
      *pod, "c",
      "ip link add v0 type veth peer name v1 && busybox ifconfig lo down && busybox mount -t tmpfs none /tmp && "
      "hostname other && hostname && echo 5 >/proc/sys/net/ipv4/ip_default_ttl && busybox mount -t "
      "proc none /tmp && echo done; echo 1 >/proc/sys/kernel/panic || echo refused; echo x "
      "2>/dev/null >/proc/sysrq-trigger || echo refused");
  Run(*pod, c);
  AwaitExit("c");
  EXPECT_THAT(Log("c"), HasSubstr("stdout F other\nstdout F done\n"));
  // What the shell says of it on its standard error may be logged before, between or behind.
  EXPECT_THAT(Log("c"), ContainsRegex("stdout F refused\n(stderr [^\n]*\n)*stdout F refused\n"));
}

TEST_F(ShimUsernsTest, NothingOfTheTemplateIsLeft) {
  auto pod = LaunchUsernsPod();
  auto c = MappedScript(*pod, "c", "cat /proc/self/mountinfo; ls -l /proc/self/fd; ls /");
  Run(*pod, c);
  AwaitExit("c");
  const std::string log = Log("c");
  EXPECT_THAT(log, Not(HasSubstr("/mnt")));
  EXPECT_THAT(log, Not(HasSubstr(" mnt\n")));
  EXPECT_THAT(log, Not(HasSubstr("user:[")));
}

// An attack: root inside, with CAP_SYS_ADMIN there, makes a read-only volume writable.
TEST_F(ShimUsernsTest, FlagsOfVolumesStay) {
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/volume", 0777).ok());
  ASSERT_EQ(chmod((dir_ + "/volume").c_str(), 0777), 0);
  auto pod = LaunchUsernsPod();
  auto c =
      MappedScript(*pod, "c",
                   "busybox mount -o remount,bind,rw,suid,exec,dev /volume || echo kept; echo x >/volume/x || echo "
                   "read-only; busybox umount /volume; ls /volume");
  auto volume = sys::CloneTree(AT_FDCWD, dir_ + "/volume", true);
  ASSERT_TRUE(volume.ok());
  ASSERT_TRUE(sys::SetMountAttrs(volume->get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, MS_PRIVATE, true).ok());
  AddStep(c, MountStep::ATTACH, "/volume")->set_fd(c.Add(*std::move(volume)));
  Run(*pod, c);
  AwaitExit("c");
  EXPECT_THAT(Log("c"), HasSubstr("stdout F kept\n"));
  EXPECT_THAT(Log("c"), HasSubstr("stdout F read-only\n"));
  EXPECT_NE(access((dir_ + "/volume/x").c_str(), F_OK), 0);
}

TEST_F(ShimUsernsTest, ASharedPidNamespaceIsThePodsToo) {
  auto pod = LaunchUsernsPod(true);
  auto c = MappedScript(*pod, "c",
                        "echo pid $$; cat /proc/1/comm; kill -9 1; ls /proc/1/fd 2>/dev/null || echo hidden; cat");
  c.plan.set_pid(shim::v1::NAMESPACE_POD);
  c.plan.set_stdin(true);
  Run(*pod, c);
  ASSERT_TRUE(AwaitLog("c", "hidden"));
  EXPECT_THAT(Log("c"), HasSubstr("stdout F berth-init\n"));
  EXPECT_THAT(Log("c"), Not(HasSubstr("pid 1\n")));
}

TEST_F(ShimUsernsTest, ExecJoinsAlsoAfterTheDaemonCameBack) {
  auto pod = LaunchUsernsPod();
  Run(*pod, MappedScript(*pod, "c", "while :; do sleep 1; done"));
  auto check = [&](PodShim& shim) {
    ExecResult r = Exec(shim, "c", "id -u; tr -s ' ' </proc/self/uid_map; echo x >/etc/x && stat -c %u /etc/x");
    EXPECT_EQ(r.code(), 0) << r.err;
    EXPECT_EQ(r.out, "0\n 0 200000 65536\n0\n");
    EXPECT_NE(Exec(shim, "c", "echo 1 >/proc/sys/kernel/panic").code(), 0);
  };
  check(*pod);
  pod.reset();
  launcher_.reset();
  StartLauncher();
  auto again = launcher_->Reconnect(pod_id_, state_dir_);
  ASSERT_TRUE(again.ok()) << again.status();
  check(**again);
  Run(**again, MappedScript(**again, "d", "id -u"));
  EXPECT_EQ(AwaitExit("d").exit_code(), 0);
}

TEST_F(ShimUsernsTest, SetuidProgramsMakeRootInside) {
  // busybox gives such rights away by itself.
  auto cat = sys::ReadFile("/bin/cat", 16 << 20);
  ASSERT_TRUE(cat.ok());
  {
    auto file = sys::Open(rootfs_ + "/bin/suid-cat", O_WRONLY | O_CREAT, 0755);
    ASSERT_TRUE(file.ok() && sys::WriteAll(file->get(), *cat, "suid-cat").ok());
    ASSERT_EQ(fchmod(file->get(), 04755), 0);
  }
  auto pod = LaunchUsernsPod();
  auto c = MappedScript(*pod, "c", "suid-cat /proc/self/status | grep ^Uid");
  c.plan.mutable_process()->set_uid(33);
  Run(*pod, c);
  AwaitExit("c");
  EXPECT_THAT(Log("c"), HasSubstr("stdout F Uid:\t33\t0\t0\t0\n"));
}

TEST_F(ShimUsernsTest, AUserThatIsNotMappedIsRefused) {
  auto pod = LaunchUsernsPod();
  auto c = MappedScript(*pod, "c", "id");
  c.plan.mutable_process()->set_uid(kLength);
  auto created = pod->Create(c.plan, c.fds());
  EXPECT_EQ(created.status().code(), absl::StatusCode::kInvalidArgument) << created.status();
}

TEST_F(ShimUsernsTest, ATerminalBelongsToTheUserInside) {
  auto pod = LaunchUsernsPod();
  auto c = MappedScript(*pod, "c", "stat -c '%u %g' /dev/console; echo hi >/dev/console");
  c.plan.mutable_process()->set_tty(true);
  c.plan.mutable_process()->set_uid(33);
  c.plan.mutable_process()->set_gid(33);
  Run(*pod, c);
  EXPECT_EQ(AwaitExit("c").exit_code(), 0) << Log("c");
  EXPECT_THAT(Log("c"), HasSubstr("stdout F 33 5\nstdout F hi\n"));
}

TEST_F(ShimUsernsTest, APodOnTheHostHasNone) {
  auto pod = LaunchPod();
  auto userns = pod->OpenUserns();
  ASSERT_TRUE(userns.ok());
  EXPECT_FALSE(userns->valid());
}

TEST_F(ShimUsernsTest, BadMappingsLeaveNothing) {
  shim::v1::SandboxPlan plan = Sandbox();
  Map(plan.mutable_uids());
  Map(plan.mutable_gids());
  plan.mutable_uids(0)->set_length(0);
  auto pod = launcher_->Launch(plan, state_dir_, {});
  EXPECT_EQ(pod.status().code(), absl::StatusCode::kInvalidArgument) << pod.status();
  EXPECT_THAT(std::string(pod.status().message()), HasSubstr("userns_options"));
  EXPECT_TRUE(absl::IsNotFound(launcher_->Reconnect(pod_id_, state_dir_).status()));
}

}  // namespace
}  // namespace berth::client
