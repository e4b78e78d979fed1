#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/pull_progress.h"
#include "cli/commands/registry_credentials.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

struct Options {
  std::string image;
  CredentialOptions credentials;
  std::string progress = "auto";
  bool quiet = false;
};

ProgressMode ModeOf(const Options& options, const Session& session) {
  if (options.quiet || options.progress == "none") return ProgressMode::kNone;
  if (options.progress == "plain") return ProgressMode::kPlain;
  if (options.progress == "json") return ProgressMode::kJson;
  return ModeFor(session);
}

absl::StatusOr<int> Pull(const Options& options, Session& session) {
  std::string what = absl::StrCat("pull ", options.image);
  ASSIGN_OR_RETURN(auto credentials, ReadCredentials(options.credentials, session), what);
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(std::string id, PullShown(*client, session, ModeOf(options, session), options.image, credentials),
                   what);
  if (session.json()) {
    session.io.out << DumpJson(Json{{"image", options.image}, {"id", id}}, 2) << "\n";
  } else {
    session.io.out << id << "\n";
  }
  return kExitOk;
}

}  // namespace

void AddPull(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("pull", "Fetch an image from its registry and print its id");
  auto options = std::make_shared<Options>();
  command->add_option("IMAGE", options->image, "Name with tag or digest")->required();
  AddCredentialOptions(*command, options->credentials);
  command->add_flag("-q,--quiet", options->quiet, "Show no progress");
  command
      ->add_option("--progress", options->progress,
                   "How to show it, on stderr: auto (bars on a terminal, else plain), plain (lines), json (a line for "
                   "each change) or none")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "plain", "json", "none"}));
  command->footer(
      "Examples:\n"
      "  berth pull docker.io/library/nginx:1.27\n"
      "  berth pull registry.example:5000/shop/web@sha256:…\n"
      "  berth pull --progress json -o json busybox:1.36\n"
      "  berth pull -u alice --password-stdin registry.example/app < password");
  command->callback([options, &action] { action = [options](Session& session) { return Pull(*options, session); }; });
}

}  // namespace berth::cli
