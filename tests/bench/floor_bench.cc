// floor_bench: a container start through CRI beside the bare system calls of one (floor_start), in turn, in one run.
// `floor_bench --help` has the rest; `./dev bench floor` starts it.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "runtime/base/id.h"
#include "runtime/security/capabilities.h"
#include "runtime/security/seccomp.h"
#include "runtime/sys/file.h"
#include "tests/bench/beside.h"
#include "tests/bench/cri_client.h"
#include "tests/bench/report.h"
#include "tests/bench/side.h"

namespace berth::bench {
namespace {

using Times = std::map<std::string, absl::Duration>;

struct Options {
  std::string endpoint, image, store, work, cgroup, run_id, json_file;
  std::string output = "table";
  int rounds = 200, warmup = 10, gap_ms = 10;
};

// A measure, and what of each side's times it is the sum of.
struct Measure {
  const char* name;
  std::vector<const char*> floor, berth;
};

const std::vector<Measure>& Measures() {
  static const auto* const all = new std::vector<Measure>{
      {"cri_start", {"start"}, {"create_container", "start_container"}},
      {"runtime_start", {"start"}, {"writable layer", "overlay", "plan", "shim", "start"}},
      {"shim_start",
       {"streams", "clone", "cgroup join", "session", "rootfs attach", "mounts", "devices", "masked paths",
        "readonly paths", "pivot root", "credentials", "execute"},
       {"shim", "start"}},
      {"cri_life", {"start", "end"}, {"create_container", "start_container", "stop_container", "remove_container"}},
      {"writable_layer", {"writable layer"}, {"writable layer"}},
      {"overlay", {"overlay"}, {"overlay"}},
      {"cgroup+mounts", {"cgroup", "trees"}, {"plan"}},
      {"clone", {"streams", "clone"}, {"clone"}},
      {"cgroup_join", {"cgroup join"}, {"cgroup", "cgroup namespace"}},
      {"session", {"session"}, {"descriptors", "session", "streams"}},
      {"rootfs_attach", {"rootfs attach"}, {"rootfs attach"}},
      {"mounts", {"mounts"}, {"mounts", "oom score"}},
      {"devices", {"devices"}, {"devices"}},
      {"masked_paths", {"masked paths"}, {"masked paths"}},
      {"readonly_paths", {"readonly paths"}, {"readonly paths"}},
      {"pivot_root", {"pivot root"}, {"pivot root", "working directory"}},
      {"execute", {"credentials", "execute"}, {"start"}},
      // What is beyond the floor: no system call of these makes a container.
      {"image_look-up", {}, {"image"}},
      {"two_bare_calls", {}, {"call", "call"}},
      {"records+calls", {}, {"rest"}},
      {"stop+remove", {"end"}, {"stop_container", "remove_container"}},
  };
  return *all;
}

double Sum(const Times& times, const std::vector<const char*>& names) {
  absl::Duration sum;
  for (const char* name : names) {
    if (auto it = times.find(name); it != times.end()) sum += it->second;
  }
  return absl::ToDoubleMicroseconds(sum);
}

// The directories of an image store's layers. Any order does where only one layer has a thing.
absl::StatusOr<std::vector<std::string>> LayersOf(const std::string& store) {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(store + "/layers", O_RDONLY | O_DIRECTORY), "image store");
  ASSIGN_OR_RETURN(std::vector<std::string> layers, sys::ListDir(dir.get()));
  for (std::string& layer : layers) layer = absl::StrCat(store, "/layers/", layer, "/fs");
  return layers;
}

// The process floor_start. Ends with this.
class FloorProcess {
 public:
  static absl::StatusOr<std::unique_ptr<FloorProcess>> Start(const Options& options) {
    for (const char* sub : {"/layers", "/logs", "/pod"}) {
      RETURN_IF_ERROR(sys::MakeDirs(options.work + sub, 0755));
    }
    for (const char* file : {"hosts", "hostname", "resolv.conf"}) {
      std::ofstream(absl::StrCat(options.work, "/pod/", file)) << "floor\n";
    }
    ASSIGN_OR_RETURN(std::vector<std::string> layers, LayersOf(options.store));
    security::SeccompCache cache;
    ASSIGN_OR_RETURN(security::SeccompProgram program, cache.RuntimeDefault(security::kDefaultCapabilities));
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
    std::unique_ptr<FloorProcess> floor(new FloorProcess(to[1], fdopen(from[0], "r")));
    const sys::UniqueFd in(to[0]), out(from[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in.get(), 0);
    posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, program->get(), kProgramFd);
    std::vector<std::string> words = {"floor_start",
                                      "--layers",
                                      absl::StrJoin(layers, ":"),
                                      "--work",
                                      options.work + "/layers",
                                      "--logs",
                                      options.work + "/logs",
                                      "--pod",
                                      options.work + "/pod",
                                      "--cgroup",
                                      options.cgroup,
                                      "--seccomp",
                                      absl::StrCat(kProgramFd)};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    char* const envp[] = {nullptr};
    const int err = posix_spawn(&floor->pid_, Beside("floor_start").c_str(), &actions, nullptr, argv.data(), envp);
    posix_spawn_file_actions_destroy(&actions);
    if (err != 0) return ErrnoError(err, "start floor_start");
    return floor;
  }

  ~FloorProcess() {
    commands_.Reset();
    fclose(answers_);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }
  FloorProcess(const FloorProcess&) = delete;
  FloorProcess& operator=(const FloorProcess&) = delete;

  absl::StatusOr<Times> Do(char command) {
    RETURN_IF_ERROR(sys::WriteAll(commands_.get(), absl::string_view(&command, 1), "floor_start"));
    char line[4096];
    if (fgets(line, sizeof line, answers_) == nullptr) return absl::UnknownError("floor_start ended; see above");
    Times times;
    for (absl::string_view word : absl::StrSplit(absl::StripSuffix(line, "\n"), ',')) {
      const std::pair<std::string, std::string> step = absl::StrSplit(word, ':');
      int64_t ns = 0;
      if (!absl::SimpleAtoi(step.second, &ns)) return absl::InternalError(absl::StrCat("floor_start says: ", line));
      times[step.first] = absl::Nanoseconds(ns);
    }
    return times;
  }

 private:
  static constexpr int kProgramFd = 9;
  FloorProcess(int commands, FILE* answers) : commands_(commands), answers_(answers) {}
  sys::UniqueFd commands_;
  FILE* answers_;
  pid_t pid_ = -1;
};

absl::StatusOr<Times> RunFloor(FloorProcess& floor) {
  ASSIGN_OR_RETURN(Times times, floor.Do('s'));
  ASSIGN_OR_RETURN(Times end, floor.Do('e'));
  times.insert(end.begin(), end.end());
  return times;
}

template <typename Call>
auto Timed(Times& times, const char* name, Call call) {
  const absl::Time begin = absl::Now();
  auto result = call();
  times[name] = absl::Now() - begin;
  return result;
}

// The life of one container in `pod`.
absl::StatusOr<Times> RunBerth(CriClient& client, const Workload& workload, const std::string& pod,
                               const v1::PodSandboxConfig& pod_config, int number) {
  v1::ContainerConfig config = ContainerConfig(workload);
  config.mutable_metadata()->set_attempt(static_cast<uint32_t>(number));
  config.set_log_path(absl::StrCat("sleep/", number, ".log"));
  Times times;
  ASSIGN_OR_RETURN(std::string id,
                   Timed(times, "create_container", [&] { return client.CreateContainer(pod, config, pod_config); }));
  RETURN_IF_ERROR(Timed(times, "start_container", [&] { return client.StartContainer(id); }));
  ASSIGN_OR_RETURN(Times steps, client.StartSteps(id));
  RETURN_IF_ERROR(Timed(times, "stop_container", [&] { return client.StopContainer(id, absl::ZeroDuration()); }));
  RETURN_IF_ERROR(Timed(times, "remove_container", [&] { return client.RemoveContainer(id); }));
  // One that finds nothing: what gRPC and the way to a worker and back cost.
  RETURN_IF_ERROR(Timed(times, "call", [&] { return client.Pods("no such", "label"); }).status());
  times["rest"] = times["create_container"] + times["start_container"];
  for (const char* step : {"image", "writable layer", "overlay", "plan", "shim", "start"}) times["rest"] -= steps[step];
  times.insert(steps.begin(), steps.end());
  return times;
}

absl::Status Compare(const Options& options, Side& berth, Samples& floor_samples) {
  RETURN_IF_ERROR(berth.client->EnsureImage(options.image));
  ASSIGN_OR_RETURN(auto floor, FloorProcess::Start(options));
  const v1::PodSandboxConfig pod_config = PodConfig(berth.workload);
  ASSIGN_OR_RETURN(std::string pod, berth.client->RunPodSandbox(pod_config));
  for (int i = -options.warmup; i < options.rounds; ++i) {
    Times of_floor, of_berth;
    // Who is first changes, so that neither always follows the other's removals.
    for (int turn = 0; turn < 2; ++turn) {
      absl::SleepFor(absl::Milliseconds(options.gap_ms));
      if ((i + turn) % 2 == 0) {
        ASSIGN_OR_RETURN(of_floor, RunFloor(*floor), "floor");
      } else {
        ASSIGN_OR_RETURN(of_berth, RunBerth(*berth.client, berth.workload, pod, pod_config, i + options.warmup));
      }
    }
    if (i < 0) continue;
    for (const Measure& m : Measures()) {
      floor_samples.Add(m.name, "us", Sum(of_floor, m.floor));
      berth.samples.Add(m.name, "us", Sum(of_berth, m.berth));
    }
  }
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  Side berth;
  ASSIGN_OR_RETURN(berth.client, CriClient::Connect(options.endpoint));
  berth.workload = {options.image, options.run_id, absl::StrCat(options.cgroup, "/pods"), options.work + "/podlogs"};
  Samples floor;
  absl::Status status = Compare(options, berth, floor);
  status.Update(RemoveAll(berth));
  RETURN_IF_ERROR(status);
  const Report report{"floor",
                      DescribeMachine(),
                      options.rounds,
                      {"floor", "the bare system calls", &floor},
                      {"berth", berth.client->server(), &berth.samples},
                      {"cri_start", "runtime_start", "shim_start", "cri_life"}};
  std::fputs((options.output == "json" ? FormatJson(report) : FormatTable(report)).c_str(), stdout);
  if (options.json_file.empty()) return absl::OkStatus();
  std::ofstream file(options.json_file);
  file << FormatJson(report);
  file.close();
  return file ? absl::OkStatus() : absl::UnknownError(absl::StrCat("cannot write '", options.json_file, "'"));
}

int Main(int argc, char** argv) {
  Options options;
  options.run_id = RandomHexId().substr(0, 16);
  CLI::App app{"a container start through CRI beside its bare system calls; ratios are berth / floor", "floor_bench"};
  app.add_option("--endpoint", options.endpoint, "unix:///PATH of berthd")->required();
  app.add_option("--image", options.image, "image with /bin/sleep; the only one in the store")->required();
  app.add_option("--store", options.store, "berthd's image store: the floor uses its layers")->required();
  app.add_option("--work", options.work, "directory on the same file system")->required();
  app.add_option("--cgroup", options.cgroup, "parent of the containers' cgroups, as in /NAME")->required();
  app.add_option("--run-id", options.run_id, "value of the label that marks the pods of this run");
  app.add_option("--rounds", options.rounds, "rounds that count")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--warmup", options.warmup, "rounds before them")->capture_default_str();
  app.add_option("--gap", options.gap_ms, "milliseconds of rest before each start")->capture_default_str();
  app.add_option("-o,--output", options.output, "table or json")->check(CLI::IsMember({"table", "json"}));
  app.add_option("--json", options.json_file, "also write JSON to this file");
  CLI11_PARSE(app, argc, argv);
  signal(SIGPIPE, SIG_IGN);
  absl::Status status = Run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "floor_bench: %s\n", status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace berth::bench

int main(int argc, char** argv) { return berth::bench::Main(argc, argv); }
