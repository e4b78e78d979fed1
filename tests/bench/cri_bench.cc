// cri_bench: measures two CRI endpoints side by side, in turn, with one client. `cri_bench --help` has the rest.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "absl/strings/str_split.h"
#include "runtime/base/id.h"
#include "tests/bench/report.h"
#include "tests/bench/restart.h"
#include "tests/bench/side.h"
#include "tests/bench/stream_side.h"

namespace berth::bench {
namespace {

volatile std::sig_atomic_t interrupted = 0;

struct Options {
  std::vector<std::string> endpoints;
  std::vector<std::string> cgroups;
  std::vector<std::string> daemons;
  std::string image, run_id, logs, json_file;
  std::string output = "table";
  int rounds = 30, warmup = 3;
  int execs = 20, concurrent = 0, pods = 10;
  uint64_t mebibytes = 1024;
};

// NAME=VALUE
absl::StatusOr<std::pair<std::string, std::string>> Split(const std::string& option, const std::string& text) {
  std::pair<std::string, std::string> named = absl::StrSplit(text, absl::MaxSplits('=', 1));
  if (named.first.empty() || named.second.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(option, ": '", text, "' is not NAME=VALUE"));
  }
  return named;
}

absl::StatusOr<std::vector<Side>> Connect(const Options& options) {
  std::vector<Side> sides;
  for (const std::string& text : options.endpoints) {
    ASSIGN_OR_RETURN(auto endpoint, Split("--endpoint", text));
    Side side;
    side.name = endpoint.first;
    ASSIGN_OR_RETURN(side.client, CriClient::Connect(endpoint.second), side.name);
    side.workload = {options.image, options.run_id, "", absl::StrCat(options.logs, "/", side.name)};
    sides.push_back(std::move(side));
  }
  for (const std::string& text : options.cgroups) {
    ASSIGN_OR_RETURN(auto cgroup, Split("--cgroup", text));
    auto side = std::find_if(sides.begin(), sides.end(), [&](const Side& s) { return s.name == cgroup.first; });
    if (side == sides.end())
      return absl::InvalidArgumentError(absl::StrCat("--cgroup: no endpoint '", cgroup.first, "'"));
    ASSIGN_OR_RETURN(side->tree, ProcessTree::Open(cgroup.second));
    side->workload.cgroup_parent = cgroup.second + "/pods";
  }
  return sides;
}

void Progress(const Options& options, int round) {
  if (round < 0) {
    std::fprintf(stderr, "    warm-up\n");
  } else if (round > 0 && round % 10 == 0) {
    std::fprintf(stderr, "    %d of %d rounds\n", round, options.rounds);
  }
}

// Warm-up, then every round on each side in turn. What the warm-up collected is dropped.
absl::Status InTurn(const Options& options, std::vector<Side>& sides, const std::function<absl::Status(Side&)>& round) {
  for (int i = -options.warmup; i < options.rounds; ++i) {
    if (i == -options.warmup || i > 0) Progress(options, i);
    for (Side& side : sides) {
      if (interrupted != 0) return absl::CancelledError("interrupted");
      RETURN_IF_ERROR(round(side), side.name);
      if (i < 0) side.samples = Samples();
    }
  }
  return absl::OkStatus();
}

absl::Status Start(const Options& options, std::vector<Side>& sides) { return InTurn(options, sides, RunLifecycle); }

// The same with one pod on each side, which lasts for all rounds.
absl::Status InPods(const Options& options, std::vector<Side>& sides,
                    const std::function<absl::Status(Side&, const RunningPod&)>& round) {
  std::map<const Side*, std::unique_ptr<RunningPod>> pods;
  for (Side& side : sides) {
    ASSIGN_OR_RETURN(pods[&side], RunningPod::Start(side), side.name);
  }
  return InTurn(options, sides, [&](Side& side) { return round(side, *pods[&side]); });
}

absl::Status Exec(const Options& options, std::vector<Side>& sides) {
  return InPods(options, sides, [&](Side& side, const RunningPod& pod) {
    if (options.concurrent > 0) return RunConcurrentExecs(side, pod.container(), options.concurrent);
    return RunExecs(side, pod.container(), options.execs);
  });
}

absl::Status Streams(const Options& options, std::vector<Side>& sides) {
  return InPods(options, sides,
                [&](Side& side, const RunningPod& pod) { return RunStreams(side, pod, options.mebibytes << 20); });
}

absl::Status Memory(const Options& options, std::vector<Side>& sides) {
  return InTurn(options, sides, [&](Side& side) { return RunMemory(side, options.pods); });
}

// The pods are made once, and outlive every restart.
absl::Status Restart(const Options& options, std::vector<Side>& sides) {
  std::map<std::string, Restarted> daemons;
  for (const std::string& text : options.daemons) {
    ASSIGN_OR_RETURN(auto daemon, Split("--daemon", text));
    daemons[daemon.first].script = daemon.second;
  }
  for (const std::string& text : options.endpoints) {
    ASSIGN_OR_RETURN(auto endpoint, Split("--endpoint", text));
    daemons[endpoint.first].endpoint = endpoint.second;
  }
  for (Side& side : sides) {
    if (daemons[side.name].script.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("--daemon: none for '", side.name, "'"));
    }
    std::fprintf(stderr, "    %d pods on %s\n", options.pods, side.name.c_str());
    RETURN_IF_ERROR(RunMany(side, options.pods), side.name);
  }
  RETURN_IF_ERROR(
      InTurn(options, sides, [&](Side& side) { return RunRestart(side, daemons[side.name], options.pods); }));
  for (Side& side : sides) RETURN_IF_ERROR(RemoveAll(side), side.name);
  return absl::OkStatus();
}

absl::Status Sweep(const Options&, std::vector<Side>& sides) {
  absl::Status first;
  for (Side& side : sides) first.Update(Annotate(RemoveAll(side), side.name));
  return first;
}

struct Measurement {
  const char* name;
  const char* help;
  absl::Status (*run)(const Options&, std::vector<Side>&);
  std::vector<std::string> ratios;
};

const std::vector<Measurement>& Measurements() {
  static const auto* const all = new std::vector<Measurement>{
      {"start",
       "the life of a pod with one container, call by call",
       Start,
       {"pod_start", "run_pod_sandbox", "create_container", "start_container", "exec_sync", "stop_container",
        "remove_container", "stop_pod_sandbox", "remove_pod_sandbox", "pod_stop", "exec_cpu", "pod_cpu", "pod_memory"}},
      {"exec",
       "ExecSync of `true` in one container, one after the other or many at the same time",
       Exec,
       {"exec_sync", "exec_cpu", "concurrent_exec", "concurrent_all", "concurrent_cpu"}},
      {"stream",
       "what goes through exec and port-forward, over SPDY",
       Streams,
       {"exec_out", "exec_out_cpu", "exec_in", "exec_in_cpu", "forward_out", "forward_out_cpu", "forward_in",
        "forward_in_cpu"}},
      {"memory", "what each of many pods costs while they run", Memory, {"pod_memory", "daemon_memory"}},
      {"restart",
       "a daemon that is killed while many pods run, and started again",
       Restart,
       {"restart", "restart_answer", "restart_cpu", "restart_memory"}},
  };
  return *all;
}

absl::Status WriteReport(const Options& options, const Measurement& measurement, const std::vector<Side>& sides) {
  Report report{measurement.name,
                DescribeMachine(),
                options.rounds,
                {sides[0].name, sides[0].client->server(), &sides[0].samples},
                {sides[1].name, sides[1].client->server(), &sides[1].samples},
                measurement.ratios};
  std::fputs((options.output == "json" ? FormatJson(report) : FormatTable(report)).c_str(), stdout);
  if (options.json_file.empty()) return absl::OkStatus();
  std::ofstream file(options.json_file);
  file << FormatJson(report);
  file.close();
  return file ? absl::OkStatus() : absl::UnknownError(absl::StrCat("cannot write '", options.json_file, "'"));
}

absl::Status Run(const Options& options, const Measurement& measurement) {
  ASSIGN_OR_RETURN(auto sides, Connect(options));
  if (sides.size() != 2) return absl::InvalidArgumentError("two endpoints are compared: give --endpoint twice");
  for (Side& side : sides) RETURN_IF_ERROR(side.client->EnsureImage(options.image), side.name);
  absl::Status status = measurement.run(options, sides);
  if (!status.ok()) {
    Sweep(options, sides).IgnoreError();
    return status;
  }
  return WriteReport(options, measurement, sides);
}

void AddCommon(CLI::App* command, Options& options) {
  command->add_option("--endpoint", options.endpoints, "NAME=unix:///PATH; the first is rated against the second")
      ->required();
  command->add_option("--run-id", options.run_id, "value of the label that marks the pods of this run");
}

void AddMeasuring(CLI::App* command, Options& options) {
  command->add_option("--cgroup", options.cgroups,
                      "NAME=/PATH: the cgroup that this endpoint's daemon runs in or below; pods go to PATH/pods. "
                      "Without it neither CPU time nor memory is measured");
  command->add_option("--image", options.image, "image with `sleep` and `true`; pulled where it is missing")
      ->required();
  command->add_option("--logs", options.logs, "directory for container logs")->required();
  command->add_option("--rounds", options.rounds, "rounds that count")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--warmup", options.warmup, "rounds before them")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("-o,--output", options.output, "table or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "json"}));
  command->add_option("--json", options.json_file, "also write JSON to this file");
}

int Main(int argc, char** argv) {
  Options options;
  options.run_id = RandomHexId().substr(0, 16);
  CLI::App app{"measures two CRI endpoints side by side", "cri_bench"};
  app.require_subcommand(1);
  std::map<std::string, CLI::App*> commands;
  for (const Measurement& m : Measurements()) {
    CLI::App* command = commands[m.name] = app.add_subcommand(m.name, m.help);
    AddCommon(command, options);
    AddMeasuring(command, options);
  }
  commands["exec"]
      ->add_option("--execs", options.execs, "per round")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  commands["exec"]
      ->add_option("--concurrent", options.concurrent, "so many at the same time in each round, instead of --execs")
      ->check(CLI::NonNegativeNumber);
  commands["stream"]
      ->add_option("--mebibytes", options.mebibytes, "in each direction of each kind of session")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  for (const char* name : {"memory", "restart"}) {
    commands[name]
        ->add_option("--pods", options.pods, "at the same time")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
  }
  commands["restart"]
      ->add_option("--daemon", options.daemons,
                   "NAME=SCRIPT: the program that becomes this endpoint's daemon, and writes its pid to SCRIPT.pid")
      ->required();
  CLI::App* sweep = app.add_subcommand("sweep", "remove what an interrupted run left at these endpoints");
  AddCommon(sweep, options);
  CLI11_PARSE(app, argc, argv);

  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);

  absl::Status status;
  if (sweep->parsed()) {
    auto sides = Connect(options);
    status = sides.ok() ? Sweep(options, *sides) : sides.status();
  }
  for (const Measurement& m : Measurements()) {
    if (commands[m.name]->parsed()) status = Run(options, m);
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "cri_bench: %s\n", status.ToString().c_str());
  return absl::IsCancelled(status) ? 130 : 1;
}

}  // namespace
}  // namespace berth::bench

int main(int argc, char** argv) { return berth::bench::Main(argc, argv); }
