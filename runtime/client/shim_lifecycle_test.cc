// What survives what: daemons that come and go, shims and zygotes that are killed, and the end of a pod. Needs root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/client/pod_fixture.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unix_socket.h"

namespace berth::client {
namespace {

using shim::v1::ExitRecord;
using testing::HasSubstr;
using testing::Not;

class ShimLifecycleTest : public PodFixture {
 protected:
  // The zygote: our child of that name.
  pid_t Zygote() {
    for (absl::string_view word : absl::StrSplit(Children(), ' ', absl::SkipWhitespace())) {
      int pid = 0;
      if (!absl::SimpleAtoi(word, &pid)) continue;
      if (sys::ReadFile(absl::StrCat("/proc/", pid, "/comm")).value_or("") == "berth-zygote\n") return pid;
    }
    return 0;
  }
  // Children of all our threads.
  std::string Children() {
    std::string out;
    auto dir = sys::Open("/proc/self/task", O_RDONLY | O_DIRECTORY);
    const std::vector<std::string> tasks = sys::ListDir(dir->get()).value_or(std::vector<std::string>());
    for (const std::string& task : tasks) {
      absl::StrAppend(&out, sys::ReadFile(absl::StrCat("/proc/self/task/", task, "/children")).value_or(""), " ");
    }
    return out;
  }
  void RestartLauncher() {
    launcher_.reset();
    StartLauncher();
  }
};

TEST_F(ShimLifecycleTest, AShimIsAdoptedByInitHasItsOwnSessionAndShowsNothing) {
  auto pod = LaunchPod();
  ASSERT_NE(pod, nullptr);
  const std::string proc = absl::StrCat("/proc/", pod->pid());
  EXPECT_EQ(getsid(pod->pid()), pod->pid());
  EXPECT_THAT(*sys::ReadFile(proc + "/status"), HasSubstr("PPid:\t1\n"));
  char exe[256] = {};
  ASSERT_GT(readlink((proc + "/exe").c_str(), exe, sizeof exe - 1), 0);
  EXPECT_STREQ(exe, "/memfd:berth-shim (deleted)");
  auto image = sys::Open(proc + "/exe", O_RDONLY);
  EXPECT_EQ(fcntl(image->get(), F_GET_SEALS), 0xf);
  EXPECT_FALSE(sys::Open(proc + "/exe", O_WRONLY).ok());
  auto mounts = *sys::ReadFile(proc + "/mounts");
  EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 1) << mounts;
  struct stat st;
  ASSERT_EQ(stat((state_dir_ + "/shim.sock").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(ShimLifecycleTest, AContainerJoinsItsResctrlClassAndKeepsNoDescriptorOfIt) {
  shim::v1::SandboxPlan sandbox = Sandbox();
  sandbox.set_shared_pid(true);
  auto pod = LaunchPod(sandbox);
  ASSERT_NE(pod, nullptr);
  const std::string tasks = state_dir_ + "/tasks";
  // Cloned at once, and by a helper that enters the pid namespace first.
  for (auto [id, pid] : {std::pair("own", shim::v1::NAMESPACE_NEW), {"shared", shim::v1::NAMESPACE_POD}}) {
    PlannedContainer c = Script(id, "ls -l /proc/self/fd");
    c.plan.set_pid(pid);
    auto fd = sys::Open(tasks, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_TRUE(fd.ok()) << fd.status();
    c.plan.mutable_process()->set_rdt_tasks_fd(c.Add(*std::move(fd)));
    Run(*pod, c);
    AwaitExit(id);
    EXPECT_EQ(*sys::ReadFile(tasks), "0") << id;
    EXPECT_THAT(Log(id), Not(HasSubstr("tasks"))) << id;
  }
}

TEST_F(ShimLifecycleTest, AnUnknownSysctlIsRefusedUnlessItIsOptional) {
  shim::v1::SandboxPlan sandbox = Sandbox();
  auto* sysctl = sandbox.add_sysctls();
  sysctl->set_key("net.no.such");
  sysctl->set_value("1");
  sysctl->set_optional(true);
  EXPECT_NE(LaunchPod(sandbox), nullptr);
}

TEST_F(ShimLifecycleTest, TheNetworkNamespaceIsThePodsAndLoopbackIsUp) {
  auto pod = LaunchPod();
  auto netns = pod->OpenNetns();
  ASSERT_TRUE(netns.ok()) << netns.status();
  struct stat own, theirs;
  ASSERT_EQ(stat("/proc/self/ns/net", &own), 0);
  ASSERT_EQ(fstat(netns->get(), &theirs), 0);
  EXPECT_NE(own.st_ino, theirs.st_ino);
  Run(*pod, Script("c", "ip addr; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"));
  AwaitExit("c");
  EXPECT_THAT(Log("c"), HasSubstr("127.0.0.1"));
}

TEST_F(ShimLifecycleTest, ADaemonThatReturnsFindsEverything) {
  auto pod = LaunchPod();
  const int shim_pid = pod->pid();
  Run(*pod, Script("short", "sleep 0.3; echo late; exit 9"));
  Run(*pod, Script("long", "sleep 100"));
  RestartLauncher();
  EXPECT_EQ(pod->State().status().code(), absl::StatusCode::kUnavailable);
  absl::SleepFor(absl::Milliseconds(600));
  auto again = launcher_->Reconnect(pod_id_, state_dir_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->pid(), shim_pid);
  auto records = ShimLauncher::ReadExitRecords(state_dir_);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].exit_code(), 9);
  EXPECT_THAT(Log("short"), HasSubstr("late"));
  auto state = (*again)->State();
  ASSERT_EQ(state->size(), 2u);
  EXPECT_EQ((*state)[0].state(), shim::v1::CONTAINER_STATE_RUNNING);
  EXPECT_GT((*state)[0].pid(), 0);
  EXPECT_EQ((*state)[1].state(), shim::v1::CONTAINER_STATE_EXITED);
  EXPECT_EQ((*state)[1].exit().exit_code(), 9);
  ASSERT_TRUE((*again)->Signal(ContainerId("long"), SIGKILL, true).ok());
  EXPECT_EQ(AwaitExit("long").exit_code(), 137);
  EXPECT_EQ(Exec(**again, "long", "true").started.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(IsGone(pod_id_));
}

TEST_F(ShimLifecycleTest, TwoDaemonsAreServedAtOnce) {
  auto pod = LaunchPod();
  auto other = launcher_->Reconnect(pod_id_, state_dir_);
  ASSERT_TRUE(other.ok());
  Run(*pod, Script("c", "sleep 100"));
  EXPECT_EQ((*other)->State()->size(), 1u);
  EXPECT_EQ(Exec(**other, "c", "exit 4").code(), 4);
  other->reset();
  EXPECT_EQ(pod->State()->size(), 1u);
  EXPECT_EQ(launcher_->Reconnect(PodId("another"), state_dir_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(launcher_->Reconnect(pod_id_, dir_ + "/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(launcher_->Reconnect(pod_id_, logs_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ShimLifecycleTest, AKilledShimIsReportedOnceAndTakesItsContainersAlong) {
  auto pod = LaunchPod();
  auto c = Script("c", "sleep 100");
  auto created = pod->Create(c.plan, c.fds());
  ASSERT_TRUE(pod->Start(ContainerId("c")).ok());
  auto container = sys::OpenPidfd(created->pid());
  absl::Mutex mutex;
  int failed = 0;
  ASSERT_TRUE(pod->Exec(ExecScript("c", "sleep 50"), {},
                        [&](absl::StatusOr<ExecOutcome> outcome) {
                          absl::MutexLock lock(&mutex);
                          failed += absl::IsUnavailable(outcome.status());
                        })
                  .ok());
  ASSERT_EQ(kill(pod->pid(), SIGKILL), 0);
  EXPECT_TRUE(AwaitGone(pod_id_));
  EXPECT_TRUE(sys::WaitPidfdExited(container->get(), 5000));
  EXPECT_EQ(pod->State().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(launcher_->Reconnect(pod_id_, state_dir_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(pod->Shutdown().ok());
  absl::MutexLock lock(&mutex);
  EXPECT_EQ(failed, 1);
}

TEST_F(ShimLifecycleTest, ShutdownEndsEveryProcessAndIsNoSurprise) {
  auto pod = LaunchPod();
  auto shim = sys::OpenPidfd(pod->pid());
  std::vector<sys::UniqueFd> processes;
  for (const char* id : {"a", "b"}) {
    auto c = Script(id, "trap '' TERM; setsid sleep 100 & sleep 100");
    auto created = pod->Create(c.plan, c.fds());
    ASSERT_TRUE(created.ok());
    processes.push_back(*sys::OpenPidfd(created->pid()));
  }
  ASSERT_TRUE(pod->Start(ContainerId("a")).ok());
  ASSERT_TRUE(pod->Exec(ExecScript("a", "sleep 100"), {}, [](absl::StatusOr<ExecOutcome>) {}).ok());
  const absl::Time begin = absl::Now();
  ASSERT_TRUE(pod->Shutdown().ok());
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
  EXPECT_TRUE(sys::PidfdExited(shim->get()));
  for (const sys::UniqueFd& process : processes) EXPECT_TRUE(sys::PidfdExited(process.get()));
  EXPECT_FALSE(IsGone(pod_id_));
  EXPECT_TRUE(pod->Shutdown().ok());
  EXPECT_NE(access((state_dir_ + "/shim.sock").c_str(), F_OK), 0);
  // Its end was recorded for a daemon that comes later.
  EXPECT_GE(ShimLauncher::ReadExitRecords(state_dir_).size(), 1u);
}

TEST_F(ShimLifecycleTest, ADeadZygoteIsReplaced) {
  const pid_t first = Zygote();
  ASSERT_GT(first, 0);
  auto pidfd = sys::OpenPidfd(first);
  ASSERT_TRUE(sys::SignalPidfd(pidfd->get(), SIGKILL).ok());
  auto pod = LaunchPod();
  ASSERT_NE(pod, nullptr);
  Run(*pod, Script("c", "exit 3"));
  EXPECT_EQ(AwaitExit("c").exit_code(), 3);
  EXPECT_NE(Zygote(), first);
}

TEST_F(ShimLifecycleTest, TheZygoteEndsWithItsLauncherAndPodsDoNot) {
  auto pod = LaunchPod();
  auto zygote = sys::OpenPidfd(Zygote());
  ASSERT_TRUE(zygote.ok());
  auto shim = sys::OpenPidfd(pod->pid());
  launcher_.reset();
  EXPECT_TRUE(sys::WaitPidfdExited(zygote->get(), 5000));
  EXPECT_FALSE(sys::PidfdExited(shim->get()));
  StartLauncher();
}

TEST_F(ShimLifecycleTest, ALaunchThatCannotBeIsAnErrorWithItsReason) {
  shim::v1::SandboxPlan plan = Sandbox();
  auto* sysctl = plan.add_sysctls();
  sysctl->set_key("kernel.core_pattern");
  sysctl->set_value("|/bin/evil");
  auto pod = launcher_->Launch(plan, state_dir_, {});
  EXPECT_EQ(pod.status().code(), absl::StatusCode::kInvalidArgument) << pod.status();
  EXPECT_THAT(std::string(pod.status().message()), HasSubstr("kernel.core_pattern"));
  plan.mutable_sysctls(0)->set_key("net.ipv4.none");
  absl::Status unknown = launcher_->Launch(plan, state_dir_, {}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("is unknown to this kernel"));
  EXPECT_FALSE(launcher_->Launch(Sandbox(), dir_ + "/none", {}).ok());
  EXPECT_EQ(launcher_->Reconnect(pod_id_, state_dir_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(IsGone(pod_id_));
  ShimLauncher::Options options;
  options.shim_binary = dir_ + "/none";
  EXPECT_FALSE(ShimLauncher::Start(options).ok());
  options.shim_binary = logs_;
  EXPECT_FALSE(ShimLauncher::Start(options).ok());
}

TEST_F(ShimLifecycleTest, SysctlsAreThePodsOwn) {
  const std::string before = *sys::ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  shim::v1::SandboxPlan plan = Sandbox();
  for (auto [key, value] : {std::pair("net.ipv4.ip_unprivileged_port_start", "7"), {"kernel.shm_rmid_forced", "1"}}) {
    auto* sysctl = plan.add_sysctls();
    sysctl->set_key(key);
    sysctl->set_value(value);
  }
  auto pod = LaunchPod(plan);
  ASSERT_NE(pod, nullptr);
  Run(*pod, Script("c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"));
  AwaitExit("c");
  EXPECT_EQ(Log("c"), "stdout F 7\nstdout F 1\n");
  EXPECT_EQ(*sys::ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"), before);
}

TEST_F(ShimLifecycleTest, APodCanShareTheHostsNamespaces) {
  shim::v1::SandboxPlan plan = Sandbox();
  plan.set_network(shim::v1::NAMESPACE_HOST);
  plan.set_ipc(shim::v1::NAMESPACE_HOST);
  plan.set_uts(shim::v1::NAMESPACE_HOST);
  auto pod = LaunchPod(plan);
  auto c = Script("c", "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done");
  c.plan.set_pid(shim::v1::NAMESPACE_HOST);
  Run(*pod, c);
  AwaitExit("c");
  for (const char* name : {"net", "ipc", "uts", "pid"}) {
    char link[64] = {};
    ASSERT_GT(readlink(absl::StrCat("/proc/self/ns/", name).c_str(), link, sizeof link - 1), 0);
    EXPECT_THAT(Log("c"), HasSubstr(link));
  }
  EXPECT_EQ(Exec(*pod, "c", "true").started.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ShimLifecycleTest, ContainersCanShareThePodsPidNamespace) {
  shim::v1::SandboxPlan plan = Sandbox();
  plan.set_shared_pid(true);
  auto pod = LaunchPod(plan);
  for (const char* id : {"a", "b"}) {
    auto c = Script(id, absl::StrCat("echo ready; sleep 10", id[0] == 'a' ? 1 : 2));
    c.plan.set_pid(shim::v1::NAMESPACE_POD);
    Run(*pod, c);
    ASSERT_TRUE(AwaitLog(id, "ready"));
  }
  const std::string ps = Exec(*pod, "a", "ps").out;
  EXPECT_THAT(ps, HasSubstr("berth-init"));
  EXPECT_THAT(ps, HasSubstr("sleep 101"));
  EXPECT_THAT(ps, HasSubstr("sleep 102"));
  // Zombies of the pod are reaped by the built-in init.
  Exec(*pod, "a", "(sleep 0.05 &) ; true");
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_THAT(Exec(*pod, "a", "ps").out, Not(HasSubstr("sleep 0.05")));
  auto c = Script("c", "true");
  c.plan.set_pid(shim::v1::NAMESPACE_FD);
  c.plan.set_pid_ns_fd(-1);
  EXPECT_EQ(pod->Create(c.plan, c.fds()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ShimLifecycleTest, AContainerCanJoinAnothersPidNamespace) {
  auto pod = LaunchPod();
  auto target = Script("target", "echo ready; sleep 77");
  auto created = pod->Create(target.plan, target.fds());
  ASSERT_TRUE(pod->Start(ContainerId("target")).ok());
  auto debug = Script("debug", "ps");
  debug.plan.set_pid(shim::v1::NAMESPACE_FD);
  debug.plan.set_pid_ns_fd(debug.Add(*sys::Open(absl::StrCat("/proc/", created->pid(), "/ns/pid"), O_RDONLY)));
  Run(*pod, debug);
  EXPECT_EQ(AwaitExit("debug").exit_code(), 0);
  EXPECT_THAT(Log("debug"), HasSubstr("sleep 77"));
}

TEST_F(ShimLifecycleTest, AHugeEnvironmentAndManyDescriptorsArrive) {
  auto pod = LaunchPod();
  auto c = Script("c", "echo ${#LAST}");
  for (int i = 0; i < 8; ++i) c.plan.mutable_process()->add_env(absl::StrCat("V", i, "=", std::string(60000, 'v')));
  c.plan.mutable_process()->add_env("LAST=" + std::string(1000, 'l'));
  for (int i = 0; i < 300; ++i) c.Add(*sys::Open("/dev/null", O_RDONLY));
  Run(*pod, c);
  EXPECT_EQ(AwaitExit("c").exit_code(), 0);
  EXPECT_EQ(Log("c"), "stdout F 1000\n");
}

TEST_F(ShimLifecycleTest, ABackgroundWriterDoesNotDelayTheRecordAndIsLogged) {
  shim::v1::SandboxPlan plan = Sandbox();
  plan.set_shared_pid(true);
  auto pod = LaunchPod(plan);
  auto c = Script("c", "(sleep 0.6; echo late) & echo early");
  c.plan.set_pid(shim::v1::NAMESPACE_POD);
  const absl::Time begin = absl::Now();
  Run(*pod, c);
  EXPECT_EQ(AwaitExit("c").exit_code(), 0);
  EXPECT_LT(absl::Now() - begin, absl::Milliseconds(550));
  EXPECT_TRUE(AwaitLog("c", "late"));
}

// The child of a clone helper may report, run and end before the helper has said that it exists.
TEST_F(ShimLifecycleTest, ProgramsThatEndAtOnceAreAnswered) {
  shim::v1::SandboxPlan plan = Sandbox();
  plan.set_shared_pid(true);
  auto pod = LaunchPod(plan);
  for (int i = 0; i < 100; ++i) {
    const std::string id = absl::StrCat("c", i);
    auto c = Program(id, {"/bin/static-true"});
    c.plan.set_pid(shim::v1::NAMESPACE_POD);
    Run(*pod, c);
    ASSERT_EQ(AwaitExit(id).exit_code(), 0);
  }
  Run(*pod, Script("target", "sleep 100"));
  shim::v1::ExecPlan exec = ExecScript("target", "");
  exec.mutable_process()->clear_argv();
  exec.mutable_process()->add_argv("/bin/static-true");
  absl::Mutex mutex;
  int done = 0;
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(pod->Exec(exec, {},
                          [&](absl::StatusOr<ExecOutcome> outcome) {
                            absl::MutexLock lock(&mutex);
                            done += outcome.ok() && outcome->exit_code == 0;
                          })
                    .ok());
  }
  absl::MutexLock lock(&mutex);
  auto all = [&] { return done == 500; };
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(10))) << done;
}

// CVE-2016-9962: with CAP_SYS_PTRACE a container may look into what enters its pid namespace.
TEST_F(ShimLifecycleTest, AnExecShowsTheContainerNoDescriptorOfTheShim) {
  auto pod = LaunchPod();
  Run(*pod, Script("c",
                   "echo ready; while :; do ls -l /proc/[0-9]*/fd 2>&1; done | grep -E "
                   "' -> (/|.*tasks|.*cgroup.*|.*log|.*memfd.*|.*event.*|.*signalfd.*|.*sock)$'"));
  ASSERT_TRUE(AwaitLog("c", "ready"));
  for (int i = 0; i < 200; ++i) ASSERT_EQ(Exec(*pod, "c", "true").code(), 0);
  EXPECT_EQ(Log("c"), "stdout F ready\n");
}

TEST_F(ShimLifecycleTest, GarbageOnTheSocketEndsOnlyThatConnection) {
  auto pod = LaunchPod();
  auto dir = sys::Open(state_dir_, O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 20; ++i) {
    auto socket = sys::ConnectSeqpacket(dir->get(), "shim.sock");
    ASSERT_TRUE(socket.ok());
    ASSERT_TRUE(sys::SendPacket(socket->get(), std::string(static_cast<size_t>(i * 50 + 1), char(i)), {}).ok());
    EXPECT_EQ(sys::RecvPacket(socket->get(), 1000).status().code(), absl::StatusCode::kOutOfRange);
  }
  EXPECT_TRUE(pod->State().ok());
}

}  // namespace
}  // namespace berth::client
