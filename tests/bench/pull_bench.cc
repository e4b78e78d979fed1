// pull_bench: pulls and removals of one image on two CRI endpoints, and the bare calls of a pull (pull_floor), in turn,
// in one run. `pull_bench --help` has the rest; `./dev bench pull` starts it.
#include <sys/sysinfo.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"
#include "tests/bench/beside.h"
#include "tests/bench/pull_side.h"
#include "tests/bench/report.h"

namespace berth::bench {
namespace {

volatile std::sig_atomic_t interrupted = 0;

struct Options {
  std::vector<std::string> endpoints, cgroups, roots;
  std::string registry, repository, tag, floor, name = "pull", json_file;
  std::string output = "table";
  int registry_pid = 0;
  int rounds = 15, warmup = 2, memory_rounds = 3;

  std::string Image() const { return absl::StrCat(registry, "/", repository, ":", tag); }
};

// The VALUE of the option that is NAME=VALUE for this name.
absl::StatusOr<std::string> ValueOf(const std::vector<std::string>& options, const std::string& name) {
  for (const std::string& text : options) {
    std::pair<std::string, std::string> named = absl::StrSplit(text, absl::MaxSplits('=', 1));
    if (named.first == name) return named.second;
  }
  return absl::InvalidArgumentError(absl::StrCat("an option is missing for '", name, "'"));
}

absl::StatusOr<PullSide> Connect(const Options& options, const std::string& endpoint) {
  std::pair<std::string, std::string> named = absl::StrSplit(endpoint, absl::MaxSplits('=', 1));
  Side side;
  side.name = named.first;
  ASSIGN_OR_RETURN(side.client, CriClient::Connect(named.second), side.name);
  ASSIGN_OR_RETURN(std::string cgroup, ValueOf(options.cgroups, side.name), "--cgroup");
  ASSIGN_OR_RETURN(side.tree, ProcessTree::Open(cgroup));
  ASSIGN_OR_RETURN(std::string root, ValueOf(options.roots, side.name), "--root");
  return PullSide::Open(std::move(side), root);
}

// CPU time that a process has used, in seconds, as /proc/PID/stat counts it.
double CpuOf(int pid) {
  auto text = sys::ReadFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!text.ok()) return 0;
  std::vector<std::string> words = absl::StrSplit(text->substr(text->rfind(')') + 2), ' ');
  double ticks = 0, sum = 0;
  for (size_t i : {11, 12}) {  // utime and stime, of the fields after the name
    if (i < words.size() && absl::SimpleAtod(words[i], &ticks)) sum += ticks;
  }
  return sum / static_cast<double>(sysconf(_SC_CLK_TCK));
}

absl::StatusOr<std::string> OutputOf(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "re");
  if (pipe == nullptr) return ErrnoError(errno, command);
  std::string out;
  char part[4096];
  while (size_t n = fread(part, 1, sizeof part, pipe)) out.append(part, n);
  if (int status = pclose(pipe); status != 0) return absl::InternalError(absl::StrCat(command, ": status ", status));
  return out;
}

// Adds what pull_floor measures, and the limit: what no pull can beat that does this work on this machine.
absl::Status MeasureFloor(const Options& options, Samples& samples) {
  const double registry_before = CpuOf(options.registry_pid);
  ASSIGN_OR_RETURN(std::string text,
                   OutputOf(absl::StrJoin(
                       {Beside("pull_floor"), options.registry, options.repository, options.tag, options.floor}, " ")));
  // Both of pull_floor's phases had the blobs from it.
  const double registry = (CpuOf(options.registry_pid) - registry_before) / 2;
  ASSIGN_OR_RETURN(const Json floor, ParseJson(text), "pull_floor");
  auto seconds = [&](const char* key) { return floor.value(key, 0.0); };
  const double cpu = (seconds("cpu") + registry) / get_nprocs();
  const double limit = std::max({cpu, seconds("longest"), seconds("wire"), seconds("disk")});
  samples.Add("limit", "ms", limit * 1e3);
  samples.Add("bare", "ms", seconds("bare") * 1e3);
  samples.Add("cpu", "ms", cpu * 1e3);
  for (const char* part : {"longest", "wire", "disk"}) samples.Add(part, "ms", seconds(part) * 1e3);
  return absl::OkStatus();
}

absl::Status Round(const Options& options, PullSide& side, bool memory) {
  RETURN_IF_ERROR(memory ? side.MeasureMemory(options.Image()) : side.MeasurePull(options.Image()), side.side().name);
  return Annotate(side.MeasureRemoval(options.Image()), side.side().name);
}

absl::Status Measure(const Options& options, std::vector<PullSide>& sides, Samples& floor) {
  for (int i = -options.warmup; i < options.rounds + options.memory_rounds; ++i) {
    for (PullSide& side : sides) {
      if (interrupted != 0) return absl::CancelledError("interrupted");
      RETURN_IF_ERROR(Round(options, side, i >= options.rounds));
      if (i < 0) side.side().samples = Samples();
    }
    if (i >= options.rounds) continue;
    RETURN_IF_ERROR(MeasureFloor(options, floor));
    if (i < 0) floor = Samples();
    if (i > 0 && i % 5 == 0) std::fprintf(stderr, "    %d of %d rounds\n", i, options.rounds);
  }
  return absl::OkStatus();
}

// Every part of the limit beside the same figure: berth's time until it answers, which is when the image is durable.
Samples OnceForEach(const Samples& floor, const Samples& pulls) {
  Samples out;
  for (const Series& part : floor.all()) {
    for (double value : pulls.Find("pull_answered")->values) out.Add(part.name, part.unit, value);
  }
  return out;
}

absl::Status WriteReports(const Options& options, std::vector<PullSide>& sides, const Samples& floor) {
  auto column = [](PullSide& s) { return Column{s.side().name, s.side().client->server(), &s.side().samples}; };
  const Report peer{
      options.name,
      DescribeMachine(),
      options.rounds,
      column(sides[0]),
      column(sides[1]),
      {"pull_durable", "pull_answered", "pull_cpu", "remove_answered", "remove_settled", "peak_pss", "peak_rss"}};
  const Samples pulls = OnceForEach(floor, sides[0].side().samples);
  const Report limit{options.name + " limit",
                     DescribeMachine(),
                     options.rounds,
                     {"the limit", "what bounds it", &floor},
                     {sides[0].side().name, sides[0].side().client->server(), &pulls},
                     {"limit", "bare"}};
  const std::string json = absl::StrCat("[", FormatJson(peer), ",", FormatJson(limit), "]\n");
  std::fputs((options.output == "json" ? json : absl::StrCat(FormatTable(peer), "\n", FormatTable(limit))).c_str(),
             stdout);
  if (options.json_file.empty()) return absl::OkStatus();
  std::ofstream file(options.json_file);
  file << json;
  file.close();
  return file ? absl::OkStatus() : absl::UnknownError(absl::StrCat("cannot write '", options.json_file, "'"));
}

absl::Status Run(const Options& options) {
  if (options.endpoints.size() != 2) return absl::InvalidArgumentError("give --endpoint twice");
  std::vector<PullSide> sides;
  for (const std::string& endpoint : options.endpoints) {
    ASSIGN_OR_RETURN(PullSide side, Connect(options, endpoint));
    sides.push_back(std::move(side));
  }
  Samples floor;
  RETURN_IF_ERROR(Measure(options, sides, floor));
  return WriteReports(options, sides, floor);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"pulls and removals of one image on two CRI endpoints, and the bare calls of a pull, in turn",
               "pull_bench"};
  app.add_option("--endpoint", options.endpoints, "NAME=unix:///PATH, twice; the first is rated")->required();
  app.add_option("--cgroup", options.cgroups, "NAME=/PATH: the cgroup of this endpoint's daemon")->required();
  app.add_option("--root", options.roots, "NAME=DIRECTORY on a file system that only this endpoint's images are on")
      ->required();
  app.add_option("--registry", options.registry, "HOST:PORT, over HTTP")->required();
  app.add_option("--repository", options.repository, "of the image")->required();
  app.add_option("--tag", options.tag, "of the image")->required();
  app.add_option("--registry-pid", options.registry_pid, "whose CPU time is part of the limit");
  app.add_option("--floor", options.floor, "directory that pull_floor writes to, on a file system like the others")
      ->required();
  app.add_option("--name", options.name, "of the measurement, in the output")->capture_default_str();
  app.add_option("--rounds", options.rounds, "rounds that count")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--warmup", options.warmup, "rounds before them")->capture_default_str();
  app.add_option("--memory-rounds", options.memory_rounds,
                 "rounds after them, in which memory is looked at and no time taken")
      ->capture_default_str();
  app.add_option("-o,--output", options.output, "table or json")->check(CLI::IsMember({"table", "json"}));
  app.add_option("--json", options.json_file, "also write JSON to this file");
  CLI11_PARSE(app, argc, argv);
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  absl::Status status = Run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "pull_bench: %s\n", status.ToString().c_str());
  return absl::IsCancelled(status) ? 130 : 1;
}

}  // namespace
}  // namespace berth::bench

int main(int argc, char** argv) { return berth::bench::Main(argc, argv); }
