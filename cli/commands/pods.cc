#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "cli/commands/commands.h"
#include "cli/text/human.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

struct Options {
  bool quiet = false;
  std::string ns;
};

Json ToJson(const PodInfo& pod, const std::vector<std::string>& ips) {
  return {{"id", pod.id},
          {"name", pod.name},
          {"namespace", pod.ns},
          {"uid", pod.uid},
          {"attempt", pod.attempt},
          {"state", pod.ready ? "Ready" : "NotReady"},
          {"createdAt", FormatTime(pod.created_at)},
          {"ips", ips},
          {"handler", pod.handler},
          {"labels", pod.labels},
          {"annotations", pod.annotations}};
}

// A pod may go away between the list and this question: then it has no address any more.
std::vector<std::string> IpsOf(CriClient& client, const PodInfo& pod) {
  return pod.ready ? client.PodIps(pod.id).value_or(std::vector<std::string>()) : std::vector<std::string>();
}

absl::StatusOr<int> Pods(const Options& options, Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "pods");
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client->ListPods(), "pods");
  pods.erase(std::remove_if(pods.begin(), pods.end(),
                            [&](const PodInfo& pod) { return !options.ns.empty() && pod.ns != options.ns; }),
             pods.end());
  std::sort(pods.begin(), pods.end(), [](const PodInfo& a, const PodInfo& b) { return a.created_at > b.created_at; });
  if (options.quiet) {
    for (const PodInfo& pod : pods) session.io.out << pod.id << "\n";
  } else if (session.json()) {
    Json json = Json::array();
    for (const PodInfo& pod : pods) json.push_back(ToJson(pod, IpsOf(*client, pod)));
    session.io.out << DumpJson(json, 2) << "\n";
  } else {
    std::vector<std::string> header = {"ID", "NAME", "NAMESPACE", "STATE", "CREATED"};
    if (session.wide()) header.insert(header.end(), {"IP", "HANDLER", "UID"});
    Table table(header);
    absl::Time now = absl::Now();
    for (const PodInfo& pod : pods) {
      std::vector<std::string> row = {session.wide() ? pod.id : pod.id.substr(0, 12), pod.name, pod.ns,
                                      pod.ready ? "Ready" : "NotReady", HumanAge(pod.created_at, now)};
      if (session.wide()) row.insert(row.end(), {absl::StrJoin(IpsOf(*client, pod), ","), pod.handler, pod.uid});
      table.Add(row);
    }
    table.Print(session.io.out);
  }
  return kExitOk;
}

}  // namespace

void AddPods(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("pods", "List pods, newest first");
  auto options = std::make_shared<Options>();
  command->add_flag("-q,--quiet", options->quiet, "Print ids only");
  command->add_option("-n,--namespace", options->ns, "Only pods of this namespace");
  command->footer("Examples:\n  berth pods\n  berth pods -o wide\n  berth pods -n kube-system -q");
  command->callback([options, &action] { action = [options](Session& session) { return Pods(*options, session); }; });
}

}  // namespace berth::cli
