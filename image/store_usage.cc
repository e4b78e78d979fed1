#include <sys/statvfs.h>

#include <cerrno>
#include <map>
#include <set>
#include <utility>

#include "absl/time/clock.h"
#include "image/disk_store.h"

namespace berth::image {
namespace {

std::set<std::string> LayersOfAll(const std::vector<ImageRow>& rows) {
  std::set<std::string> layers;
  for (const ImageRow& row : rows) layers.insert(row.layers.begin(), row.layers.end());
  return layers;
}

// Whether a container runs the image or has it as a volume.
bool Uses(const SnapshotRecord& snapshot, const ImageRow& row) {
  if (snapshot.volumes.contains(row.id.str())) return true;
  // What an older berth wrote does not name its image: any with these layers may be it.
  return snapshot.image.empty() ? snapshot.layers == row.layers : snapshot.image == row.id;
}

uint32_t CountUses(const std::vector<SnapshotRecord>& snapshots, const ImageRow& row) {
  uint32_t count = 0;
  for (const SnapshotRecord& snapshot : snapshots) count += Uses(snapshot, row) ? 1 : 0;
  return count;
}

absl::string_view FormatName(LayerFormat format) { return format == LayerFormat::kErofs ? "erofs" : "directory"; }

}  // namespace

DiskUsage DiskStore::Usage() {
  const LayerStore::Usage layers = layers_->Total();
  const ContentStore::Usage content = content_->Total();
  return {.mountpoint = options_.root,
          .bytes = layers.bytes + content.bytes,
          .inodes = layers.inodes + content.inodes,
          .at = absl::Now()};
}

DiskUsage DiskStore::SnapshotsUsage() {
  const SnapshotMeter::Figure total = meter_->Total();
  return {.mountpoint = options_.root, .bytes = total.usage.bytes, .inodes = total.usage.inodes, .at = total.at};
}

absl::StatusOr<DiskUsage> DiskStore::SnapshotUsage(const ContainerId& id) {
  const auto figure = meter_->Of(id);
  if (!figure) return absl::NotFoundError(absl::StrCat("the writable layer of ", id.str(), " was not measured"));
  return DiskUsage{
      .mountpoint = options_.root, .bytes = figure->usage.bytes, .inodes = figure->usage.inodes, .at = figure->at};
}

absl::StatusOr<PruneResult> DiskStore::PlanPrune(const PruneOptions& options,
                                                 const std::multiset<std::string>& leased) {
  ASSIGN_OR_RETURN(std::vector<ImageRow> rows, catalog_->ListImages());
  const std::vector<SnapshotRecord> snapshots = snapshots_->Known();
  std::vector<ImageRow> kept, gone;
  for (ImageRow& row : rows) {
    const bool keep = row.pinned || (options.untagged_only && !row.tags.empty()) || leased.contains(row.id.str()) ||
                      CountUses(snapshots, row) > 0;
    (keep ? kept : gone).push_back(std::move(row));
  }
  PruneResult result;
  for (const ImageRow& row : gone) {
    ASSIGN_OR_RETURN(Image image, ToImage(row));
    result.images.push_back(std::move(image));
  }
  // Damaged rows hold their layers too, so what stays is found by taking away.
  ASSIGN_OR_RETURN(std::set<std::string> used, catalog_->LayersInUse());
  for (const std::string& layer : LayersOfAll(gone)) used.erase(layer);
  used.merge(LayersOfAll(kept));
  used.merge(snapshots_->LayersInUse());
  used.insert(leased.begin(), leased.end());
  for (const std::string& layer : layers_->List()) {
    if (used.contains(layer)) continue;
    if (auto info = layers_->Info(layer); info.ok()) result.bytes += info->bytes;
  }
  return result;
}

absl::StatusOr<PruneResult> DiskStore::Prune(const PruneOptions& options) {
  PruneResult result;
  // Whoever begins to work with an image takes a lease first and looks whether it is there afterwards.
  RETURN_IF_ERROR(leases_.Collect([&](const std::multiset<std::string>& leased) -> absl::Status {
    ASSIGN_OR_RETURN(result, PlanPrune(options, leased));
    if (options.dry_run) return absl::OkStatus();
    for (const Image& image : result.images) RETURN_IF_ERROR(catalog_->RemoveImage(image.id));
    return absl::OkStatus();
  }));
  if (!options.dry_run) RETURN_IF_ERROR(Collect());
  return result;
}

void DiskStore::SumUp(const std::vector<ImageRow>& rows, UsageReport& report) {
  std::map<std::string, uint32_t> sharers;
  for (const ImageRow& row : rows) {
    for (const std::string& layer : LayersOfAll({row})) ++sharers[layer];
  }
  std::map<std::string, uint64_t> sizes;
  for (const std::string& layer : layers_->List()) {
    auto info = layers_->Info(layer);
    if (!info.ok()) continue;
    sizes[layer] = info->bytes;
    report.layers.push_back({.diff_id = layer,
                             .bytes = info->bytes,
                             .inodes = info->inodes,
                             .format = std::string(FormatName(info->format)),
                             .images = sharers[layer]});
  }
  const std::vector<SnapshotRecord> snapshots = snapshots_->Known();
  for (const ImageRow& row : rows) {
    auto image = ToImage(row);
    if (!image.ok()) continue;
    UsageReport::OfImage of{.image = *std::move(image), .containers = CountUses(snapshots, row)};
    for (const std::string& layer : LayersOfAll({row})) {
      of.bytes += sizes[layer];
      if (sharers[layer] == 1) of.own_bytes += sizes[layer];
    }
    report.images.push_back(std::move(of));
  }
}

absl::StatusOr<UsageReport> DiskStore::Report() {
  UsageReport report;
  ASSIGN_OR_RETURN(std::vector<ImageRow> rows, catalog_->ListImages());
  SumUp(rows, report);
  report.snapshots_measured_at = meter_->Total().at;
  for (const auto& [id, figure] : meter_->All()) {
    report.snapshots.push_back({.id = id, .bytes = figure.usage.bytes, .inodes = figure.usage.inodes});
  }
  report.content_bytes = content_->Total().bytes;
  ASSIGN_OR_RETURN(PruneResult prune, Prune({.dry_run = true}));
  report.reclaimable_bytes = prune.bytes;
  struct statvfs fs = {};
  if (statvfs(options_.root.c_str(), &fs) != 0) return ErrnoError(errno, absl::StrCat("statvfs '", options_.root, "'"));
  report.free_bytes = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
  return report;
}

}  // namespace berth::image
