#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands/commands.h"
#include "cli/logs/print_log.h"
#include "cli/resolve.h"
#include "cli/text/human.h"

namespace berth::cli {
namespace {

struct Options {
  std::string container, since;
  int64_t tail = -1;
  bool follow = false, timestamps = false;
};

absl::StatusOr<int> Logs(const Options& options, Session& session) {
  std::string what = absl::StrCat("logs ", options.container);
  LogOptions log;
  log.follow = options.follow;
  log.timestamps = options.timestamps;
  if (options.tail >= 0) log.tail = options.tail;
  if (!options.since.empty()) {
    auto since = ParseSince(options.since, absl::Now());
    if (!since.ok()) return UsageError(absl::StrCat("--since: ", since.status().message()));
    log.since = *since;
  }
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client->ListPods(), what);
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client->ListContainers(), what);
  ASSIGN_OR_RETURN(ContainerInfo container, ResolveContainer(options.container, pods, containers), what);
  ASSIGN_OR_RETURN(ContainerDetails details, client->ContainerStatus(container.id), what);
  if (details.log_path.empty()) return absl::FailedPreconditionError(absl::StrCat(what, ": it writes no log file"));
  auto still_running = [&] {
    auto now = client->ContainerStatus(container.id);
    // While the daemon is away the container goes on, and so does its log.
    if (!now.ok()) return absl::IsUnavailable(now.status());
    return now->state == ContainerState::kRunning || now->state == ContainerState::kCreated;
  };
  RETURN_IF_ERROR(PrintLog(details.log_path, log, session.io.out, session.io.err, still_running), what);
  return kExitOk;
}

}  // namespace

void AddLogs(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("logs", "Print what a container wrote to stdout and stderr");
  auto options = std::make_shared<Options>();
  command->add_option("CONTAINER", options->container, "POD/CONTAINER, POD, container name or id")->required();
  command->add_flag("-f,--follow", options->follow, "Go on until the container ends");
  command->add_option("--tail", options->tail, "Only the last N lines")->check(CLI::NonNegativeNumber);
  command->add_option("--since", options->since, "Only lines since a time, or not older than a duration");
  command->add_flag("-t,--timestamps", options->timestamps, "Begin each line with its time");
  command->footer(
      "Examples:\n  berth logs web\n  berth logs -f --tail 20 web/app\n  berth logs --since 10m "
      "web");
  command->callback([options, &action] { action = [options](Session& session) { return Logs(*options, session); }; });
}

}  // namespace berth::cli
