#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/text/human.h"
#include "cli/text/table.h"

namespace berth::cli {
namespace {

constexpr char kFooter[] =
    "Names: a pod is POD or NAMESPACE/POD, a container POD/CONTAINER; ids may be cut short.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage; exec, attach: the command's own.\n"
    "berth COMMAND --help has examples.";

// CLI11's messages go on in the next line with a hint that ours replaces.
int PrintUsageError(const CLI::App& app, const CLI::ParseError& error, std::ostream& err) {
  std::string name = "berth";
  for (const CLI::App* sub : app.get_subcommands()) absl::StrAppend(&name, " ", sub->get_name());
  std::string message = error.what();
  message.erase(message.find_last_not_of('\n') + 1);
  if (app.get_subcommands().empty()) {
    std::vector<std::string> rest = app.remaining();
    bool unknown = !rest.empty() && !absl::StartsWith(rest.front(), "-");
    if (unknown) message = absl::StrCat("unknown command '", rest.front(), "'");
    if (rest.empty() && error.get_name() == "RequiredError") message = "no command given";
    if (!rest.empty() && !unknown) message = absl::StrCat("unknown option ", rest.front());
  }
  err << name << ": " << Printable(message, true) << "\nSee " << name << " --help\n";
  return kExitUsage;
}

}  // namespace

void AddGlobalOptions(CLI::App& app, Session& session) {
  session.options.socket = session.Env("BERTH_SOCKET", session.options.socket);
  app.add_option("--socket", session.options.socket, "The daemon's socket; also the variable BERTH_SOCKET")
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--timeout",
         [&session](const std::string& text) {
           auto duration = ParseDuration(text);
           if (!duration.ok()) throw CLI::ValidationError("--timeout", std::string(duration.status().message()));
           session.options.timeout = *duration;
         },
         "How long to wait for each answer, such as 30s; otherwise 2m (pull, push, save, load, exec, stop: no limit)")
      ->type_name("DURATION");
  app.add_option("-o,--output", session.options.output, "table, wide or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "wide", "json"}));
}

void AddAllCommands(CLI::App& app, Action& action) {
  AddRun(app, action);
  AddPs(app, action);
  AddPods(app, action);
  AddLogs(app, action);
  AddExec(app, action);
  AddAttach(app, action);
  AddPortForward(app, action);
  AddStop(app, action);
  AddRm(app, action);
  AddInspect(app, action);
  AddStats(app, action);
  AddPull(app, action);
  AddPush(app, action);
  AddSave(app, action);
  AddLoad(app, action);
  AddImages(app, action);
  AddTag(app, action);
  AddRmi(app, action);
  AddPrune(app, action);
  AddDf(app, action);
  AddInfo(app, action);
  AddDoctor(app, action);
  AddVersion(app, action);
  AddCompletion(app, action);
}

int RunBerth(const std::vector<std::string>& arguments, Session& session) {
  CLI::App app("berth runs Kubernetes pods on this machine.", "berth");
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(kFooter);
  app.set_version_flag("-V,--version", "berth " BERTH_VERSION, "Print the version of this program and exit");
  Action action;
  AddGlobalOptions(app, session);
  AddAllCommands(app, action);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(std::move(reversed));
  } catch (const CLI::Success& help) {  // --help, --version
    return app.exit(help, session.io.out, session.io.err);
  } catch (const CLI::ParseError& error) {
    return PrintUsageError(app, error, session.io.err);
  }
  absl::StatusOr<int> code = action(session);
  if (code.ok()) return *code;
  session.io.err << "berth: " << Printable(code.status().message(), /*keep_newlines=*/true) << "\n";
  return ExitCodeOf(code.status());
}

}  // namespace berth::cli
