#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

struct Options {
  std::string image, name;
};

absl::StatusOr<int> Tag(const Options& options, Session& session) {
  const std::string what = absl::StrCat("tag ", options.image);
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(std::string name, client->TagImage(options.image, options.name), what);
  if (session.json()) {
    session.io.out << DumpJson(Json{{"image", options.image}, {"name", name}}, 2) << "\n";
  } else {
    session.io.out << name << "\n";
  }
  return kExitOk;
}

}  // namespace

void AddTag(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("tag", "Give an image one more name and print it in full");
  auto options = std::make_shared<Options>();
  command->add_option("IMAGE", options->image, "Tag, digest or id of an image that is here")->required();
  command->add_option("NAME", options->name, "The new tag; one that another image has moves to this one")->required();
  command->footer(
      "Examples:\n"
      "  berth tag docker.io/library/nginx:1.27 registry.example:5000/web:stable\n"
      "  berth tag 3f8a4339aadd web:tested");
  command->callback([options, &action] { action = [options](Session& session) { return Tag(*options, session); }; });
}

}  // namespace berth::cli
