#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "cli/commands/commands.h"
#include "cli/labels.h"
#include "cli/text/human.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

std::string PodOf(const ContainerUsage& usage) {
  auto label = usage.labels.find(kPodNameLabel);
  return label == usage.labels.end() ? "" : label->second;
}

std::string Bytes(const std::optional<uint64_t>& bytes) { return bytes ? HumanBytes(*bytes) : "-"; }

// Daemons that sample on their own give a rate; for the others a second look, a little later, makes
// one.
absl::StatusOr<std::vector<ContainerUsage>> ReadUsage(CriClient& client) {
  ASSIGN_OR_RETURN(std::vector<ContainerUsage> all, client.ListStats());
  bool rates = std::all_of(all.begin(), all.end(),
                           [](const ContainerUsage& usage) { return usage.nano_cores || !usage.cpu_nanos; });
  if (rates) return all;
  std::map<std::string, ContainerUsage> before;
  for (ContainerUsage& usage : all) before[usage.id] = std::move(usage);
  absl::SleepFor(absl::Milliseconds(500));
  ASSIGN_OR_RETURN(all, client.ListStats());
  for (ContainerUsage& usage : all) {
    auto old = before.find(usage.id);
    if (usage.nano_cores || !usage.cpu_nanos || old == before.end() || !old->second.cpu_nanos) continue;
    int64_t elapsed = usage.cpu_time - old->second.cpu_time;
    if (elapsed <= 0 || *usage.cpu_nanos < *old->second.cpu_nanos) continue;
    auto spent = static_cast<double>(*usage.cpu_nanos - *old->second.cpu_nanos);
    usage.nano_cores = static_cast<uint64_t>(spent / static_cast<double>(elapsed) * 1e9);
  }
  return all;
}

Json ToJson(const ContainerUsage& usage) {
  auto number = [](const std::optional<uint64_t>& value) { return value ? Json(*value) : Json(nullptr); };
  return {{"id", usage.id},
          {"name", usage.name},
          {"podName", PodOf(usage)},
          {"cpuNanoCores", number(usage.nano_cores)},
          {"cpuNanoSeconds", number(usage.cpu_nanos)},
          {"memoryWorkingSet", number(usage.working_set)},
          {"writableLayer", number(usage.writable_bytes)}};
}

absl::StatusOr<int> Stats(Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "stats");
  ASSIGN_OR_RETURN(std::vector<ContainerUsage> all, ReadUsage(*client), "stats");
  std::sort(all.begin(), all.end(), [](const ContainerUsage& a, const ContainerUsage& b) {
    return std::make_pair(PodOf(a), a.name) < std::make_pair(PodOf(b), b.name);
  });
  if (session.json()) {
    Json json = Json::array();
    for (const ContainerUsage& usage : all) json.push_back(ToJson(usage));
    session.io.out << DumpJson(json, 2) << "\n";
    return kExitOk;
  }
  Table table({"ID", "POD", "CONTAINER", "CPU %", "MEMORY", "DISK"});
  for (const ContainerUsage& usage : all) {
    std::string cpu = usage.nano_cores ? absl::StrFormat("%.2f", static_cast<double>(*usage.nano_cores) / 1e7) : "-";
    table.Add({session.wide() ? usage.id : usage.id.substr(0, 12), PodOf(usage), usage.name, cpu,
               Bytes(usage.working_set), Bytes(usage.writable_bytes)});
  }
  table.Print(session.io.out);
  return kExitOk;
}

}  // namespace

void AddStats(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("stats", "Show what containers use: CPU (100% is one core), memory, disk");
  command->footer("Examples:\n  berth stats\n  berth stats -o json");
  command->callback([&action] { action = Stats; });
}

}  // namespace berth::cli
