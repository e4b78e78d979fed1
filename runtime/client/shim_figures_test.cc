// What the low-level runtime costs, for people: run with --gtest_also_run_disabled_tests. Microseconds, medians; the
// container has no cgroup of its own, a bind for a rootfs, /proc, /dev, /dev/pts and /tmp.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/client/pod_fixture.h"
#include "runtime/sys/file.h"

namespace berth::client {
namespace {

class ShimFiguresTest : public PodFixture {
 protected:
  template <typename Body>
  void Measure(const char* name, int rounds, Body body) {
    std::vector<double> us;
    for (int i = 0; i < rounds; ++i) {
      const absl::Time begin = absl::Now();
      body(i);
      us.push_back(absl::ToDoubleMicroseconds(absl::Now() - begin));
    }
    std::sort(us.begin(), us.end());
    printf("%-28s min %7.0f  median %7.0f  max %7.0f\n", name, us[0], us[us.size() / 2], us.back());
  }
  static int PssKb(int pid) {
    const std::string text = sys::ReadFile(absl::StrCat("/proc/", pid, "/smaps_rollup")).value_or("");
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      int kb = 0;
      std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (words.size() == 3 && words[0] == "Pss:" && absl::SimpleAtoi(words[1], &kb)) return kb;
    }
    return -1;
  }
};

TEST_F(ShimFiguresTest, DISABLED_Figures) {
  constexpr int kPods = 40, kRounds = 200;
  std::vector<std::shared_ptr<PodShim>> pods;
  std::vector<std::string> dirs;
  for (int i = 0; i < kPods; ++i) {
    dirs.push_back(absl::StrCat(dir_, "/pod", i));
    ASSERT_TRUE(sys::MakeDirs(dirs.back(), 0700).ok());
  }
  for (bool host : {true, false}) {
    for (auto& pod : pods) pod->Shutdown().IgnoreError();
    pods.clear();
    Measure(host ? "launch, host network" : "launch, own network", kPods, [&](int i) {
      shim::v1::SandboxPlan plan = Sandbox();
      plan.set_pod_id(absl::StrCat("pod", i));
      if (host) plan.set_network(shim::v1::NAMESPACE_HOST);
      auto pod = launcher_->Launch(plan, dirs[static_cast<size_t>(i)], {});
      ASSERT_TRUE(pod.ok()) << pod.status();
      pods.push_back(*pod);
    });
  }
  PodShim& pod = *pods[0];
  std::vector<PlannedContainer> planned;
  for (int i = 0; i < kRounds; ++i) planned.push_back(Program(absl::StrCat("c", i), {"/bin/static-true"}));
  std::map<std::string, std::vector<uint64_t>> steps;
  Measure("state (a round trip)", kRounds, [&](int) { ASSERT_TRUE(pod.State().ok()); });
  Measure("create", kRounds, [&](int i) {
    auto created = pod.Create(planned[static_cast<size_t>(i)].plan, planned[static_cast<size_t>(i)].fds());
    ASSERT_TRUE(created.ok()) << created.status();
    for (const auto& step : created->steps()) steps[step.name()].push_back(step.nanoseconds());
  });
  Measure("start", kRounds, [&](int i) { ASSERT_TRUE(pod.Start(ContainerId(absl::StrCat("c", i))).ok()); });
  for (int i = 0; i < kRounds; ++i) AwaitExit(absl::StrCat("c", i));
  auto run = [&](const char* name, PodShim& on, const char* target) {
    Measure(name, kRounds, [&](int) {
      shim::v1::ExecPlan plan = ExecScript(target, "");
      plan.mutable_process()->clear_argv();
      plan.mutable_process()->add_argv("/bin/static-true");
      absl::Mutex mutex;
      bool done = false;
      ASSERT_TRUE(on.Exec(plan, {}, [&](absl::StatusOr<ExecOutcome>) {
                      absl::MutexLock lock(&mutex);
                      done = true;
                    }).ok());
      absl::MutexLock lock(&mutex);
      mutex.Await(absl::Condition(&done));
    });
  };
  Run(pod, Script("target", "sleep 1000"));
  run("exec of static true to end", pod, "target");
  for (auto& [name, ns] : steps) {
    std::sort(ns.begin(), ns.end());
    printf("  step %-23s min %7.1f  median %7.1f\n", name.c_str(), double(ns[0]) / 1000,
           double(ns[ns.size() / 2]) / 1000);
  }
  printf("PSS of an idle shim among %d: %d kB; of one with %d containers behind it: %d kB\n", kPods,
         PssKb(pods[kPods / 2]->pid()), kRounds, PssKb(pod.pid()));
  for (auto& p : pods) EXPECT_TRUE(p->Shutdown().ok());
}

// User and system time of a process, in seconds.
double CpuSeconds(int pid) {
  const std::string text = sys::ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
  const std::vector<absl::string_view> words =
      absl::StrSplit(absl::string_view(text).substr(text.rfind(')') + 1), ' ', absl::SkipEmpty());
  double ticks = 0, user = 0, system = 0;
  if (words.size() > 12 && absl::SimpleAtod(words[11], &user) && absl::SimpleAtod(words[12], &system))
    ticks = user + system;
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// A container that writes as fast as it can for some seconds, with its log in BERTH_LOG_DIR or beside the rootfs.
TEST_F(ShimFiguresTest, DISABLED_LogFlood) {
  constexpr absl::Duration kTime = absl::Seconds(3);
  constexpr off_t kFileSize = 256 << 20;
  if (const char* elsewhere = getenv("BERTH_LOG_DIR")) logs_ = elsewhere;
  auto pod = LaunchPod();
  printf("%-16s %14s %14s %12s\n", "lines of", "output MB/s", "log MB/s", "CPU s/GB");
  for (int length : {2, 100, 1024, 16384, 100000}) {
    const std::string id = absl::StrCat("flood", length);
    // 4 MiB of lines, and a writer that copies them in blocks of 64 KiB.
    Run(*pod,
        Script(id, absl::StrCat("yes $(yes x | head -n ", length - 1, " | tr -d '\\n') | head -c 4194304 >/tmp/lines; ",
                                "while :; do dd if=/tmp/lines bs=64k 2>/dev/null; done")));
    const std::string path = absl::StrCat(logs_, "/", id, ".log");
    struct stat st = {};
    while (stat(path.c_str(), &st) == 0 && st.st_size == 0) absl::SleepFor(absl::Milliseconds(5));
    const absl::Time begin = absl::Now();
    const double cpu = CpuSeconds(pod->pid());
    off_t written = -st.st_size;
    while (absl::Now() - begin < kTime) {
      absl::SleepFor(absl::Milliseconds(5));
      ASSERT_EQ(stat(path.c_str(), &st), 0);
      if (st.st_size < kFileSize) continue;
      written += st.st_size;
      ASSERT_EQ(truncate(path.c_str(), 0), 0);
    }
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begin), used = CpuSeconds(pod->pid()) - cpu;
    ASSERT_EQ(stat(path.c_str(), &st), 0);
    written += st.st_size;
    const int parts = (length - 1 + 16383) / 16384,
              lines = length + 40 * std::max(parts, 1) + (parts > 1 ? parts - 1 : 0);
    const double log = static_cast<double>(written) / 1e6, output = log * length / lines;
    printf("%-7d bytes    %14.0f %14.0f %12.2f\n", length, output / seconds, log / seconds, used / output * 1e3);
    Measure("exec of true meanwhile", 50, [&](int) {
      ASSERT_EQ(Exec(*pod, id, "true").code(), 0);
      ASSERT_EQ(truncate(path.c_str(), 0), 0);
    });
    ASSERT_TRUE(pod->Signal(ContainerId(id), SIGKILL, false).ok());
    AwaitExit(id);
    ASSERT_EQ(unlink(path.c_str()), 0);
  }
}

}  // namespace
}  // namespace berth::client
