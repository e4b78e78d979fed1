#include "image/store.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "image/disk_store.h"
#include "image/pull/image_config.h"
#include "image/reference/reference.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kShortestId = 4;

bool IsHex(absl::string_view text) {
  return text.size() >= kShortestId && text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

PullSummary Summarize(const Reference& reference, const ImageRow& row, const PullMonitor& monitor,
                      absl::Duration took) {
  PullSummary summary{.reference = reference.Normal(), .id = row.id, .took = took};
  for (const LayerProgress& layer : monitor.Layers()) {
    ++(layer.already_there ? summary.layers_there : summary.layers_fetched);
    if (!layer.already_there) summary.bytes += layer.total;
  }
  return summary;
}

}  // namespace

absl::StatusOr<Image> ToImage(const ImageRow& row) {
  ASSIGN_OR_RETURN(ConfigDocument document, ParseImageConfig(row.config), "image ", row.id.str());
  return Image{.id = row.id,
               .repo_tags = row.tags,
               .repo_digests = row.digests,
               .size = row.size,
               .pinned = row.pinned,
               .layers = row.layers,
               .config = std::move(document.config)};
}

absl::StatusOr<std::unique_ptr<Store>> DiskStore::Make(Options options) {
  std::unique_ptr<DiskStore> store(new DiskStore(std::move(options)));
  RETURN_IF_ERROR(store->OpenParts(), "image store ", store->options_.root);
  RETURN_IF_ERROR(store->Recover(), "image store ", store->options_.root);
  RETURN_IF_ERROR(store->Collect(), "image store ", store->options_.root);
  return store;
}

absl::Status DiskStore::OpenParts() {
  const std::string& root = options_.root;
  RETURN_IF_ERROR(sys::MakeDirs(root, 0700));
  ASSIGN_OR_RETURN(content_, ContentStore::Open(root));
  ASSIGN_OR_RETURN(layers_, LayerStore::Open(root, options_.layers));
  if (std::string why = layers_->FormatReason(); !why.empty()) {
    Healed(absl::StrCat("layers are kept as directories: ", why));
  }
  ASSIGN_OR_RETURN(catalog_, Catalog::Open(absl::StrCat(root, "/images.db")));
  ASSIGN_OR_RETURN(snapshots_, image::Snapshots::Open(root, layers_.get()));
  parts_ = {.content = content_.get(),
            .layers = layers_.get(),
            .catalog = catalog_.get(),
            .leases = &leases_,
            .tokens = &tokens_,
            .health = &health_,
            .flights = &layer_flights_,
            .slots = &slots_,
            .hosts_dirs = options_.hosts_dirs,
            .pinned = {options_.pinned.begin(), options_.pinned.end()},
            .parallel_layers = options_.parallel_layers,
            .range_connections = options_.range_connections,
            .trust = options_.trust};
  parts_.http = {.progress_timeout = options_.progress_timeout, .proxies = ProxiesFromEnvironment()};
  ASSIGN_OR_RETURN(known_blobs_, KnownBlobs::Open(root, layers_->List()));
  meter_ = std::make_unique<SnapshotMeter>(
      SnapshotMeter::Options{.interval = options_.usage_interval,
                             .list = [this] { return Snapshots(); },
                             .measure = [this](const ContainerId& id) { return snapshots_->Usage(id); }});
  return absl::OkStatus();
}

absl::Status DiskStore::Collect() {
  return leases_.Collect([&](const std::multiset<std::string>& leased) {
    absl::Status collected = CollectAllBut(leased);
    collect_owed_ = !collected.ok();
    return collected;
  });
}

absl::Status DiskStore::CollectAllBut(const std::multiset<std::string>& leased) {
  ASSIGN_OR_RETURN(std::set<std::string> layers, catalog_->LayersInUse());
  layers.merge(snapshots_->LayersInUse());
  ASSIGN_OR_RETURN(std::set<std::string> documents, catalog_->DocumentsInUse());
  absl::Status first;
  bool removed = false;
  for (const std::string& layer : layers_->List()) {
    if (layers.count(layer) > 0 || leased.count(layer) > 0) continue;
    first.Update(layers_->Remove(layer));
    removed = true;
  }
  for (const std::string& document : content_->List()) {
    if (documents.count(document) == 0 && leased.count(document) == 0) first.Update(content_->Remove(document));
  }
  if (removed) first.Update(snapshots_->PruneFixups());
  return first;
}

absl::StatusOr<Image> DiskStore::Pull(const PullRequest& request) {
  ASSIGN_OR_RETURN(Reference reference, ParseReference(request.reference));
  std::string key = absl::StrCat(reference.Normal(), "\n", CredentialsKey(request.credentials));
  auto job = [this, reference, credentials = request.credentials](PullMonitor& monitor) -> absl::StatusOr<ImageRow> {
    const absl::Time begin = absl::Now();
    ASSIGN_OR_RETURN(ImageRow row, PullImage(parts_, reference, credentials, monitor));
    if (!parts_.pinned.empty()) RETURN_IF_ERROR(RefreshPins());
    if (options_.pulled) options_.pulled(Summarize(reference, row, monitor, absl::Now() - begin));
    return row;
  };
  ASSIGN_OR_RETURN(ImageRow row, flights_.Run(key, request, std::move(job)));
  return ToImage(row);
}

absl::StatusOr<ImageRow> DiskStore::FindRow(absl::string_view reference_or_id) {
  if (absl::StartsWith(reference_or_id, "sha256:")) return catalog_->FindById(reference_or_id);
  if (auto normal = NormalizeReference(reference_or_id); normal.ok()) {
    absl::StatusOr<ImageRow> row = catalog_->FindByRef(*normal);
    if (!absl::IsNotFound(row.status())) return row;
  }
  // What is no reference can still be an id, or it names nothing: both are for the catalogue to say.
  if (IsHex(reference_or_id)) return catalog_->FindById(reference_or_id);
  return absl::NotFoundError(absl::StrCat("image \"", reference_or_id.substr(0, 300), "\" not found"));
}

absl::StatusOr<Image> DiskStore::Find(absl::string_view reference_or_id) {
  ASSIGN_OR_RETURN(ImageRow row, FindRow(reference_or_id));
  return ToImage(row);
}

absl::StatusOr<std::vector<Image>> DiskStore::List() {
  ASSIGN_OR_RETURN(std::vector<ImageRow> rows, catalog_->ListImages());
  std::vector<Image> out;
  for (const ImageRow& row : rows) {
    auto image = ToImage(row);
    // One that is damaged is not listed; one that cannot be read now is not gone.
    if (const int error = ErrnoOf(image.status()); error != 0 && error != ENOENT) return image.status();
    if (image.ok()) out.push_back(*std::move(image));
  }
  return out;
}

absl::Status DiskStore::Remove(absl::string_view reference_or_id) {
  absl::StatusOr<ImageRow> row = FindRow(reference_or_id);
  if (absl::IsNotFound(row.status())) return collect_owed_ ? Collect() : absl::OkStatus();
  RETURN_IF_ERROR(row);
  RETURN_IF_ERROR(catalog_->RemoveImage(row->id));
  return Collect();
}

absl::StatusOr<std::string> DiskStore::Tag(absl::string_view reference_or_id, absl::string_view name) {
  ASSIGN_OR_RETURN(Reference tag, ParseReference(name), "name");
  if (absl::StrContains(name, '@')) return absl::InvalidArgumentError("name: a tag has no digest");
  ASSIGN_OR_RETURN(ImageRow row, FindRow(reference_or_id));
  RETURN_IF_ERROR(catalog_->AddTag(row.id, tag.Normal()));
  RETURN_IF_ERROR(RefreshPins());
  return tag.Normal();
}

absl::Status DiskStore::CreateSnapshot(const ContainerId& id, const ImageId& image, absl::Span<const ImageId> volumes) {
  SnapshotRecord record{.id = id};
  record.image = image;
  ASSIGN_OR_RETURN(record.layers, catalog_->LayersOf(image));
  for (const ImageId& volume : volumes) {
    ASSIGN_OR_RETURN(record.volumes[volume.str()], catalog_->LayersOf(volume));
  }
  std::vector<std::string> held = record.AllLayers();
  held.push_back(image.str());
  for (const ImageId& volume : volumes) held.push_back(volume.str());
  LayerLeases::Lease lease = leases_.Hold(std::move(held));
  // Removed between the look-up and the hold, their layers may be gone.
  RETURN_IF_ERROR(catalog_->LayersOf(image));
  for (const ImageId& volume : volumes) RETURN_IF_ERROR(catalog_->LayersOf(volume));
  absl::Status created = snapshots_->Create(record);
  // The layer is gone, so the image is: it is pulled again, and the next attempt finds it whole.
  // NotFound: another call has found the damage.
  if (absl::IsDataLoss(created) || absl::IsNotFound(created)) RETURN_IF_ERROR(DropBrokenImages());
  RETURN_IF_ERROR(created);
  meter_->Add(id);
  return absl::OkStatus();
}

absl::Status DiskStore::RemoveSnapshot(const ContainerId& id) {
  const std::vector<std::string> layers = snapshots_->LayersOf(id);
  RETURN_IF_ERROR(snapshots_->Remove(id));
  meter_->Remove(id);
  if (collect_owed_) return Collect();
  // Nearly always another snapshot or an image has them still.
  auto used = catalog_->LayersInUse();
  if (!used.ok()) collect_owed_ = true;
  RETURN_IF_ERROR(used);
  used->merge(snapshots_->LayersInUse());
  const bool all_used =
      std::all_of(layers.begin(), layers.end(), [&](const std::string& layer) { return used->count(layer) > 0; });
  return all_used ? absl::OkStatus() : Collect();
}

std::vector<ContainerId> DiskStore::Snapshots() {
  std::vector<ContainerId> out;
  auto records = snapshots_->List();
  if (!records.ok()) return out;
  for (SnapshotRecord& record : *records) out.push_back(std::move(record.id));
  return out;
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(Options options) {
  for (std::string& reference : options.pinned) {
    ASSIGN_OR_RETURN(reference, NormalizeReference(reference), "pinned image");
  }
  return DiskStore::Make(std::move(options));
}

}  // namespace berth::image
