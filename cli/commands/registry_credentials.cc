#include "cli/commands/registry_credentials.h"

#include <CLI/CLI.hpp>
#include <istream>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

absl::StatusOr<Credentials> SplitCredentials(absl::string_view text, absl::string_view source) {
  text = absl::StripSuffix(absl::StripSuffix(text, "\n"), "\r");
  size_t colon = text.find(':');
  if (colon == absl::string_view::npos || colon == 0) {
    return absl::InvalidArgumentError(absl::StrCat(source, " must contain USER:PASSWORD"));
  }
  return Credentials{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

}  // namespace

void AddCredentialOptions(CLI::App& command, CredentialOptions& options) {
  command.add_option("-u,--username", options.username, "User at the registry");
  command.add_flag("--password-stdin", options.password_from_stdin, "Read the password from stdin");
  command.add_option("--creds-file", options.file, "File with USER:PASSWORD; else the variable BERTH_CREDS is used");
}

absl::StatusOr<std::optional<Credentials>> ReadCredentials(const CredentialOptions& options, Session& session) {
  if (options.username.empty() == options.password_from_stdin) {
    return UsageError("--username and --password-stdin go together");
  }
  if (options.password_from_stdin) {
    std::string password;
    std::getline(session.io.in, password);
    if (password.empty()) return absl::InvalidArgumentError("no password on stdin");
    return std::optional<Credentials>({options.username, std::string(absl::StripSuffix(password, "\r"))});
  }
  if (!options.file.empty()) {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(options.file));
    ASSIGN_OR_RETURN(Credentials credentials, SplitCredentials(text, options.file));
    return std::optional<Credentials>(std::move(credentials));
  }
  std::string variable = session.Env("BERTH_CREDS");
  if (variable.empty()) return std::optional<Credentials>();
  ASSIGN_OR_RETURN(Credentials credentials, SplitCredentials(variable, "BERTH_CREDS"));
  return std::optional<Credentials>(std::move(credentials));
}

}  // namespace berth::cli
