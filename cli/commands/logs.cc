#include <unistd.h>

#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands/commands.h"
#include "cli/logs/print_log.h"
#include "cli/resolve.h"
#include "cli/text/human.h"

namespace berth::cli {
namespace {

struct Options {
  std::string container, since, until;
  int64_t tail = -1;
  bool follow = false, timestamps = false, previous = false, all = false;
};

absl::Status ParseTimeOption(const char* name, const std::string& text, absl::Time& time) {
  if (text.empty()) return absl::OkStatus();
  auto parsed = ParseSince(text, absl::Now());
  if (!parsed.ok()) return UsageError(absl::StrCat(name, ": ", parsed.status().message()));
  time = *parsed;
  return absl::OkStatus();
}

// The log of the container's former attempt. Its record may be gone: then its file is looked for where the kubelet put
// it, as DIRECTORY/ATTEMPT.log.
absl::StatusOr<std::string> PreviousLog(CriClient& client, const ContainerInfo& container, const std::string& log,
                                        const std::vector<ContainerInfo>& containers) {
  const ContainerInfo* former = nullptr;
  for (const ContainerInfo& other : containers) {
    if (other.pod_id != container.pod_id || other.name != container.name || other.attempt >= container.attempt)
      continue;
    if (former == nullptr || other.attempt > former->attempt) former = &other;
  }
  if (former != nullptr) {
    ASSIGN_OR_RETURN(ContainerDetails details, client.ContainerStatus(former->id));
    if (!details.log_path.empty()) return details.log_path;
  }
  const std::string own_name = absl::StrCat("/", container.attempt, ".log");
  if (container.attempt > 0 && absl::EndsWith(log, own_name)) {
    const std::string path =
        absl::StrCat(log.substr(0, log.size() - own_name.size()), "/", container.attempt - 1, ".log");
    if (access(path.c_str(), F_OK) == 0) return path;
  }
  return absl::NotFoundError(absl::StrCat("container '", container.name, "' has no former attempt with a log"));
}

// Which containers' logs are meant.
absl::StatusOr<std::vector<ContainerInfo>> Chosen(const Options& options, const std::vector<PodInfo>& pods,
                                                  const std::vector<ContainerInfo>& containers) {
  if (options.all) {
    ASSIGN_OR_RETURN(PodInfo pod, ResolvePod(options.container, pods));
    std::vector<ContainerInfo> all = ContainersOfPod(pod, containers);
    if (all.empty()) return absl::NotFoundError(absl::StrCat("pod '", pod.name, "' has no containers"));
    return all;
  }
  ASSIGN_OR_RETURN(ContainerInfo container, ResolveContainer(options.container, pods, containers));
  return std::vector<ContainerInfo>{container};
}

absl::StatusOr<int> Logs(const Options& options, Session& session) {
  std::string what = absl::StrCat("logs ", options.container);
  LogOptions log;
  log.follow = options.follow;
  log.timestamps = options.timestamps;
  log.prefix = options.all;
  log.json = session.json();
  log.out_fd = session.io.out_fd;
  if (options.tail >= 0) log.tail = options.tail;
  RETURN_IF_ERROR(ParseTimeOption("--since", options.since, log.since));
  RETURN_IF_ERROR(ParseTimeOption("--until", options.until, log.until));
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client->ListPods(), what);
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client->ListContainers(), what);
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> chosen, Chosen(options, pods, containers), what);
  std::vector<LogSource> sources;
  absl::Status none;
  for (const ContainerInfo& container : chosen) {
    ASSIGN_OR_RETURN(ContainerDetails details, client->ContainerStatus(container.id), what);
    absl::StatusOr<std::string> path = details.log_path;
    if (options.previous) path = PreviousLog(*client, container, details.log_path, containers);
    if (path.ok() && path->empty()) path = absl::FailedPreconditionError("it writes no log file");
    if (!path.ok()) {
      none = path.status();
      continue;
    }
    auto still_running = [client, id = container.id] {
      auto now = client->ContainerStatus(id);
      // While the daemon is away the container goes on, and so does its log.
      if (!now.ok()) return absl::IsUnavailable(now.status());
      return now->state == ContainerState::kRunning || now->state == ContainerState::kCreated;
    };
    const PodInfo* pod = FindPod(pods, container.pod_id);
    sources.push_back({*path, pod == nullptr ? "" : DisplayName(*pod), container.name, still_running});
  }
  // Of several containers some may have no log.
  if (sources.empty()) return Annotate(none, what);
  RETURN_IF_ERROR(PrintLogs(sources, log, session.io.out, session.io.err), what);
  return kExitOk;
}

}  // namespace

void AddLogs(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("logs", "Print what a container wrote to stdout and stderr");
  auto options = std::make_shared<Options>();
  command->add_option("CONTAINER", options->container, "POD/CONTAINER, POD, container name or id")->required();
  auto* follow = command->add_flag("-f,--follow", options->follow, "Go on until the container ends");
  command->add_option("--tail", options->tail, "Only the last N lines")->check(CLI::NonNegativeNumber);
  command->add_option("--since,--since-time", options->since, "Only lines since a time, or not older than a duration");
  command->add_option("--until", options->until, "Only lines up to a time, or older than a duration")->excludes(follow);
  command->add_flag("-p,--previous", options->previous, "The container's former attempt")->excludes(follow);
  command->add_flag("--all-containers", options->all, "All containers of a POD, each line with its [POD/CONTAINER]");
  command->add_flag("-t,--timestamps", options->timestamps, "Begin each line with its time");
  command->footer(
      "Files that the kubelet rotated are a part of the log, also compressed ones.\n"
      "Examples:\n  berth logs web\n  berth logs -f --tail 20 web/app\n  berth logs --since 10m web\n"
      "  berth logs -p web/app\n  berth logs --all-containers -t web\n"
      "  berth logs --since 2026-01-31T12:00:00Z --until 2026-01-31T12:05:00Z web\n"
      "  berth logs -o json web | jq -r .log");
  command->callback([options, &action] { action = [options](Session& session) { return Logs(*options, session); }; });
}

}  // namespace berth::cli
