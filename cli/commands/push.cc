#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/push_progress.h"
#include "cli/commands/registry_credentials.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

struct Options {
  PushOptions push;
  CredentialOptions credentials;
  bool quiet = false;
};

absl::StatusOr<int> Push(const Options& options, Session& session) {
  std::string what = absl::StrCat("push ", options.push.image);
  ASSIGN_OR_RETURN(auto credentials, ReadCredentials(options.credentials, session), what);
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  PushProgress progress(session.io.err, session.io.err_is_terminal);
  PushWatcher watch;
  if (!options.quiet) watch = [&](const std::vector<BlobState>& blobs) { progress.Update(blobs); };
  ASSIGN_OR_RETURN(PushedImage pushed, client->PushImage(options.push, credentials, watch), what);
  if (session.json()) {
    session.io.out << DumpJson(Json{{"image", options.push.image}, {"name", pushed.name}, {"digest", pushed.digest}}, 2)
                   << "\n";
  } else {
    session.io.out << pushed.digest << "\n";
  }
  return kExitOk;
}

}  // namespace

void AddPush(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("push", "Upload an image to a registry and print its manifest's digest");
  auto options = std::make_shared<Options>();
  command->add_option("IMAGE", options->push.image, "Tag, digest or id of an image that is here")->required();
  command->add_option("DEST", options->push.destination, "Name and tag to give it there; else IMAGE itself");
  command
      ->add_option("--compression", options->push.compression,
                   "gzip or zstd, for layers that the registry does not have as they were pulled; gzip if not said")
      ->check(CLI::IsMember({"gzip", "zstd"}));
  AddCredentialOptions(*command, options->credentials);
  command->add_flag("-q,--quiet", options->quiet, "Show no progress");
  command->footer(
      "Examples:\n"
      "  berth push registry.example:5000/shop/web:2.1\n"
      "  berth push busybox:1.36 registry.example:5000/base/busybox:1.36\n"
      "  berth push -u alice --password-stdin web:2.1 registry.example/shop/web:2.1 < password");
  command->callback([options, &action] { action = [options](Session& session) { return Push(*options, session); }; });
}

}  // namespace berth::cli
