#include <CLI/CLI.hpp>
#include <istream>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/commands/commands.h"
#include "cli/commands/pull_progress.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

struct Options {
  std::string image, username, credentials_file;
  std::string progress = "auto";
  bool password_from_stdin = false, quiet = false;
};

absl::StatusOr<Credentials> SplitCredentials(absl::string_view text, absl::string_view source) {
  text = absl::StripSuffix(absl::StripSuffix(text, "\n"), "\r");
  size_t colon = text.find(':');
  if (colon == absl::string_view::npos || colon == 0) {
    return absl::InvalidArgumentError(absl::StrCat(source, " must contain USER:PASSWORD"));
  }
  return Credentials{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

// No secret is taken from an argument: every user of the machine can read those.
absl::StatusOr<std::optional<Credentials>> ReadCredentials(const Options& options, Session& session) {
  if (options.username.empty() == options.password_from_stdin) {
    return UsageError("--username and --password-stdin go together");
  }
  if (options.password_from_stdin) {
    std::string password;
    std::getline(session.io.in, password);
    if (password.empty()) return absl::InvalidArgumentError("no password on stdin");
    return std::optional<Credentials>({options.username, std::string(absl::StripSuffix(password, "\r"))});
  }
  if (!options.credentials_file.empty()) {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(options.credentials_file));
    ASSIGN_OR_RETURN(Credentials credentials, SplitCredentials(text, options.credentials_file));
    return std::optional<Credentials>(std::move(credentials));
  }
  std::string variable = session.Env("BERTH_CREDS");
  if (variable.empty()) return std::optional<Credentials>();
  ASSIGN_OR_RETURN(Credentials credentials, SplitCredentials(variable, "BERTH_CREDS"));
  return std::optional<Credentials>(std::move(credentials));
}

ProgressMode ModeOf(const Options& options, const Session& session) {
  if (options.quiet || options.progress == "none") return ProgressMode::kNone;
  if (options.progress == "plain") return ProgressMode::kPlain;
  if (options.progress == "json") return ProgressMode::kJson;
  return ModeFor(session);
}

absl::StatusOr<int> Pull(const Options& options, Session& session) {
  std::string what = absl::StrCat("pull ", options.image);
  ASSIGN_OR_RETURN(auto credentials, ReadCredentials(options, session), what);
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
  command->add_option("-u,--username", options->username, "User at the registry");
  command->add_flag("--password-stdin", options->password_from_stdin, "Read the password from stdin");
  command->add_option("--creds-file", options->credentials_file,
                      "File with USER:PASSWORD; else the variable BERTH_CREDS is used");
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
