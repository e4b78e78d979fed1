// floor_start: the system calls of a container start and nothing else. What berth does for a container in a pod, done
// by one small static process without safety, records, messages or memory of its own: no start on this machine can cost
// less with these calls. It reads one byte at a time from stdin and answers each with a line on stdout:
//
//   s   starts a container; "start:NS,STEP:NS,..." once its execve is done
//   e   kills it, waits for it and removes all of it; "end:NS"
//
// floor_start --layers DIR:DIR... (top first) --work DIR --logs DIR --pod DIR --cgroup /PATH
//     [--cgroup-root DIR] [--seccomp FD]
//
// Its own namespaces are made once, before the first command, as a pod's are. It keeps a mount namespace with nothing
// in it and clones mounts from detached ones, which takes Linux 6.15.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <initializer_list>

#include "tests/bench/standard_paths.h"

namespace {

constexpr uint64_t kStrict = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
constexpr uint64_t kDefaultCapabilities = 0xa80425fb;  // what a container gets that asks for nothing
constexpr int kMaxTrees = 24;
constexpr const char* kDevices[] = {"null", "zero", "full", "random", "urandom", "tty"};
constexpr const char* kLinks[][2] = {{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
                                     {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
                                     {"core", "/proc/kcore"},       {"ptmx", "pts/ptmx"}};
constexpr const char* kFiles[] = {"hosts", "hostname", "resolv.conf"};
constexpr const char* kDeviceRules[] = {"b *:* m",   "c *:* m",   "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm",
                                        "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};

// In the order in which they are done. The first six are the parent's.
constexpr const char* kSteps[] = {"writable layer", "overlay",    "cgroup",        "trees",  "streams", "clone",
                                  "cgroup join",    "session",    "rootfs attach", "mounts", "devices", "masked paths",
                                  "readonly paths", "pivot root", "credentials",   "execute"};
enum Step {
  kLayer,
  kOverlay,
  kCgroup,
  kTrees,
  kStreams,
  kClone,
  kJoin,
  kSession,
  kAttach,
  kMounts,
  kDeviceNodes,
  kMasks,
  kProtects,
  kPivot,
  kCredentials,
  kExecute,
  kStepCount
};

struct Tree {
  char name[64];
  int mount;   // detached, of the whole hierarchy
  int parent;  // the directory in which the containers' cgroups are made
};

struct Floor {
  const char *layers = nullptr, *work = nullptr, *logs = nullptr, *pod = nullptr, *cgroup = nullptr;
  const char* cgroup_root = "/sys/fs/cgroup";
  int seccomp = -1;
  sock_fprog program = {};
  bool v2 = false;
  Tree trees[kMaxTrees] = {};
  int tree_count = 0;
  int layer_fds[128] = {};
  int layer_count = 0;
  int work_dir = -1, log_dir = -1, dev = -1, files = -1, shm = -1;
  uint64_t* at = nullptr;  // shared with the child: when each step was done
};

struct Container {
  char name[32];
  int dir = -1, upper = -1, work = -1, rootfs = -1;
  int cgroups[kMaxTrees], tasks[kMaxTrees];
  int nodes[6], files[3], hierarchies[kMaxTrees], shm = -1;
  int out[2], err[2], log = -1, pidfd = -1;
};

uint64_t Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

int Need(long result, const char* what) {
  if (result >= 0) return static_cast<int>(result);
  fprintf(stderr, "floor_start: %s: %s\n", what, strerror(errno));
  _exit(1);
}

int OpenDir(int at, const char* path) { return Need(openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path); }
int CloneMount(int at, const char* path, uint64_t attrs, uint64_t clear = 0) {
  int fd = Need(syscall(SYS_open_tree, at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), path);
  mount_attr attr = {};
  attr.attr_set = attrs;
  attr.attr_clr = clear;
  attr.propagation = attrs == 0 ? MS_PRIVATE : 0;
  Need(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr), "mount_setattr");
  return fd;
}
void Attach(int mount, int at, const char* path) {
  unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*path ? 0u : unsigned{MOVE_MOUNT_T_EMPTY_PATH});
  Need(syscall(SYS_move_mount, mount, "", at, path, flags), path);
}
int FsOpen(const char* type) { return Need(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), type); }
void FsString(int fs, const char* key, const char* value) {
  Need(syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0), key);
}
int FsMount(int fs, uint64_t attrs) {
  Need(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), "create of a file system");
  int mount = Need(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attrs), "fsmount");
  close(fs);
  return mount;
}
void WriteTo(int dir, const char* file, const char* text, bool optional = false) {
  int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
  if (fd < 0 && optional) return;
  Need(fd, file);
  Need(write(fd, text, strlen(text)), file);
  close(fd);
}
void Copy(int from, int to, const char* file) {
  char text[256];
  int fd = Need(openat(from, file, O_RDONLY | O_CLOEXEC), file);
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  WriteTo(to, file, text);
}

// ---- once -------------------------------------------------------------------------------------------------------

bool IsCpuset(const Tree& tree) { return strcmp(tree.name, "cpuset") == 0; }

void AddTree(Floor& floor, const char* name, int fd) {
  Tree& tree = floor.trees[floor.tree_count++];
  snprintf(tree.name, sizeof tree.name, "%s", name);
  tree.parent = fd;
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s", floor.cgroup);
  for (char* part = strtok(path, "/"); part != nullptr; part = strtok(nullptr, "/")) {
    if (mkdirat(tree.parent, part, 0755) != 0 && errno != EEXIST) Need(-1, part);
    int next = OpenDir(tree.parent, part);
    if (IsCpuset(tree)) {
      Copy(tree.parent, next, "cpuset.cpus");
      Copy(tree.parent, next, "cpuset.mems");
    }
    if (floor.v2) WriteTo(tree.parent, "cgroup.subtree_control", "+cpu +memory +pids", true);
    tree.parent = next;
  }
  tree.mount = CloneMount(fd, "", 0);
}

void OpenCgroups(Floor& floor) {
  int root = OpenDir(AT_FDCWD, floor.cgroup_root);
  struct statfs fs;
  if (fstatfs(root, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) {
    floor.v2 = true;
    return AddTree(floor, "", root);
  }
  DIR* dir = fdopendir(root);
  while (dirent* entry = readdir(dir)) {
    int fd = openat(root, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstatfs(fd, &fs) != 0 || fs.f_type != CGROUP_SUPER_MAGIC) continue;
    if (floor.tree_count < kMaxTrees) AddTree(floor, entry->d_name, fd);
  }
}

void LoadProgram(Floor& floor) {
  if (floor.seccomp < 0) return;
  struct stat st;
  Need(fstat(floor.seccomp, &st), "seccomp program");
  void* map = mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_SHARED, floor.seccomp, 0);
  floor.program = {static_cast<unsigned short>(st.st_size / 8), static_cast<sock_filter*>(map)};
}

// The pod's namespaces and an empty root. What is cloned later is kept detached.
void Setup(Floor& floor) {
  floor.at = static_cast<uint64_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  LoadProgram(floor);
  Need(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS), "unshare");
  Need(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "private");
  floor.work_dir = OpenDir(CloneMount(AT_FDCWD, floor.work, 0), ".");
  floor.log_dir = OpenDir(AT_FDCWD, floor.logs);
  floor.files = CloneMount(AT_FDCWD, floor.pod, 0);
  floor.dev = CloneMount(AT_FDCWD, "/dev", 0);
  floor.shm = FsOpen("tmpfs");
  FsString(floor.shm, "mode", "1777");
  floor.shm = FsMount(floor.shm, kStrict);
  OpenCgroups(floor);
  char layers[PATH_MAX * 4];
  snprintf(layers, sizeof layers, "%s", floor.layers);
  for (char* layer = strtok(layers, ":"); layer != nullptr; layer = strtok(nullptr, ":")) {
    floor.layer_fds[floor.layer_count++] = CloneMount(AT_FDCWD, layer, 0);
  }
  Need(mount("floor", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=64k,nr_inodes=16"), "root");
  Need(chdir("/proc"), "chdir");
  Need(syscall(SYS_pivot_root, ".", "."), "pivot_root");
  Need(umount2(".", MNT_DETACH), "umount");
  Need(chdir("/"), "chdir");
}

// ---- the parent's steps -----------------------------------------------------------------------------------------

void MakeLayer(Floor& floor, Container& c) {
  Need(mkdirat(floor.work_dir, c.name, 0700), "mkdir");
  c.dir = OpenDir(floor.work_dir, c.name);
  Need(mkdirat(c.dir, "upper", 0755), "mkdir upper");
  Need(mkdirat(c.dir, "work", 0700), "mkdir work");
  c.upper = Need(openat(c.dir, "upper", O_PATH | O_DIRECTORY | O_CLOEXEC), "upper");
  c.work = Need(openat(c.dir, "work", O_PATH | O_DIRECTORY | O_CLOEXEC), "work");
}

void MountOverlay(Floor& floor, Container& c) {
  int fs = FsOpen("overlay");
  const auto set_fd = [&](const char* key, int fd) {
    Need(syscall(SYS_fsconfig, fs, FSCONFIG_SET_FD, key, nullptr, fd), key);
  };
  for (int i = 0; i < floor.layer_count; ++i) set_fd("lowerdir+", floor.layer_fds[i]);
  set_fd("upperdir", c.upper);
  set_fd("workdir", c.work);
  FsString(fs, "index", "off");
  FsString(fs, "metacopy", "off");
  FsString(fs, "redirect_dir", "nofollow");
  Need(syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "volatile", nullptr, 0), "volatile");
  c.rootfs = FsMount(fs, 0);
}

void MakeCgroup(Floor& floor, Container& c) {
  for (int i = 0; i < floor.tree_count; ++i) {
    const Tree& tree = floor.trees[i];
    Need(mkdirat(tree.parent, c.name, 0755), "mkdir of a cgroup");
    c.cgroups[i] = OpenDir(tree.parent, c.name);
    if (floor.v2) {
      WriteTo(c.cgroups[i], "cpu.weight", "1", true);
      continue;
    }
    if (IsCpuset(tree)) {
      Copy(tree.parent, c.cgroups[i], "cpuset.cpus");
      Copy(tree.parent, c.cgroups[i], "cpuset.mems");
    }
    if (strcmp(tree.name, "cpu") == 0) WriteTo(c.cgroups[i], "cpu.shares", "2");
    if (strcmp(tree.name, "devices") == 0) {
      WriteTo(c.cgroups[i], "devices.deny", "a");
      int allow = Need(openat(c.cgroups[i], "devices.allow", O_WRONLY | O_CLOEXEC), "devices.allow");
      for (const char* rule : kDeviceRules) Need(write(allow, rule, strlen(rule)), rule);
      close(allow);
    }
    c.tasks[i] = Need(openat(c.cgroups[i], "tasks", O_WRONLY | O_CLOEXEC), "tasks");
  }
}

void CloneTrees(Floor& floor, Container& c) {
  for (int i = 0; i < 6; ++i) {
    c.nodes[i] =
        CloneMount(floor.dev, kDevices[i], MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NODEV);
  }
  for (int i = 0; i < 3; ++i) c.files[i] = CloneMount(floor.files, kFiles[i], 0);
  c.shm = Need(syscall(SYS_open_tree, floor.shm, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), "shm");
  for (int i = 0; i < floor.tree_count && !floor.v2; ++i) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", floor.cgroup + 1, c.name);
    c.hierarchies[i] = CloneMount(floor.trees[i].mount, path, kStrict | MOUNT_ATTR_RDONLY);
  }
}

void MakeStreams(Floor& floor, Container& c) {
  Need(pipe2(c.out, O_CLOEXEC), "pipe");
  Need(pipe2(c.err, O_CLOEXEC), "pipe");
  Need(fchown(c.out[0], 0, 0), "fchown");
  Need(fchown(c.err[0], 0, 0), "fchown");
  c.log = Need(openat(floor.log_dir, c.name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640), "log");
}

// ---- the child's steps ------------------------------------------------------------------------------------------

void Session(Container& c) {
  Need(setsid(), "setsid");
  dup2(c.out[1], 1);
  dup2(c.err[1], 2);
}

void SetOomScore(int rootfs) {
  int fd = Need(openat(rootfs, "proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), "oom_score_adj");
  Need(write(fd, "1000", 4), "oom_score_adj");
  close(fd);
}

void AttachRootfs(int rootfs) {
  mount_attr attr = {};
  attr.propagation = MS_PRIVATE;
  Need(syscall(SYS_mount_setattr, rootfs, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr), "private rootfs");
  Attach(rootfs, AT_FDCWD, "/");
}

void MountCgroups(Floor& floor, Container& c) {
  if (floor.v2) {
    int fs = FsMount(FsOpen("cgroup2"), kStrict | MOUNT_ATTR_RDONLY);
    Attach(fs, c.rootfs, "sys/fs/cgroup");
    close(fs);
    return;
  }
  int fs = FsOpen("tmpfs");
  FsString(fs, "mode", "755");
  fs = FsMount(fs, kStrict);
  Attach(fs, c.rootfs, "sys/fs/cgroup");
  for (int i = 0; i < floor.tree_count; ++i) {
    Need(mkdirat(fs, floor.trees[i].name, 0755), "mkdir of a hierarchy");
    Attach(c.hierarchies[i], fs, floor.trees[i].name);
  }
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  Need(syscall(SYS_mount_setattr, fs, "", AT_EMPTY_PATH, &attr, sizeof attr), "read-only cgroups");
  close(fs);
}

int MakeMounts(Floor& floor, Container& c) {
  int fs = FsMount(FsOpen("proc"), kStrict);
  Attach(fs, c.rootfs, "proc");
  close(fs);
  fs = FsOpen("tmpfs");
  FsString(fs, "mode", "755");
  FsString(fs, "size", "65536k");
  const int dev = FsMount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME);
  Attach(dev, c.rootfs, "dev");
  for (const char* name : {"pts", "mqueue", "shm"}) Need(mkdirat(dev, name, 0755), name);
  fs = FsOpen("devpts");
  FsString(fs, "ptmxmode", "0666");
  FsString(fs, "mode", "0620");
  FsString(fs, "gid", "5");
  fs = FsMount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  Attach(fs, dev, "pts");
  close(fs);
  fs = FsMount(FsOpen("mqueue"), kStrict);
  Attach(fs, dev, "mqueue");
  close(fs);
  Attach(c.shm, dev, "shm");
  fs = FsMount(FsOpen("sysfs"), kStrict | MOUNT_ATTR_RDONLY);
  Attach(fs, c.rootfs, "sys");
  close(fs);
  MountCgroups(floor, c);
  for (int i = 0; i < 3; ++i) {
    char path[64];
    snprintf(path, sizeof path, "etc/%s", kFiles[i]);
    int made = openat(c.rootfs, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (made >= 0) close(made);
    Attach(c.files[i], c.rootfs, path);
  }
  return dev;
}

void AttachDevices(Container& c, int dev) {
  for (int i = 0; i < 6; ++i) {
    close(Need(openat(dev, kDevices[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), kDevices[i]));
    Attach(c.nodes[i], dev, kDevices[i]);
  }
  for (const auto& link : kLinks) Need(symlinkat(link[1], dev, link[0]), link[0]);
  close(dev);
}

void MaskPaths(Container& c) {
  int empty = -1;
  for (const char* path : berth::bench::kMaskedPaths) {
    struct stat st;
    if (fstatat(c.rootfs, path + 1, &st, 0) != 0) continue;
    int cover = -1;
    if (!S_ISDIR(st.st_mode)) {
      cover = Need(syscall(SYS_open_tree, c.nodes[0], "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), path);
    } else if (empty < 0) {
      int fs = FsOpen("tmpfs");
      FsString(fs, "nr_blocks", "1");
      FsString(fs, "nr_inodes", "1");
      cover = empty = FsMount(fs, kStrict | MOUNT_ATTR_RDONLY);
    } else {
      cover = Need(syscall(SYS_open_tree, empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), path);
    }
    Attach(cover, c.rootfs, path + 1);
    if (cover != empty) close(cover);
  }
  if (empty >= 0) close(empty);
}

void ProtectPaths(Container& c) {
  for (const char* path : berth::bench::kReadOnlyPaths) {
    const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
    int clone = static_cast<int>(syscall(SYS_open_tree, c.rootfs, path + 1, flags));
    if (clone < 0) continue;
    mount_attr attr = {};
    attr.attr_set = MOUNT_ATTR_RDONLY;
    attr.propagation = MS_PRIVATE;
    Need(syscall(SYS_mount_setattr, clone, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr), path);
    Attach(clone, c.rootfs, path + 1);
    close(clone);
  }
}

void EnterRootfs(Container& c) {
  Need(fchdir(c.rootfs), "chdir");
  Need(syscall(SYS_pivot_root, ".", "."), "pivot_root");
  Need(umount2(".", MNT_DETACH), "umount");
  Need(chdir("/"), "chdir");
}

void SetCredentials(Floor& floor) {
  Need(syscall(SYS_close_range, 3u, ~0u, unsigned{CLOSE_RANGE_CLOEXEC}), "close_range");
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  for (int cap = 0; cap <= CAP_LAST_CAP; ++cap) {
    if ((kDefaultCapabilities >> cap & 1) == 0) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
  }
  const gid_t groups[] = {0};
  Need(syscall(SYS_setgroups, 1, groups), "setgroups");
  Need(syscall(SYS_setresgid, 0, 0, 0), "setresgid");
  Need(syscall(SYS_setresuid, 0, 0, 0), "setresuid");
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  // The one more is for loading the program; execve drops it.
  data[0].effective = data[0].permitted = static_cast<uint32_t>(kDefaultCapabilities) | 1u << CAP_SYS_ADMIN;
  Need(syscall(SYS_capset, &header, data), "capset");
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (floor.program.len == 0) return;
  Need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &floor.program), "seccomp");
}

[[noreturn]] void RunChild(Floor& floor, Container& c) {
  const auto done = [&](Step step) { floor.at[step] = Now(); };
  done(kClone);
  for (int i = 0; i < floor.tree_count && !floor.v2; ++i) Need(write(c.tasks[i], "0", 1), "tasks");
  Need(unshare(CLONE_NEWCGROUP), "cgroup namespace");
  done(kJoin);
  Session(c);
  done(kSession);
  umask(0);
  AttachRootfs(c.rootfs);
  done(kAttach);
  const int dev = MakeMounts(floor, c);
  SetOomScore(c.rootfs);
  done(kMounts);
  AttachDevices(c, dev);
  done(kDeviceNodes);
  MaskPaths(c);
  done(kMasks);
  ProtectPaths(c);
  done(kProtects);
  EnterRootfs(c);
  umask(022);
  done(kPivot);
  SetCredentials(floor);
  done(kCredentials);
  char program[] = "/bin/sleep", time[] = "86400", path[] = "PATH=/bin";
  char *argv[] = {program, time, nullptr}, *envp[] = {path, nullptr};
  execve(program, argv, envp);
  Need(-1, program);
  _exit(1);
}

// ---- one container ----------------------------------------------------------------------------------------------

void CloseMounts(Floor& floor, Container& c) {
  for (int fd : {c.rootfs, c.shm, c.out[1], c.err[1], c.upper, c.work}) close(fd);
  for (int fd : c.nodes) close(fd);
  for (int fd : c.files) close(fd);
  for (int i = 0; i < floor.tree_count && !floor.v2; ++i) {
    close(c.hierarchies[i]);
    close(c.tasks[i]);
  }
}

void Start(Floor& floor, Container& c) {
  const auto done = [&](Step step) { floor.at[step] = Now(); };
  const uint64_t begin = Now();
  MakeLayer(floor, c);
  done(kLayer);
  MountOverlay(floor, c);
  done(kOverlay);
  MakeCgroup(floor, c);
  done(kCgroup);
  CloneTrees(floor, c);
  done(kTrees);
  MakeStreams(floor, c);
  int alive[2];
  Need(pipe2(alive, O_CLOEXEC), "pipe");
  done(kStreams);
  clone_args args = {};
  args.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_PIDFD | (floor.v2 ? uint64_t{CLONE_INTO_CGROUP} : 0);
  args.pidfd = reinterpret_cast<uintptr_t>(&c.pidfd);
  args.exit_signal = SIGCHLD;
  if (floor.v2) args.cgroup = static_cast<uint64_t>(c.cgroups[0]);
  if (Need(syscall(SYS_clone3, &args, sizeof args), "clone3") == 0) RunChild(floor, c);
  close(alive[1]);
  CloseMounts(floor, c);
  char byte;
  if (read(alive[0], &byte, 1) != 0) Need(-1, "child");
  done(kExecute);
  close(alive[0]);
  siginfo_t info = {};
  waitid(P_PIDFD, static_cast<id_t>(c.pidfd), &info, WEXITED | WNOHANG | WNOWAIT);
  if (info.si_pid != 0) {
    fprintf(stderr, "floor_start: the container ended\n");
    _exit(1);
  }
  printf("start:%llu", static_cast<unsigned long long>(floor.at[kExecute] - begin));
  for (int step = 0; step < kStepCount; ++step) {
    const uint64_t before = step == 0 ? begin : floor.at[step - 1];
    printf(",%s:%llu", kSteps[step], static_cast<unsigned long long>(floor.at[step] - before));
  }
  printf("\n");
}

void RemoveIn(int dir) {
  int own = OpenDir(dir, ".");
  DIR* stream = fdopendir(own);
  while (dirent* entry = readdir(stream)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (unlinkat(own, entry->d_name, 0) == 0) continue;
    int sub = OpenDir(own, entry->d_name);
    RemoveIn(sub);
    close(sub);
    Need(unlinkat(own, entry->d_name, AT_REMOVEDIR), entry->d_name);
  }
  closedir(stream);
}

void End(Floor& floor, Container& c) {
  const uint64_t begin = Now();
  Need(syscall(SYS_pidfd_send_signal, c.pidfd, SIGKILL, nullptr, 0), "kill");
  siginfo_t info = {};
  Need(waitid(P_PIDFD, static_cast<id_t>(c.pidfd), &info, WEXITED), "wait");
  for (int fd : {c.pidfd, c.out[0], c.err[0], c.log}) close(fd);
  for (int i = 0; i < floor.tree_count; ++i) {
    close(c.cgroups[i]);
    while (unlinkat(floor.trees[i].parent, c.name, AT_REMOVEDIR) != 0) {
      if (errno != EBUSY) Need(-1, "rmdir of a cgroup");
      usleep(50);
    }
  }
  RemoveIn(c.dir);
  close(c.dir);
  Need(unlinkat(floor.work_dir, c.name, AT_REMOVEDIR), "rmdir");
  const uint64_t end = Now();
  unlinkat(floor.log_dir, c.name, 0);
  printf("end:%llu\n", static_cast<unsigned long long>(end - begin));
}

}  // namespace

int main(int argc, char** argv) {
  Floor floor;
  for (int i = 1; i + 1 < argc; i += 2) {
    const struct {
      const char* name;
      const char** value;
    } options[] = {{"--layers", &floor.layers}, {"--work", &floor.work},     {"--logs", &floor.logs},
                   {"--pod", &floor.pod},       {"--cgroup", &floor.cgroup}, {"--cgroup-root", &floor.cgroup_root}};
    if (strcmp(argv[i], "--seccomp") == 0) floor.seccomp = atoi(argv[i + 1]);
    for (const auto& option : options) {
      if (strcmp(argv[i], option.name) == 0) *option.value = argv[i + 1];
    }
  }
  if (!floor.layers || !floor.work || !floor.logs || !floor.pod || !floor.cgroup) {
    fprintf(stderr, "floor_start: an option is missing\n");
    return 2;
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);
  Setup(floor);
  Container container;
  unsigned number = 0;
  for (char command; read(0, &command, 1) == 1;) {
    if (command == 's') {
      container = Container();
      snprintf(container.name, sizeof container.name, "floor-%u", ++number);
      Start(floor, container);
    } else if (command == 'e') {
      End(floor, container);
    }
  }
  return 0;
}
