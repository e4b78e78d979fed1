#include <CLI/CLI.hpp>
#include <istream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cli/commands/commands.h"
#include "cli/text/human.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

struct Options {
  bool untagged_only = false, dry_run = false, yes = false;
};

Json ToJson(const PruneReport& report, bool dry_run) {
  Json json = {{"dryRun", dry_run}, {"images", Json::array()}, {"bytes", report.bytes}};
  for (const PrunedImage& image : report.images) json["images"].push_back({{"id", image.id}, {"names", image.names}});
  return json;
}

// Tags; digests, which are long, only where there is no tag.
std::string NamesOf(const PrunedImage& image) {
  std::vector<std::string> tags;
  for (const std::string& name : image.names) {
    if (!absl::StrContains(name, '@')) tags.push_back(name);
  }
  const std::vector<std::string>& names = tags.empty() ? image.names : tags;
  return names.empty() ? "<none>" : absl::StrJoin(names, ", ");
}

void PrintTable(const PruneReport& report, std::ostream& out) {
  if (report.images.empty()) return;
  Table table({"ID", "NAMES"});
  for (const PrunedImage& image : report.images) {
    std::string id(absl::StripPrefix(image.id, "sha256:").substr(0, 12));
    table.Add({id, NamesOf(image)});
  }
  table.Print(out);
}

std::string Count(size_t images) { return absl::StrCat(images, images == 1 ? " image" : " images"); }

// Shows what would go and waits for a yes.
absl::StatusOr<bool> IsConfirmed(const Options& options, CriClient& client, Session& session) {
  ASSIGN_OR_RETURN(PruneReport plan, client.PruneImages(options.untagged_only, /*dry_run=*/true), "prune");
  if (plan.images.empty()) return true;  // nothing of anybody's
  PrintTable(plan, session.io.err);
  session.io.err << "Remove " << Count(plan.images.size()) << ", " << HumanBytes(plan.bytes) << "? [y/N] "
                 << std::flush;
  std::string answer;
  std::getline(session.io.in, answer);
  absl::AsciiStrToLower(&answer);
  return answer == "y" || answer == "yes";
}

absl::StatusOr<int> Prune(const Options& options, Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "prune");
  if (session.io.in_is_terminal && !options.yes && !options.dry_run) {
    ASSIGN_OR_RETURN(bool confirmed, IsConfirmed(options, *client, session));
    if (!confirmed) {
      session.io.err << "berth: prune: nothing was removed\n";
      return kExitFailure;
    }
  }
  ASSIGN_OR_RETURN(PruneReport report, client->PruneImages(options.untagged_only, options.dry_run), "prune");
  if (session.json()) {
    session.io.out << DumpJson(ToJson(report, options.dry_run), 2) << "\n";
    return kExitOk;
  }
  PrintTable(report, session.io.out);
  session.io.out << (options.dry_run ? "would remove " : "removed ") << Count(report.images.size()) << ", "
                 << HumanBytes(report.bytes) << "\n";
  return kExitOk;
}

}  // namespace

void AddPrune(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("prune", "Remove the images that no container uses and that are not pinned");
  auto options = std::make_shared<Options>();
  command->add_flag("--untagged-only", options->untagged_only, "Only images without any tag");
  command->add_flag("--dry-run", options->dry_run, "Only show what would be removed");
  command->add_flag("-y,--yes", options->yes, "Do not ask; without a terminal it never asks");
  command->footer("Examples:\n  berth prune --dry-run\n  berth prune --untagged-only --yes");
  command->callback([options, &action] { action = [options](Session& session) { return Prune(*options, session); }; });
}

}  // namespace berth::cli
