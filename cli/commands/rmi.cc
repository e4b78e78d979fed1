#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/commands/commands.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> images;
  bool force = false;
};

// The beginning of an id stands for the image too; a name is left to the daemon.
absl::StatusOr<std::string> Resolve(const std::string& word, CriClient& client) {
  ASSIGN_OR_RETURN(auto found, client.FindImage(word));
  if (found) return word;
  ASSIGN_OR_RETURN(std::vector<ImageInfo> images, client.ListImages());
  absl::string_view digits = absl::StripPrefix(word, "sha256:");
  std::string match;
  for (const ImageInfo& image : images) {
    if (digits.empty() || !absl::StartsWith(absl::StripPrefix(image.id, "sha256:"), digits)) continue;
    if (!match.empty()) return absl::InvalidArgumentError(absl::StrCat("'", word, "' is ambiguous"));
    match = image.id;
  }
  if (match.empty()) return absl::NotFoundError(absl::StrCat("no image '", word, "'"));
  return match;
}

absl::StatusOr<int> Rmi(const Options& options, Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "rmi");
  int code = kExitOk;
  for (const std::string& word : options.images) {
    absl::StatusOr<std::string> image = Resolve(word, *client);
    if (options.force && absl::IsNotFound(image.status())) continue;
    absl::Status status = image.ok() ? client->RemoveImage(*image) : image.status();
    if (status.ok()) {
      session.io.out << word << "\n";
    } else {
      session.io.err << "berth: rmi " << word << ": " << status.message() << "\n";
      code = kExitFailure;
    }
  }
  return code;
}

}  // namespace

void AddRmi(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("rmi", "Remove images, with all their names");
  auto options = std::make_shared<Options>();
  command->add_option("IMAGE", options->images, "Names, ids or beginnings of ids")->required();
  command->add_flag("-f,--force", options->force, "No error for images that are not there");
  command->footer("Examples:\n  berth rmi docker.io/library/nginx:1.27\n  berth rmi 3f8a4339aadd");
  command->callback([options, &action] { action = [options](Session& session) { return Rmi(*options, session); }; });
}

}  // namespace berth::cli
