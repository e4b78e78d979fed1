#include <CLI/CLI.hpp>
#include <istream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands/commands.h"
#include "cli/commands/pull_progress.h"
#include "cli/manifest/pod.h"
#include "cli/pod/pod_runner.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

struct Options {
  std::string file;
  bool timings = false, detach = false, check = false;
};

absl::StatusOr<manifest::Manifest> ReadManifest(const std::string& file, Session& session) {
  constexpr size_t kMaxBytes = 1 << 20;
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(session.io.in), {});
  } else {
    ASSIGN_OR_RETURN(text, sys::ReadFile(file, kMaxBytes));
  }
  return manifest::ParseManifest(text, file == "-" ? "stdin" : file);
}

Json ToJson(const PodRunner& runner) {
  Json json = {{"pods", Json::array()}, {"timings", Json::array()}};
  for (const RunningPod& pod : runner.pods()) {
    Json containers = Json::array();
    for (const auto& [name, id] : pod.containers) containers.push_back({{"name", name}, {"id", id}});
    json["pods"].push_back({{"name", pod.name},
                            {"namespace", pod.ns},
                            {"id", pod.id},
                            {"uid", pod.uid},
                            {"ips", pod.ips},
                            {"containers", containers}});
  }
  for (const StepTime& time : runner.times()) {
    json["timings"].push_back({{"step", time.step}, {"milliseconds", absl::ToDoubleMilliseconds(time.took)}});
  }
  return json;
}

void PrintTimings(const PodRunner& runner, std::ostream& err) {
  Table table({"STEP", "MILLISECONDS"});
  for (const StepTime& time : runner.times()) {
    table.Add({time.step, absl::StrFormat("%.1f", absl::ToDoubleMilliseconds(time.took))});
  }
  table.Print(err);
}

absl::Status RunAll(PodRunner& runner, const std::vector<manifest::Pod>& pods) {
  for (const manifest::Pod& pod : pods) RETURN_IF_ERROR(runner.Run(pod), "pod ", pod.ns, "/", pod.name);
  return absl::OkStatus();
}

absl::StatusOr<int> Run(const Options& options, Session& session) {
  std::string what = absl::StrCat("run ", options.file);
  auto manifest = ReadManifest(options.file, session);
  // Errors of the manifest name the file themselves.
  RETURN_IF_ERROR(manifest);
  for (const std::string& warning : manifest->warnings) {
    session.io.err << "berth: warning: " << Printable(warning) << "\n";
  }
  if (options.check) return kExitOk;
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  RunnerHooks hooks;
  hooks.log_root = session.Env("BERTH_POD_LOGS", "/var/log/pods");
  hooks.volume_root = absl::StrCat(session.Env("BERTH_CLI_STATE", "/var/lib/berth/cli"), "/volumes");
  hooks.pull = [&](const std::string& image) {
    return PullShown(*client, session, ModeFor(session), image, std::nullopt);
  };
  PodRunner runner(client, hooks);
  session.UndoOnSignal();
  absl::Status status = RunAll(runner, manifest->pods);
  if (!status.ok()) {
    session.Resume();  // after a signal the undoing still has to talk to the daemon
    for (const absl::Status& error : runner.Undo()) {
      session.io.err << "berth: " << what << ": while undoing: " << Printable(error.message()) << "\n";
    }
    return Annotate(status, what);
  }
  if (session.json()) {
    session.io.out << DumpJson(ToJson(runner), 2) << "\n";
  } else {
    for (const RunningPod& pod : runner.pods()) {
      session.io.out << (pod.ns == "default" ? pod.name : absl::StrCat(pod.ns, "/", pod.name)) << "\n";
    }
  }
  if (options.timings) PrintTimings(runner, session.io.err);
  return kExitOk;
}

}  // namespace

void AddRun(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("run", "Run the Pods of a Kubernetes manifest and print their names");
  auto options = std::make_shared<Options>();
  command->add_option("FILE", options->file, "Manifest with one or more v1 Pods; - for stdin")->required();
  command->add_flag("-d,--detach", options->detach, "Return when the containers are started: always so");
  command->add_flag("--timings", options->timings, "Print on stderr how long each step took");
  command->add_flag("--check", options->check, "Only check the manifest; asks no daemon");
  command->footer(
      "If a step fails, what was made is removed again, but for images.\n\n"
      "Examples:\n  berth run pod.yaml\n  berth run --timings -o json pod.yaml\n  berth run "
      "--check - < pod.yaml");
  command->callback([options, &action] { action = [options](Session& session) { return Run(*options, session); }; });
}

}  // namespace berth::cli
