#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "cli/commands/commands.h"
#include "cli/text/human.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

std::string ShortId(absl::string_view id) { return std::string(absl::StripPrefix(id, "sha256:").substr(0, 12)); }

template <typename List>
uint64_t BytesOf(const List& list) {
  uint64_t sum = 0;
  for (const auto& item : list) sum += item.bytes;
  return sum;
}

std::string Part(uint64_t part, uint64_t whole) {
  if (whole == 0) return HumanBytes(part);
  const auto percent = static_cast<uint64_t>(static_cast<double>(part) * 100 / static_cast<double>(whole));
  return absl::StrCat(HumanBytes(part), " (", percent, "%)");
}

// Layers that several images share are there once, so images have their size together only.
void PrintSummary(const DiskReport& report, std::ostream& out) {
  const auto used = std::count_if(report.images.begin(), report.images.end(),
                                  [](const DiskReport::Image& image) { return image.containers > 0; });
  const auto layers_used = std::count_if(report.layers.begin(), report.layers.end(),
                                         [](const DiskReport::Layer& layer) { return layer.images > 0; });
  const uint64_t layers = BytesOf(report.layers);
  Table table({"TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"});
  table.Add({"Images", absl::StrCat(report.images.size()), absl::StrCat(used), HumanBytes(layers),
             Part(report.reclaimable_bytes, layers)});
  table.Add({"Layers", absl::StrCat(report.layers.size()), absl::StrCat(layers_used), HumanBytes(layers)});
  table.Add({"Writable layers", absl::StrCat(report.snapshots.size()), absl::StrCat(report.snapshots.size()),
             HumanBytes(BytesOf(report.snapshots))});
  table.Add({"Manifests", "", "", HumanBytes(report.content_bytes)});
  table.Add({"Free on disk", "", "", HumanBytes(report.free_bytes)});
  table.Print(out);
}

void PrintImages(const DiskReport& report, std::ostream& out) {
  Table table({"IMAGE", "ID", "SIZE", "OWN", "SHARED", "CONTAINERS", "PINNED"});
  for (const DiskReport::Image& image : report.images) {
    table.Add({image.names.empty() ? "<none>" : image.names[0], ShortId(image.id), HumanBytes(image.bytes),
               HumanBytes(image.own_bytes), HumanBytes(image.bytes - std::min(image.bytes, image.own_bytes)),
               absl::StrCat(image.containers), image.pinned ? "yes" : ""});
  }
  table.Print(out);
}

void PrintLayers(const DiskReport& report, std::ostream& out) {
  Table table({"LAYER", "SIZE", "INODES", "FORMAT", "IMAGES"});
  for (const DiskReport::Layer& layer : report.layers) {
    table.Add({ShortId(layer.diff_id), HumanBytes(layer.bytes), absl::StrCat(layer.inodes), layer.format,
               absl::StrCat(layer.images)});
  }
  table.Print(out);
}

void PrintSnapshots(const DiskReport& report, const std::map<std::string, std::string>& names, std::ostream& out) {
  Table table({"CONTAINER", "NAME", "SIZE", "INODES"});
  for (const DiskReport::Snapshot& snapshot : report.snapshots) {
    auto name = names.find(snapshot.container_id);
    table.Add({ShortId(snapshot.container_id), name == names.end() ? "" : name->second, HumanBytes(snapshot.bytes),
               absl::StrCat(snapshot.inodes)});
  }
  table.Print(out);
  out << "writable layers were measured " << HumanAge(report.snapshots_measured_at, absl::Now()) << "\n";
}

Json ToJson(const DiskReport& report) {
  Json json = {{"images", Json::array()},
               {"layers", Json::array()},
               {"writableLayers", Json::array()},
               {"contentBytes", report.content_bytes},
               {"reclaimableBytes", report.reclaimable_bytes},
               {"freeBytes", report.free_bytes},
               {"writableLayersMeasuredAt", FormatTime(report.snapshots_measured_at)}};
  for (const DiskReport::Image& image : report.images) {
    json["images"].push_back({{"id", image.id},
                              {"names", image.names},
                              {"bytes", image.bytes},
                              {"ownBytes", image.own_bytes},
                              {"containers", image.containers},
                              {"pinned", image.pinned}});
  }
  for (const DiskReport::Layer& layer : report.layers) {
    json["layers"].push_back({{"diffId", layer.diff_id},
                              {"bytes", layer.bytes},
                              {"inodes", layer.inodes},
                              {"format", layer.format},
                              {"images", layer.images}});
  }
  for (const DiskReport::Snapshot& snapshot : report.snapshots) {
    json["writableLayers"].push_back(
        {{"containerId", snapshot.container_id}, {"bytes", snapshot.bytes}, {"inodes", snapshot.inodes}});
  }
  return json;
}

absl::StatusOr<int> Df(Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "df");
  ASSIGN_OR_RETURN(DiskReport report, client->DiskUsage(), "df");
  if (session.json()) {
    session.io.out << DumpJson(ToJson(report), 2) << "\n";
    return kExitOk;
  }
  PrintSummary(report, session.io.out);
  if (!session.wide()) return kExitOk;
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client->ListContainers(), "df");
  std::map<std::string, std::string> names;
  for (const ContainerInfo& container : containers) names[container.id] = container.name;
  session.io.out << "\n";
  PrintImages(report, session.io.out);
  session.io.out << "\n";
  PrintLayers(report, session.io.out);
  session.io.out << "\n";
  PrintSnapshots(report, names, session.io.out);
  return kExitOk;
}

}  // namespace

void AddDf(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("df", "Show what images and containers take on disk");
  command->footer(
      "RECLAIMABLE is what `berth prune` would give back. -o wide lists images, layers and containers; OWN is what no\n"
      "other image shares.\n\n"
      "Examples:\n  berth df\n  berth df -o wide\n  berth df -o json");
  command->callback([&action] { action = Df; });
}

}  // namespace berth::cli
