#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/time/clock.h"
#include "cli/commands/commands.h"
#include "cli/resolve.h"
#include "cli/text/human.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

struct Options {
  bool all = false, quiet = false;
  std::string pod;
};

Json ToJson(const ContainerInfo& container, const PodInfo* pod) {
  return {{"id", container.id},
          {"name", container.name},
          {"attempt", container.attempt},
          {"podId", container.pod_id},
          {"podName", pod == nullptr ? "" : pod->name},
          {"podNamespace", pod == nullptr ? "" : pod->ns},
          {"image", container.image},
          {"imageId", container.image_id},
          {"state", std::string(StateName(container.state))},
          {"createdAt", FormatTime(container.created_at)},
          {"labels", container.labels},
          {"annotations", container.annotations}};
}

void PrintTable(const std::vector<ContainerInfo>& containers, const std::vector<PodInfo>& pods, bool wide,
                std::ostream& out) {
  std::vector<std::string> header = {"ID", "POD", "CONTAINER", "IMAGE", "STATE", "CREATED"};
  if (wide) header.insert(header.end(), {"ATTEMPT", "IMAGE ID", "POD ID"});
  Table table(header);
  absl::Time now = absl::Now();
  for (const ContainerInfo& c : containers) {
    const PodInfo* pod = FindPod(pods, c.pod_id);
    std::vector<std::string> row = {wide ? c.id : c.id.substr(0, 12),
                                    pod == nullptr ? c.pod_id.substr(0, 12) : DisplayName(*pod),
                                    c.name,
                                    c.image,
                                    std::string(StateName(c.state)),
                                    HumanAge(c.created_at, now)};
    if (wide) row.insert(row.end(), {std::to_string(c.attempt), c.image_id, c.pod_id});
    table.Add(row);
  }
  table.Print(out);
}

absl::StatusOr<int> Ps(const Options& options, Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "ps");
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client->ListPods(), "ps");
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> all, client->ListContainers(), "ps");
  std::string pod_id;
  if (!options.pod.empty()) {
    ASSIGN_OR_RETURN(PodInfo pod, ResolvePod(options.pod, pods), "ps");
    pod_id = pod.id;
  }
  std::vector<ContainerInfo> containers;
  for (ContainerInfo& container : all) {
    bool shown = options.all || container.state == ContainerState::kRunning;
    if (shown && (pod_id.empty() || container.pod_id == pod_id)) containers.push_back(std::move(container));
  }
  std::sort(containers.begin(), containers.end(),
            [](const ContainerInfo& a, const ContainerInfo& b) { return a.created_at > b.created_at; });
  if (options.quiet) {
    for (const ContainerInfo& container : containers) session.io.out << container.id << "\n";
  } else if (session.json()) {
    Json json = Json::array();
    for (const ContainerInfo& container : containers) {
      json.push_back(ToJson(container, FindPod(pods, container.pod_id)));
    }
    session.io.out << DumpJson(json, 2) << "\n";
  } else {
    PrintTable(containers, pods, session.wide(), session.io.out);
  }
  return kExitOk;
}

}  // namespace

void AddPs(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("ps", "List running containers, newest first");
  auto options = std::make_shared<Options>();
  command->add_flag("-a,--all", options->all, "Also those that do not run");
  command->add_flag("-q,--quiet", options->quiet, "Print ids only");
  command->add_option("-p,--pod", options->pod, "Only containers of this pod");
  command->footer("Examples:\n  berth ps\n  berth ps -a -p web\n  berth ps -o json");
  command->callback([options, &action] { action = [options](Session& session) { return Ps(*options, session); }; });
}

}  // namespace berth::cli
