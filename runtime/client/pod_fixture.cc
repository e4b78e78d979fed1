#include "runtime/client/pod_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"
#include "runtime/sys/pidfd.h"

namespace berth::client {
namespace {

void CopyFile(const std::string& from, const std::string& to) {
  auto content = sys::ReadFile(from, 16 << 20);
  ASSERT_TRUE(content.ok()) << content.status();
  auto file = sys::Open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(sys::WriteAll(file->get(), *content, to).ok());
}

// busybox with the libraries that it is linked to.
void MakeRootfs(const std::string& root) {
  for (const char* d : {"/bin", "/lib/x86_64-linux-gnu", "/lib64", "/etc", "/proc", "/dev", "/tmp", "/sys"}) {
    ASSERT_TRUE(sys::MakeDirs(root + d, 0755).ok());
  }
  CopyFile("/bin/busybox", root + "/bin/busybox");
  for (const char* lib :
       {"/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libresolv.so.2"}) {
    CopyFile(lib, root + lib);
  }
  for (const char* applet :
       {"sh",     "true", "false",    "sleep", "echo", "cat", "ls",   "id", "kill", "ps",   "hostname",
        "setsid", "stty", "readlink", "ip",    "dd",   "yes", "head", "tr", "stat", "grep", "test"}) {
    ASSERT_EQ(link((root + "/bin/busybox").c_str(), (root + "/bin/" + applet).c_str()), 0);
  }
  CopyFile(BERTH_STATIC_TRUE, root + "/bin/static-true");
  ASSERT_EQ(chmod((root + "/tmp").c_str(), 01777), 0);
}

shim::v1::MountStep* AddMount(shim::v1::ContainerPlan& plan, shim::v1::MountStep::Kind kind, const char* target) {
  shim::v1::MountStep* step = plan.add_mounts();
  step->set_kind(kind);
  step->set_target(target);
  step->set_fd(-1);
  return step;
}

// All that this machine's root has.
uint64_t OwnCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  syscall(SYS_capget, &header, data);
  return data[0].permitted | uint64_t{data[1].permitted} << 32;
}

void SetProcess(shim::v1::Process& process, const std::vector<std::string>& argv) {
  const uint64_t all = OwnCapabilities();
  for (const std::string& arg : argv) process.add_argv(arg);
  process.add_env("PATH=/bin");
  process.set_cwd("/");
  process.set_cap_bounding(all);
  process.set_cap_permitted(all);
  process.set_cap_effective(all);
  process.set_seccomp_fd(-1);
  process.set_umask(022);
}

template <typename Done>
bool Until(Done done, absl::Duration timeout = absl::Seconds(10)) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!done()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

}  // namespace

int ExecResult::code() const {
  EXPECT_TRUE(started.ok()) << started;
  EXPECT_TRUE(!started.ok() || outcome.ok()) << outcome.status();
  return outcome.ok() ? outcome->exit_code : -1;
}

std::vector<int> PlannedContainer::fds() const {
  std::vector<int> out;
  for (const sys::UniqueFd& fd : owned) out.push_back(fd.get());
  return out;
}

int PlannedContainer::Add(sys::UniqueFd fd) {
  EXPECT_TRUE(fd.valid());
  owned.push_back(std::move(fd));
  return static_cast<int>(owned.size()) - 1;
}

void PodFixture::SetUp() {
  if (geteuid() != 0) GTEST_SKIP() << "namespaces and mounts need root";
  if (access("/bin/busybox", X_OK) != 0) GTEST_SKIP() << "needs busybox for a rootfs";
  char path[] = "/tmp/berth-shim-test-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  dir_ = path;
  rootfs_ = dir_ + "/rootfs";
  logs_ = dir_ + "/logs";
  state_dir_ = dir_ + "/state";
  ASSERT_TRUE(sys::MakeDirs(logs_, 0755).ok());
  ASSERT_TRUE(sys::MakeDirs(state_dir_, 0700).ok());
  MakeRootfs(rootfs_);
  pod_id_ = PodId(RandomHexId());
  StartLauncher();
}

void PodFixture::TearDown() {
  if (launcher_) {
    auto pod = launcher_->Reconnect(pod_id_, state_dir_);
    if (pod.ok()) {
      EXPECT_TRUE((*pod)->Shutdown().ok());
    }
  }
  launcher_.reset();
  if (dir_.empty()) return;
  EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok());
}

void PodFixture::StartLauncher() {
  ShimLauncher::Options options;
  options.shim_binary = BERTH_SHIM_BINARY;
  options.call_timeout = call_timeout_;
  options.events.on_exit = [this](const PodId&, const shim::v1::ExitRecord& record) { OnExit(record); };
  options.events.on_shim_gone = [this](const PodId& id) {
    absl::MutexLock lock(&mutex_);
    ++gone_[id.str()];
  };
  auto launcher = ShimLauncher::Start(std::move(options));
  ASSERT_TRUE(launcher.ok()) << launcher.status();
  launcher_ = *std::move(launcher);
}

void PodFixture::OnExit(const shim::v1::ExitRecord& record) {
  absl::MutexLock lock(&mutex_);
  exits_[record.container_id()] = record;
}

shim::v1::SandboxPlan PodFixture::Sandbox() {
  shim::v1::SandboxPlan plan;
  plan.set_pod_id(pod_id_.str());
  plan.set_network(shim::v1::NAMESPACE_NEW);
  plan.set_ipc(shim::v1::NAMESPACE_NEW);
  plan.set_uts(shim::v1::NAMESPACE_NEW);
  plan.set_hostname("pod-host");
  plan.set_oom_score_adj(-999);
  return plan;
}

std::shared_ptr<PodShim> PodFixture::LaunchPod(shim::v1::SandboxPlan plan, std::vector<int> fds) {
  auto pod = launcher_->Launch(std::move(plan), state_dir_, fds);
  EXPECT_TRUE(pod.ok()) << pod.status();
  return pod.ok() ? *pod : nullptr;
}

PlannedContainer PodFixture::Program(const std::string& id, const std::vector<std::string>& argv) {
  PlannedContainer c;
  shim::v1::ContainerPlan& plan = c.plan;
  plan.set_container_id(id);
  SetProcess(*plan.mutable_process(), argv);
  plan.set_network(shim::v1::NAMESPACE_POD);
  plan.set_ipc(shim::v1::NAMESPACE_POD);
  plan.set_uts(shim::v1::NAMESPACE_POD);
  plan.set_pid(shim::v1::NAMESPACE_NEW);
  plan.set_cgroup_ns(shim::v1::NAMESPACE_NEW);
  auto rootfs = sys::CloneTree(AT_FDCWD, rootfs_, false);
  EXPECT_TRUE(rootfs.ok()) << rootfs.status();
  if (rootfs.ok()) plan.set_rootfs_fd(c.Add(*std::move(rootfs)));
  AddMount(plan, shim::v1::MountStep::PROC, "/proc");
  AddMount(plan, shim::v1::MountStep::TMPFS, "/dev")->add_options("mode=755");
  auto* pts = AddMount(plan, shim::v1::MountStep::DEVPTS, "/dev/pts");
  for (const char* option : {"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}) pts->add_options(option);
  AddMount(plan, shim::v1::MountStep::TMPFS, "/tmp")->add_options("mode=1777");
  auto null = sys::CloneTree(AT_FDCWD, "/dev/null", false);
  EXPECT_TRUE(null.ok()) << null.status();
  shim::v1::DeviceNode* device = plan.add_devices();
  device->set_path("/dev/null");
  device->set_fd(c.Add(*std::move(null)));
  plan.mutable_log()->set_dir_fd(c.Add(*sys::Open(logs_, O_RDONLY | O_DIRECTORY)));
  plan.mutable_log()->set_name(id + ".log");
  plan.mutable_log()->set_append(true);
  return c;
}

PlannedContainer PodFixture::Script(const std::string& id, const std::string& script) {
  return Program(id, {"sh", "-c", script});
}

void PodFixture::Run(PodShim& pod, const PlannedContainer& container) {
  auto created = pod.Create(container.plan, container.fds());
  ASSERT_TRUE(created.ok()) << created.status();
  auto started = pod.Start(ContainerId(container.plan.container_id()));
  ASSERT_TRUE(started.ok()) << started.status();
}

bool PodFixture::Exited(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  return exits_.count(id) != 0;
}

shim::v1::ExitRecord PodFixture::AwaitExit(const std::string& id) {
  EXPECT_TRUE(Until([&] { return Exited(id); })) << "no exit of " << id;
  absl::MutexLock lock(&mutex_);
  return exits_[id];
}

bool PodFixture::IsGone(const PodId& id) {
  absl::MutexLock lock(&mutex_);
  EXPECT_LE(gone_[id.str()], 1) << "told more than once";
  return gone_[id.str()] == 1;
}

bool PodFixture::AwaitGone(const PodId& id) {
  return Until([&] { return IsGone(id); });
}

shim::v1::ExecPlan PodFixture::ExecScript(const std::string& id, const std::string& script) {
  shim::v1::ExecPlan plan;
  plan.set_container_id(id);
  SetProcess(*plan.mutable_process(), {"sh", "-c", script});
  plan.set_stdin_fd(-1);
  plan.set_stdout_fd(-1);
  plan.set_stderr_fd(-1);
  return plan;
}

ExecResult PodFixture::Exec(PodShim& pod, const std::string& id, const std::string& script, absl::Duration timeout) {
  ExecResult result;
  shim::v1::ExecPlan plan = ExecScript(id, script);
  int out[2], err[2];
  EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
  EXPECT_EQ(pipe2(err, O_CLOEXEC), 0);
  sys::UniqueFd out_read(out[0]), out_write(out[1]), err_read(err[0]), err_write(err[1]);
  plan.set_stdout_fd(0);
  plan.set_stderr_fd(1);
  plan.set_timeout_ns(static_cast<uint64_t>(absl::ToInt64Nanoseconds(timeout)));
  const std::vector<int> fds = {out_write.get(), err_write.get()};
  absl::Mutex mutex;
  bool done = false;
  auto started = pod.Exec(plan, fds, [&](absl::StatusOr<ExecOutcome> outcome) {
    absl::MutexLock lock(&mutex);
    EXPECT_FALSE(done) << "told more than once";
    result.outcome = std::move(outcome);
    done = true;
  });
  out_write.Reset();
  err_write.Reset();
  result.started = started.status();
  if (!started.ok()) return result;
  absl::MutexLock lock(&mutex);
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&done), absl::Seconds(20)));
  // What was written by then; a process in the background may hold the pipe.
  fcntl(out_read.get(), F_SETFL, O_NONBLOCK);
  fcntl(err_read.get(), F_SETFL, O_NONBLOCK);
  char buffer[65536];
  for (ssize_t n; (n = read(out_read.get(), buffer, sizeof buffer)) > 0;) result.out.append(buffer, size_t(n));
  for (ssize_t n; (n = read(err_read.get(), buffer, sizeof buffer)) > 0;) result.err.append(buffer, size_t(n));
  return result;
}

std::string PodFixture::Log(const std::string& id) {
  const std::string text = sys::ReadFile(logs_ + "/" + id + ".log", 64 << 20).value_or("");
  std::string out;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    EXPECT_GT(line.size(), 31u) << line;
    absl::StrAppend(&out, line.substr(std::min<size_t>(31, line.size())), "\n");
  }
  return out;
}

size_t PodFixture::DescriptorsOf(PodShim& pod) {
  auto dir = sys::Open(absl::StrCat("/proc/", pod.pid(), "/fd"), O_RDONLY | O_DIRECTORY);
  auto names = dir.ok() ? sys::ListDir(dir->get()) : dir.status();
  EXPECT_TRUE(names.ok()) << names.status();
  return names.ok() ? names->size() : 0;
}

bool PodFixture::AwaitLog(const std::string& id, const std::string& text) {
  return Until([&] { return absl::StrContains(Log(id), text); });
}

}  // namespace berth::client
