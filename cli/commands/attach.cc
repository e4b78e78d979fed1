#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/commands/commands.h"
#include "cli/commands/streamed.h"
#include "cli/stream/detach_keys.h"

namespace berth::cli {
namespace {

struct Options {
  std::string container, detach_keys = "ctrl-p,ctrl-q";
  bool no_stdin = false;
};

// The session ends a moment before the container is known to have.
absl::StatusOr<int> ContainerExitCode(CriClient& client, const std::string& id) {
  constexpr absl::Duration kPatience = absl::Seconds(10);
  for (absl::Time until = absl::Now() + kPatience;;) {
    ASSIGN_OR_RETURN(ContainerDetails details, client.ContainerStatus(id));
    if (details.state == ContainerState::kExited) return details.exit_code;
    if (absl::Now() > until) return absl::UnavailableError("the session has ended, but the container still runs");
    absl::SleepFor(absl::Milliseconds(50));
  }
}

absl::StatusOr<int> Attach(const Options& options, Session& session) {
  std::string what = absl::StrCat("attach ", options.container);
  auto keys = stream::ParseDetachKeys(options.detach_keys);
  if (!keys.ok()) return UsageError(absl::StrCat("--detach-keys: ", keys.status().message()));
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(ContainerInfo container, FindContainer(*client, options.container), what);
  ASSIGN_OR_RETURN(StreamSet streams, client->ContainerStreams(container.id), what);
  if (options.no_stdin) streams.in = false;
  ASSIGN_OR_RETURN(std::string url, client->AttachUrl(container.id, streams), what);
  if (streams.in && session.io.in_is_terminal && session.io.err_is_terminal) {
    session.io.err << "Attached to " << options.container
                   << (streams.tty && !keys->empty() ? absl::StrCat("; ", options.detach_keys, " leaves it running")
                                                     : "")
                   << std::endl;
  }
  ASSIGN_OR_RETURN(StreamedEnd end, RunStreamed(session, {.url = url, .streams = streams, .detach_keys = *keys}), what);
  if (end.detached) {
    session.io.err << "\nLeft " << options.container << " running" << std::endl;
    return kExitOk;
  }
  if (!end.failure.empty()) return absl::InternalError(absl::StrCat(what, ": ", end.failure));
  if (end.cut) return end.exit_code;
  ASSIGN_OR_RETURN(int code, ContainerExitCode(*client, container.id), what);
  return code;
}

}  // namespace

void AddAttach(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("attach", "Join a running container's own streams; exits with its code");
  auto options = std::make_shared<Options>();
  command->add_option("CONTAINER", options->container, "POD/CONTAINER, POD, container name or id")->required();
  command->add_flag("--no-stdin", options->no_stdin, "Only watch, pass nothing on");
  command->add_option("--detach-keys", options->detach_keys, "What leaves a container with a terminal; empty for none")
      ->type_name("KEYS")
      ->capture_default_str();
  command->footer(
      "Stdin is passed on if the container was made with one (stdin: true).\n\n"
      "Examples:\n"
      "  berth attach web/app\n"
      "  berth attach --no-stdin web\n"
      "  berth attach --detach-keys ctrl-],q web");
  command->callback([options, &action] { action = [options](Session& session) { return Attach(*options, session); }; });
}

}  // namespace berth::cli
