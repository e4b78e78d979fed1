#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/streamed.h"
#include "cli/text/human.h"
#include "cli/text/table.h"

namespace berth::cli {
namespace {

struct Options {
  std::string container, limit;
  std::vector<std::string> command;
  bool interactive = false, tty = false;
};

absl::StatusOr<int> ExecWithLimit(CriClient& client, const std::string& id, const std::vector<std::string>& command,
                                  absl::Duration limit, Session& session) {
  int64_t seconds = absl::ToInt64Seconds(absl::Ceil(limit, absl::Seconds(1)));
  ASSIGN_OR_RETURN(ExecResult result, client.ExecSync(id, command, seconds));
  session.io.out << result.out << std::flush;
  session.io.err << result.err << std::flush;
  return result.exit_code;
}

absl::StatusOr<int> ExecStreamed(CriClient& client, const std::string& id, const std::vector<std::string>& command,
                                 const Options& options, Session& session) {
  StreamSet streams{.in = options.interactive, .out = true, .err = !options.tty, .tty = options.tty};
  ASSIGN_OR_RETURN(std::string url, client.ExecUrl(id, command, streams));
  ASSIGN_OR_RETURN(StreamedEnd end, RunStreamed(session, {.url = url, .streams = streams}));
  if (!end.failure.empty()) {
    session.io.err << "berth: exec " << options.container << ": " << Printable(end.failure) << std::endl;
  }
  return end.exit_code;
}

absl::StatusOr<int> Exec(const Options& options, Session& session) {
  std::string what = absl::StrCat("exec ", options.container);
  // "--" may stand between container and command.
  std::vector<std::string> command = options.command;
  if (!command.empty() && command.front() == "--") command.erase(command.begin());
  if (command.empty()) return UsageError("exec: no command given");
  std::optional<absl::Duration> limit;
  if (!options.limit.empty()) {
    auto duration = ParseDuration(options.limit);
    if (!duration.ok()) return UsageError(absl::StrCat("--limit: ", duration.status().message()));
    if (options.interactive || options.tty) return UsageError("exec: --limit goes without -i and -t");
    limit = *duration;
  }
  if (options.interactive && options.tty && !session.io.in_is_terminal) {
    return UsageError("exec: -it needs a terminal, and stdin is none; without -t what is piped in is passed on");
  }
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(ContainerInfo container, FindContainer(*client, options.container), what);
  auto code = limit ? ExecWithLimit(*client, container.id, command, *limit, session)
                    : ExecStreamed(*client, container.id, command, options, session);
  RETURN_IF_ERROR(code, what);
  return code;
}

}  // namespace

void AddExec(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("exec", "Run a command in a container; exits with the command's code");
  auto options = std::make_shared<Options>();
  command->add_option("CONTAINER", options->container, "POD/CONTAINER, POD, container name or id")->required();
  // What follows the container belongs to the command, options included.
  command->add_option("COMMAND", options->command, "Command and arguments; options go before CONTAINER");
  command->positionals_at_end();
  command->add_flag("-i,--interactive", options->interactive, "Pass stdin on to the command");
  command->add_flag("-t,--tty", options->tty, "Give the command a terminal");
  command->add_option("--limit", options->limit, "Kill the command after this time; its output is shown at its end");
  command->footer(
      "Examples:\n"
      "  berth exec -it web/app sh\n"
      "  berth exec web ls -l /\n"
      "  tar c . | berth exec -i web -- tar x -C /data\n"
      "  berth exec --limit 5s web/app -- sh -c 'exit 3'");
  command->callback([options, &action] { action = [options](Session& session) { return Exec(*options, session); }; });
}

}  // namespace berth::cli
