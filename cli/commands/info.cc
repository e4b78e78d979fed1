#include <CLI/CLI.hpp>

#include "absl/strings/str_join.h"
#include "cli/commands/commands.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

void PrintTable(const DaemonInfo& info, const VersionInfo& version, std::ostream& out) {
  auto line = [&out](const char* name, const std::string& value) {
    if (!value.empty()) out << name << ": " << Printable(value) << "\n";
  };
  line("Runtime", version.runtime_name + " " + version.runtime_version);
  line("Commit", info.commit);
  line("Kernel", info.kernel);
  line("Cgroups", info.cgroup_version);
  line("Cgroup driver", info.cgroup_driver);
  line("Network", info.network_mode);
  line("Root directory", info.root_dir);
  line("State directory", info.state_dir);
  line("Handlers", absl::StrJoin(info.handlers, ", "));
  Table table({"CONDITION", "STATUS", "REASON", "MESSAGE"});
  for (const Condition& c : info.conditions) table.Add({c.type, c.status ? "true" : "false", c.reason, c.message});
  table.Print(out);
}

Json ToJson(const DaemonInfo& info, const VersionInfo& version) {
  Json json = {{"runtime", version.runtime_name},
               {"runtimeVersion", version.runtime_version},
               {"commit", info.commit},
               {"kernel", info.kernel},
               {"cgroupVersion", info.cgroup_version},
               {"cgroupDriver", info.cgroup_driver},
               {"networkMode", info.network_mode},
               {"rootDir", info.root_dir},
               {"stateDir", info.state_dir},
               {"handlers", info.handlers},
               {"conditions", Json::array()}};
  for (const Condition& c : info.conditions) {
    json["conditions"].push_back(
        {{"type", c.type}, {"status", c.status}, {"reason", c.reason}, {"message", c.message}});
  }
  return json;
}

absl::StatusOr<int> Info(Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "info");
  ASSIGN_OR_RETURN(VersionInfo version, client->Version(), "info");
  ASSIGN_OR_RETURN(DaemonInfo info, client->Info(), "info");
  if (session.json()) {
    session.io.out << DumpJson(ToJson(info, version), 2) << "\n";
  } else {
    PrintTable(info, version, session.io.out);
  }
  return kExitOk;
}

}  // namespace

void AddInfo(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("info", "Show the daemon's state: readiness, directories, cgroups, network");
  command->footer("Examples:\n  berth info\n  berth info -o json");
  command->callback([&action] { action = Info; });
}

}  // namespace berth::cli
