#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/commands/commands.h"
#include "cli/text/table.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> images;
  bool force = false;
};

// The beginning of an id stands for the image too; a name is left to the daemon.
absl::StatusOr<ImageInfo> Resolve(const std::string& word, CriClient& client) {
  ASSIGN_OR_RETURN(auto found, client.FindImage(word));
  if (found) return *std::move(found);
  ASSIGN_OR_RETURN(std::vector<ImageInfo> images, client.ListImages());
  absl::string_view digits = absl::StripPrefix(word, "sha256:");
  const ImageInfo* match = nullptr;
  for (const ImageInfo& image : images) {
    if (digits.empty() || !absl::StartsWith(absl::StripPrefix(image.id, "sha256:"), digits)) continue;
    if (match != nullptr) return absl::InvalidArgumentError(absl::StrCat("'", word, "' is ambiguous"));
    match = &image;
  }
  if (match == nullptr) return absl::NotFoundError(absl::StrCat("no image '", word, "'"));
  return *match;
}

// A container that has ended keeps what it needs of its image; so does one that runs, but it may be started anew.
absl::Status CheckUnused(const ImageInfo& image, CriClient& client) {
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client.ListContainers());
  for (const ContainerInfo& container : containers) {
    if (container.image_id != image.id || container.state == ContainerState::kExited) continue;
    return absl::FailedPreconditionError(absl::StrCat("container ", container.name, " (", container.id.substr(0, 12),
                                                      ") runs it; -f removes it anyway"));
  }
  return absl::OkStatus();
}

absl::Status RemoveOne(const std::string& word, bool force, CriClient& client) {
  absl::StatusOr<ImageInfo> image = Resolve(word, client);
  if (force && absl::IsNotFound(image.status())) return absl::OkStatus();
  RETURN_IF_ERROR(image);
  if (!force) RETURN_IF_ERROR(CheckUnused(*image, client));
  return client.RemoveImage(image->id);
}

absl::StatusOr<int> Rmi(const Options& options, Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "rmi");
  int code = kExitOk;
  for (const std::string& word : options.images) {
    absl::Status status = RemoveOne(word, options.force, *client);
    if (status.ok()) {
      session.io.out << word << "\n";
    } else {
      session.io.err << "berth: rmi " << Printable(word) << ": " << Printable(status.message()) << "\n";
      code = kExitFailure;
    }
  }
  return code;
}

}  // namespace

void AddRmi(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("rmi", "Remove images, with all their names");
  auto options = std::make_shared<Options>();
  command->add_option("IMAGE", options->images, "Tags, digests, ids or beginnings of ids")->required();
  command->add_flag("-f,--force", options->force, "Also images that run; no error for those that are not there");
  command->footer("Examples:\n  berth rmi docker.io/library/nginx:1.27\n  berth rmi 3f8a4339aadd");
  command->callback([options, &action] { action = [options](Session& session) { return Rmi(*options, session); }; });
}

}  // namespace berth::cli
