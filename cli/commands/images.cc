#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/commands/commands.h"
#include "cli/text/human.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

struct Options {
  bool quiet = false, digests = false;
};

std::string ShortId(const std::string& id, bool whole) {
  return whole ? id : std::string(absl::StripPrefix(id, "sha256:").substr(0, 12));
}

// "registry:5000/a/b:1.2" to its name and tag.
std::pair<std::string, std::string> SplitTag(const std::string& reference) {
  size_t colon = reference.rfind(':');
  if (colon == std::string::npos || reference.find('/', colon) != std::string::npos) return {reference, "<none>"};
  return {reference.substr(0, colon), reference.substr(colon + 1)};
}

Json ToJson(const ImageInfo& image) {
  Json json = {{"id", image.id},         {"tags", image.tags}, {"digests", image.digests}, {"size", image.size},
               {"pinned", image.pinned}, {"uid", nullptr},     {"user", image.username}};
  if (image.uid) json["uid"] = *image.uid;
  return json;
}

std::string DigestOf(const ImageInfo& image) {
  if (image.digests.empty()) return "<none>";
  return image.digests[0].substr(image.digests[0].find('@') + 1);
}

void PrintTable(const std::vector<ImageInfo>& images, const Options& options, bool wide, std::ostream& out) {
  bool digests = options.digests || wide;
  std::vector<std::string> header = {"IMAGE", "TAG", "ID", "SIZE"};
  if (digests) header.insert(header.begin() + 2, "DIGEST");
  if (wide) header.push_back("PINNED");
  Table table(header);
  for (const ImageInfo& image : images) {
    std::vector<std::pair<std::string, std::string>> names;
    for (const std::string& tag : image.tags) names.push_back(SplitTag(tag));
    if (names.empty()) {
      std::string name = image.digests.empty() ? "<none>" : image.digests[0].substr(0, image.digests[0].find('@'));
      names.push_back({name, "<none>"});
    }
    for (const auto& [name, tag] : names) {
      std::vector<std::string> row = {name, tag, ShortId(image.id, wide), HumanBytes(image.size)};
      if (digests) row.insert(row.begin() + 2, DigestOf(image));
      if (wide) row.push_back(image.pinned ? "yes" : "");
      table.Add(row);
    }
  }
  table.Print(out);
}

absl::StatusOr<int> Images(const Options& options, Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "images");
  ASSIGN_OR_RETURN(std::vector<ImageInfo> images, client->ListImages(), "images");
  std::sort(images.begin(), images.end(), [](const ImageInfo& a, const ImageInfo& b) {
    return std::tie(a.tags, a.digests, a.id) < std::tie(b.tags, b.digests, b.id);
  });
  if (options.quiet) {
    for (const ImageInfo& image : images) session.io.out << image.id << "\n";
  } else if (session.json()) {
    Json json = Json::array();
    for (const ImageInfo& image : images) json.push_back(ToJson(image));
    session.io.out << DumpJson(json, 2) << "\n";
  } else {
    PrintTable(images, options, session.wide(), session.io.out);
  }
  return kExitOk;
}

}  // namespace

void AddImages(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("images", "List images");
  auto options = std::make_shared<Options>();
  command->add_flag("-q,--quiet", options->quiet, "Print ids only");
  command->add_flag("--digests", options->digests, "Show digests");
  command->footer(
      "SIZE is on disk, with what images share counted for each; `berth df` tells them apart.\n\n"
      "Examples:\n  berth images\n  berth images -o wide\n  berth images -o json\n  berth rmi $(berth images -q)");
  command->callback([options, &action] { action = [options](Session& session) { return Images(*options, session); }; });
}

}  // namespace berth::cli
