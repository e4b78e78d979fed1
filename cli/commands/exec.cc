#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/resolve.h"
#include "cli/text/human.h"

namespace berth::cli {
namespace {

struct Options {
  std::string container, limit;
  std::vector<std::string> command;
  bool interactive = false, tty = false;
};

absl::StatusOr<int> Exec(const Options& options, Session& session) {
  std::string what = absl::StrCat("exec ", options.container);
  if (options.interactive || options.tty) {
    return UsageError(
        "exec: interactive exec (-i, -t) is not available yet; without them the command runs to "
        "its end");
  }
  if (options.command.empty() || options.command == std::vector<std::string>{"--"})
    return UsageError("exec: no command given");
  int64_t limit = 0;
  if (!options.limit.empty()) {
    auto duration = ParseDuration(options.limit);
    if (!duration.ok()) return UsageError(absl::StrCat("--limit: ", duration.status().message()));
    limit = absl::ToInt64Seconds(absl::Ceil(*duration, absl::Seconds(1)));
  }
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client->ListPods(), what);
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client->ListContainers(), what);
  ASSIGN_OR_RETURN(ContainerInfo container, ResolveContainer(options.container, pods, containers), what);
  // "--" may stand between container and command.
  std::vector<std::string> command = options.command;
  if (command.front() == "--") command.erase(command.begin());
  ASSIGN_OR_RETURN(ExecResult result, client->Exec(container.id, command, limit), what);
  session.io.out << result.out << std::flush;
  session.io.err << result.err << std::flush;
  return result.exit_code;
}

}  // namespace

void AddExec(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("exec", "Run a command in a container; exits with the command's code");
  auto options = std::make_shared<Options>();
  command->add_option("CONTAINER", options->container, "POD/CONTAINER, POD, container name or id")->required();
  // What follows the container belongs to the command, options included.
  command->add_option("COMMAND", options->command, "Command and arguments; options go before CONTAINER");
  command->positionals_at_end();
  command->add_flag("-i,--interactive", options->interactive, "Not available yet");
  command->add_flag("-t,--tty", options->tty, "Not available yet");
  command->add_option("--limit", options->limit, "Kill the command after this time");
  command->footer("Examples:\n  berth exec web ls -l /\n  berth exec --limit 5s web/app -- sh -c 'exit 3'");
  command->callback([options, &action] { action = [options](Session& session) { return Exec(*options, session); }; });
}

}  // namespace berth::cli
