// Apply, performed by a forked child in namespaces of its own on a rootfs in a temporary directory,
// and what a hostile image could try. Needs root.
#include "runtime/rootfs/apply.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::rootfs {
namespace {

using shim::v1::ContainerPlan;
using shim::v1::MountStep;
using sys::UniqueFd;
using ::testing::HasSubstr;

// ---- helpers that run inside the container; each returns a line for the report
// -------------------------------------

std::string Slurp(const char* path) {
  auto text = sys::ReadFile(path);
  return text.ok() ? *text : absl::StrCat("<", text.status().message(), ">");
}
std::string Names(const char* path) {
  auto dir = sys::Open(path, O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return std::string(dir.status().message());
  auto names = sys::ListDir(dir->get());
  if (!names.ok()) return std::string(names.status().message());
  std::sort(names->begin(), names->end());
  std::string out;
  for (const std::string& name : *names) absl::StrAppend(&out, name, " ");
  return out;
}
// 0 or the errno of opening for writing and writing one byte.
int WriteErrno(const char* path) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int err = write(fd, "x", 1) == 1 ? 0 : errno;
  close(fd);
  return err;
}

class ApplyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mounts and namespaces need root";
    char name[] = "/tmp/berth-apply-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    for (const char* sub : {"/rootfs", "/rootfs/etc", "/rootfs/data", "/rootfs/data/sub", "/host"}) {
      ASSERT_EQ(mkdir((dir_ + sub).c_str(), 0755), 0);
    }
    Put("/rootfs/etc/passwd", "root");
    Put("/host/file", "host");
    plan_.set_container_id("test");
    plan_.mutable_process()->set_seccomp_fd(-1);
    AddStep(MountStep::PROC, "/proc", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    MountStep* dev = AddStep(MountStep::TMPFS, "/dev", MOUNT_ATTR_NOSUID);
    dev->add_options("mode=755");
    dev->add_options("size=65536k");
    MountStep* pts = AddStep(MountStep::DEVPTS, "/dev/pts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    for (const char* o : {"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}) pts->add_options(o);
    AddStep(MountStep::MQUEUE, "/dev/mqueue", MOUNT_ATTR_NOSUID);
    AddStep(MountStep::SYSFS, "/sys", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
    AddDevice("/dev/null", "/dev/null");
    AddDevice("/dev/zero", "/dev/zero");
  }
  void TearDown() override {
    if (dir_.empty()) return;
    EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok());
  }

  void Put(absl::string_view path, absl::string_view text) {
    auto fd = sys::Open(absl::StrCat(dir_, path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_TRUE(fd.ok()) << fd.status();
    ASSERT_TRUE(sys::WriteAll(fd->get(), text, path).ok());
  }
  int AddFd(UniqueFd fd) {
    owned_.push_back(std::move(fd));
    return static_cast<int>(owned_.size()) - 1;
  }
  MountStep* AddStep(MountStep::Kind kind, const char* target, uint64_t attrs = 0) {
    MountStep* step = plan_.add_mounts();
    step->set_kind(kind);
    step->set_target(target);
    step->set_fd(-1);
    step->set_attrs(attrs);
    return step;
  }
  MountStep* AddBind(const std::string& host_path, const char* target, bool file = false) {
    auto mount = sys::CloneTree(AT_FDCWD, host_path, false);
    EXPECT_TRUE(mount.ok()) << mount.status();
    MountStep* step = AddStep(MountStep::ATTACH, target);
    step->set_fd(AddFd(*std::move(mount)));
    step->set_file(file);
    return step;
  }
  void AddDevice(const char* host_path, const char* path) {
    auto mount = sys::CloneTree(AT_FDCWD, host_path, false);
    ASSERT_TRUE(mount.ok()) << mount.status();
    ASSERT_TRUE(sys::SetMountAttrs(mount->get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, false).ok());
    shim::v1::DeviceNode* device = plan_.add_devices();
    device->set_path(path);
    device->set_fd(AddFd(*std::move(mount)));
  }

  // Runs Apply and then `inside` in a new container. The report is what `inside` returned, or
  // "error: …".
  std::string Run(const std::function<std::string(Terminal&)>& inside) {
    auto rootfs = sys::CloneTree(AT_FDCWD, dir_ + "/rootfs", false);
    EXPECT_TRUE(rootfs.ok()) << rootfs.status();
    plan_.set_rootfs_fd(AddFd(*std::move(rootfs)));
    std::vector<int> fds;
    for (const UniqueFd& fd : owned_) fds.push_back(fd.get());
    int pipe_fds[2];
    EXPECT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
    auto child = sys::Clone(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET);
    EXPECT_TRUE(child.ok()) << child.status();
    if (child->pid == 0) {
      alarm(20);
      Terminal terminal;
      absl::Status status = EnterTemplate();
      if (status.ok()) status = Apply(plan_, fds, timer_, &terminal);
      const std::string report = status.ok() ? inside(terminal) : absl::StrCat("error: ", status.ToString());
      (void)sys::WriteAll(pipe_fds[1], report, "pipe");
      _exit(0);
    }
    close(pipe_fds[1]);
    auto report = sys::ReadFd(pipe_fds[0], 1 << 20, "pipe");
    close(pipe_fds[0]);
    EXPECT_EQ(waitpid(child->pid, nullptr, 0), child->pid);
    return report.ok() ? *report : report.status().ToString();
  }
  std::string Run(const std::function<std::string()>& inside) {
    return Run([&](Terminal&) { return inside(); });
  }

  // As the zygote does: the only mount left is an empty tmpfs.
  static absl::Status EnterTemplate() {
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return ErrnoError(errno, "private");
    ASSIGN_OR_RETURN(UniqueFd tmpfs, sys::MountDetached("tmpfs", {}, 0));
    ASSIGN_OR_RETURN(UniqueFd root, sys::Open("/", O_PATH));
    RETURN_IF_ERROR(sys::AttachMount(tmpfs.get(), root.get(), "/"));
    if (fchdir(tmpfs.get()) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0) {
      return ErrnoError(errno, "template");
    }
    return absl::OkStatus();
  }

  std::string HostNames(const char* sub) { return Names((dir_ + sub).c_str()); }

  std::string dir_;
  ContainerPlan plan_;
  std::vector<UniqueFd> owned_;
  StepTimer timer_;
};

TEST_F(ApplyTest, BuildsTheStandardTree) {
  const std::string report = Run([] {
    struct statfs fs;
    struct stat null;
    EXPECT_EQ(statfs("/proc", &fs), 0);
    std::string out = absl::StrCat("proc ", absl::Hex(fs.f_type), " pid ", getpid(), "\n");
    EXPECT_EQ(stat("/dev/null", &null), 0);
    absl::StrAppend(&out, "null ", major(null.st_rdev), ":", minor(null.st_rdev), " write ", WriteErrno("/dev/null"),
                    "\n");
    absl::StrAppend(&out, "dev ", Names("/dev"), "\nroot ", Names("/"), "\npasswd ", Slurp("/etc/passwd"), "\n");
    absl::StrAppend(&out, "mounts\n", Slurp("/proc/self/mountinfo"));
    return out;
  });
  EXPECT_THAT(report, HasSubstr("proc 9fa0 pid 1\n"));
  EXPECT_THAT(report, HasSubstr("null 1:3 write 0\n"));
  EXPECT_THAT(report, HasSubstr("dev core fd mqueue null ptmx pts stderr stdin stdout zero \n"));
  EXPECT_THAT(report, HasSubstr("root data dev etc proc sys \n"));
  EXPECT_THAT(report, HasSubstr("passwd root\n"));
  // Nothing of the template is left: the rootfs and the seven mounts of the plan.
  const std::string mounts = report.substr(report.find("mounts\n") + 7);
  EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 8) << mounts;
}

TEST_F(ApplyTest, DeviceNodesOfTheHostCannotBeChangedFromInside) {
  struct stat before, after;
  ASSERT_EQ(stat("/dev/null", &before), 0);
  EXPECT_EQ(Run([] {
              const int mode = chmod("/dev/null", 0600) == 0 ? 0 : errno;
              const int owner = chown("/dev/null", 7, 7) == 0 ? 0 : errno;
              return absl::StrCat(mode == EROFS, owner == EROFS, unlink("/dev/null") != 0);
            }),
            "111");
  ASSERT_EQ(stat("/dev/null", &after), 0);
  EXPECT_EQ(before.st_mode, after.st_mode);
  EXPECT_EQ(before.st_uid, after.st_uid);
}

TEST_F(ApplyTest, NodesOfItsOwnHaveTheirOwnerAndReplaceWhatTheImageHas) {
  const auto add = [this](const char* path) {
    shim::v1::DeviceNode* device = plan_.add_devices();
    device->set_path(path);
    device->set_fd(-1);
    shim::v1::DeviceNode::Own& own = *device->mutable_own();
    own.set_major(1);
    own.set_minor(7);
    own.set_mode(0640);
    own.set_uid(7);
    own.set_gid(8);
  };
  add("/dev/sub/full");
  add("/opt/full");
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/rootfs/opt", 0755).ok());
  ASSERT_EQ(symlink("/etc", (dir_ + "/rootfs/opt/full").c_str()), 0);
  EXPECT_EQ(Run([] {
              std::string out;
              for (const char* path : {"/dev/sub/full", "/opt/full"}) {
                struct stat st = {};
                lstat(path, &st);
                absl::StrAppend(&out, S_ISCHR(st.st_mode), " ", st.st_rdev == makedev(1, 7), " ",
                                absl::Hex(st.st_mode & 07777), " ", st.st_uid, " ", st.st_gid, "\n");
              }
              return out;
            }),
            "1 1 1a0 7 8\n1 1 1a0 7 8\n");
}

TEST_F(ApplyTest, MakesMissingTargetsAndFollowsDanglingLinksInsideTheRootfs) {
  ASSERT_EQ(symlink("/run/resolve/resolv.conf", (dir_ + "/rootfs/etc/resolv.conf").c_str()), 0);
  ASSERT_EQ(mkdir((dir_ + "/rootfs/var").c_str(), 0755), 0);
  ASSERT_EQ(symlink("../../../run", (dir_ + "/rootfs/var/run").c_str()), 0);
  AddBind(dir_ + "/host/file", "/etc/resolv.conf", true);
  AddBind(dir_ + "/host", "/var/run/secrets/account");
  AddBind(dir_ + "/host/file", "/a/b/c", true);
  EXPECT_EQ(Run([] {
              return Slurp("/etc/resolv.conf") + Slurp("/run/resolve/resolv.conf") +
                     Slurp("/run/secrets/account/file") + Slurp("/a/b/c");
            }),
            "hosthosthosthost");
  EXPECT_EQ(HostNames("/rootfs/run"), "resolve secrets ");
}

TEST_F(ApplyTest, TargetsOfTheWrongTypeAndLoopsAreErrors) {
  AddBind(dir_ + "/host", "/etc/passwd/x");
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("Not a directory"));
}

TEST_F(ApplyTest, SymlinkLoopIsAnError) {
  ASSERT_EQ(symlink("loop2", (dir_ + "/rootfs/loop1").c_str()), 0);
  ASSERT_EQ(symlink("loop1", (dir_ + "/rootfs/loop2").c_str()), 0);
  AddBind(dir_ + "/host", "/loop1/x");
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("Too many levels"));
}

TEST_F(ApplyTest, AnOptionalMountMayFail) {
  AddStep(MountStep::TMPFS, "/etc/passwd/x")->set_optional(true);
  EXPECT_EQ(Run([] { return "applied"; }), "applied");
}

TEST_F(ApplyTest, IndicesOutsideOfTheListAreRefused) {
  AddStep(MountStep::ATTACH, "/x")->set_fd(99);
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("INVALID_ARGUMENT"));
}

TEST_F(ApplyTest, ReadonlyTmpfsHoldsLaterTargets) {
  AddStep(MountStep::TMPFS, "/sys/fs/cgroup", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
  AddBind(dir_ + "/host", "/sys/fs/cgroup/memory");
  EXPECT_EQ(Run([] {
              return absl::StrCat(Slurp("/sys/fs/cgroup/memory/file"), " ",
                                  mkdir("/sys/fs/cgroup/new", 0755) != 0 && errno == EROFS);
            }),
            "host 1");
}

// ---- masked and read-only paths
// ------------------------------------------------------------------------------------

TEST_F(ApplyTest, MasksFilesAndDirectoriesAndIgnoresWhatIsMissing) {
  for (const char* path : {"/etc/passwd", "/proc/kcore", "/data", "/sys/kernel", "/none", "/etc/passwd/below"}) {
    plan_.add_masked_paths(path);
  }
  EXPECT_EQ(Run([] {
              return absl::StrCat("[", Slurp("/proc/meminfo").empty(), "][", Names("/data"), "][", Names("/sys/kernel"),
                                  "] ", WriteErrno("/etc/passwd"), " ", mkdir("/data/x", 0755) != 0 && errno == EROFS,
                                  " ", access("/etc/passwd", X_OK) != 0 && errno == EACCES);
            }),
            "[0][][] 0 1 1");
  EXPECT_EQ(HostNames("/rootfs/data"), "sub ");
}

TEST_F(ApplyTest, MaskedPathThatIsASymlinkCoversTheTargetInsideTheRootfs) {
  ASSERT_EQ(symlink((dir_ + "/host/file").c_str(), (dir_ + "/rootfs/etc/out").c_str()), 0);
  ASSERT_EQ(symlink("../../../../../../etc/passwd", (dir_ + "/rootfs/etc/up").c_str()), 0);
  plan_.add_masked_paths("/etc/out");
  plan_.add_masked_paths("/etc/up");
  EXPECT_EQ(Run([] {
              struct stat st;
              return absl::StrCat(stat("/etc/passwd", &st) == 0 && S_ISCHR(st.st_mode));
            }),
            "1");
}

TEST_F(ApplyTest, MaskNeedsARealNullDevice) {
  plan_.clear_devices();
  AddDevice("/dev/zero", "/dev/null");  // looks like it by name
  plan_.add_masked_paths("/etc/passwd");
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("no /dev/null"));
}

TEST_F(ApplyTest, DeviceThatIsNoneIsRefused) {
  auto mount = sys::CloneTree(AT_FDCWD, dir_ + "/host/file", false);
  ASSERT_TRUE(mount.ok());
  shim::v1::DeviceNode* device = plan_.add_devices();
  device->set_path("/dev/sda");
  device->set_fd(AddFd(*std::move(mount)));
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("is not a device"));
}

TEST_F(ApplyTest, ReadonlyPathsAndReadonlyRootfs) {
  plan_.add_readonly_paths("/proc/sys");
  plan_.add_readonly_paths("/data");
  plan_.add_readonly_paths("/none");
  AddBind(dir_ + "/host", "/volume");
  plan_.set_readonly_rootfs(true);
  EXPECT_EQ(Run([] {
              return absl::StrCat(WriteErrno("/proc/sys/kernel/shmmni") == EROFS,
                                  mkdir("/data/y", 0755) != 0 && errno == EROFS,
                                  mkdir("/y", 0755) != 0 && errno == EROFS, mkdir("/volume/made", 0755) == 0);
            }),
            "1111");
  EXPECT_EQ(HostNames("/host"), "file made ");
}

TEST_F(ApplyTest, RootfsPropagationIsSetAtTheEnd) {
  plan_.set_rootfs_propagation(MS_SHARED);
  EXPECT_THAT(Run([] { return Slurp("/proc/self/mountinfo"); }), HasSubstr(" shared:"));
}

// ---- hostile images
// ------------------------------------------------------------------------------------------------

TEST_F(ApplyTest, ProcThatIsASymlinkIsRefused) {  // CVE-2019-19921, CVE-2023-27561
  ASSERT_EQ(symlink("/data", (dir_ + "/rootfs/proc").c_str()), 0);
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("'/proc' of the rootfs is not a directory"));
}

TEST_F(ApplyTest, SysThatIsASymlinkIsRefused) {
  ASSERT_EQ(symlink(dir_.c_str(), (dir_ + "/rootfs/sys").c_str()), 0);
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("'/sys' of the rootfs is not a directory"));
}

TEST_F(ApplyTest, DevThatIsASymlinkToTheHostLeavesTheHostAlone) {  // CVE-2026-41579
  ASSERT_EQ(symlink((dir_ + "/host").c_str(), (dir_ + "/rootfs/dev").c_str()), 0);
  Run([] { return "applied"; });
  EXPECT_EQ(HostNames("/host"), "file ");
}

TEST_F(ApplyTest, DevThatClimbsOutLeavesTheHostAlone) {
  ASSERT_EQ(symlink("../host", (dir_ + "/rootfs/dev").c_str()), 0);
  Run([] { return "applied"; });
  EXPECT_EQ(HostNames("/host"), "file ");
}

TEST_F(ApplyTest, TargetsThatClimbOutStayInside) {  // CVE-2019-18837, CVE-2022-23648
  ASSERT_EQ(symlink("../../../../../../../../tmp", (dir_ + "/rootfs/up").c_str()), 0);
  AddBind(dir_ + "/host", "/up/../../new");
  AddBind(dir_ + "/host", "/up/made");
  EXPECT_EQ(Run([] { return Slurp("/new/file") + Slurp("/tmp/made/file"); }), "hosthost");
  EXPECT_NE(access("/tmp/made", F_OK), 0);
}

TEST_F(ApplyTest, VolumeAtProcIsRefused) {  // CVE-2019-16884
  plan_.mutable_mounts()->DeleteSubrange(0, 1);
  AddBind(dir_ + "/host", "/proc");
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("'/proc' of the container is not procfs"));
}

TEST_F(ApplyTest, FilesThatToolsReadMayBeReplacedInsideProc) {
  AddBind(dir_ + "/host/file", "/proc/uptime", true);
  EXPECT_EQ(Run([] { return Slurp("/proc/uptime"); }), "host");
}

TEST_F(ApplyTest, OtherVolumesInsideProcAreRefused) {  // CVE-2025-52881
  ASSERT_EQ(symlink("/proc/sys/kernel/core_pattern", (dir_ + "/rootfs/etc/conf").c_str()), 0);
  AddBind(dir_ + "/host/file", "/etc/conf", true);
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("inside procfs"));
}

TEST_F(ApplyTest, MagicLinksAreNotFollowed) {  // CVE-2024-21626
  AddBind(dir_ + "/host", "/proc/self/cwd/x");
  EXPECT_THAT(Run([] { return "applied"; }), HasSubstr("error: "));
}

// ---- terminal
// ------------------------------------------------------------------------------------------------------

TEST_F(ApplyTest, TerminalComesFromTheContainersOwnDevpts) {
  plan_.mutable_process()->set_tty(true);
  plan_.mutable_process()->set_uid(1234);
  EXPECT_EQ(Run([](Terminal& terminal) {
              struct stat console, slave;
              char name[64] = "";
              EXPECT_EQ(ttyname_r(terminal.slave.get(), name, sizeof name), 0);
              EXPECT_EQ(stat("/dev/console", &console), 0);
              EXPECT_EQ(fstat(terminal.slave.get(), &slave), 0);
              char got[8] = "";
              EXPECT_EQ(write(terminal.slave.get(), "hi", 2), 2);
              const ssize_t n = read(terminal.master.get(), got, sizeof got);
              return absl::StrCat(name, " ", console.st_rdev == slave.st_rdev, " ", slave.st_uid, ":", slave.st_gid,
                                  " ", absl::string_view(got, static_cast<size_t>(n)));
            }),
            "/dev/pts/0 1 1234:5 hi");
}

TEST_F(ApplyTest, NoTerminalUnlessThePlanSaysSo) {
  EXPECT_EQ(Run([](Terminal& terminal) { return absl::StrCat(terminal.slave.valid(), access("/dev/console", F_OK)); }),
            "0-1");
}

}  // namespace
}  // namespace berth::rootfs
