#include <CLI/CLI.hpp>

#include "cli/commands/commands.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

absl::StatusOr<int> Version(Session& session, bool client_only) {
  if (!session.json()) session.io.out << "berth " << BERTH_VERSION << "\n";
  Json json = {{"client", BERTH_VERSION}};
  if (!client_only) {
    ASSIGN_OR_RETURN(CriClient * client, session.Client(), "version");
    ASSIGN_OR_RETURN(VersionInfo version, client->Version(), "version");
    json["runtime"] = version.runtime_name;
    json["runtimeVersion"] = version.runtime_version;
    json["criVersion"] = version.api_version;
    if (!session.json()) {
      session.io.out << version.runtime_name << " daemon " << version.runtime_version << "\nCRI " << version.api_version
                     << "\n";
    }
  }
  if (session.json()) session.io.out << DumpJson(json, 2) << "\n";
  return kExitOk;
}

}  // namespace

void AddVersion(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("version", "Show the versions of berth and of the daemon");
  auto client_only = std::make_shared<bool>(false);
  command->add_flag("--client", *client_only, "Show the version of this program only; asks no daemon");
  command->footer("Examples:\n  berth version\n  berth version --client");
  command->callback(
      [client_only, &action] { action = [client_only](Session& session) { return Version(session, *client_only); }; });
}

}  // namespace berth::cli
