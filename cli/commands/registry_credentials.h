// The options by which a command is given a user and a password for a registry. No secret is taken from an argument:
// every user of the machine can read those.
#pragma once

#include <optional>
#include <string>

#include "cli/session.h"

namespace CLI {
class App;
}

namespace berth::cli {

struct CredentialOptions {
  std::string username, file;
  bool password_from_stdin = false;
};

// Adds --username, --password-stdin and --creds-file; `options` outlives the command.
void AddCredentialOptions(CLI::App& command, CredentialOptions& options);

// From stdin, the file or the variable BERTH_CREDS; absent without any of them. A usage error when the options do not
// go together, InvalidArgument when what they name is no USER:PASSWORD.
absl::StatusOr<std::optional<Credentials>> ReadCredentials(const CredentialOptions& options, Session& session);

}  // namespace berth::cli
