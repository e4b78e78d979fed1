#include "image/store.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "image/archive/image_writer.h"
#include "image/archive/loader.h"
#include "image/catalog/catalog.h"
#include "image/content/content_store.h"
#include "image/content/digest.h"
#include "image/pull/image_config.h"
#include "image/pull/layer_leases.h"
#include "image/pull/pull_flights.h"
#include "image/pull/puller.h"
#include "image/push/known_blobs.h"
#include "image/push/pusher.h"
#include "image/reference/reference.h"
#include "image/snapshot/snapshots.h"
#include "image/unpack/layer_store.h"
#include "image/unpack/tree_usage.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kShortestId = 4;

bool IsHex(absl::string_view text) {
  return text.size() >= kShortestId && text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

// What the catalogue has of an image, as the daemon sees it.
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

class DiskStore : public Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Make(Options options);

  absl::StatusOr<Image> Pull(const PullRequest& request) override;
  absl::StatusOr<PushResult> Push(const PushRequest& request) override;
  absl::Status Save(const SaveRequest& request) override;
  absl::StatusOr<std::vector<Image>> Load(const LoadRequest& request) override;
  absl::StatusOr<Image> Find(absl::string_view reference_or_id) override;
  std::vector<Image> List() override;
  absl::Status Remove(absl::string_view reference_or_id) override;
  DiskUsage Usage() override;
  DiskUsage SnapshotsUsage() override;

  absl::Status CreateSnapshot(const ContainerId& id, const ImageId& image, absl::Span<const ImageId> volumes) override;
  absl::StatusOr<sys::UniqueFd> MountSnapshot(const ContainerId& id, int userns, const std::string& label) override {
    return snapshots_->Mount(id, userns, label);
  }
  absl::Status TryMapping(int userns) override { return snapshots_->TryMapping(userns); }
  absl::StatusOr<sys::UniqueFd> MountImage(const ContainerId& id, const ImageId& image, absl::string_view sub_path,
                                           int userns) override {
    return snapshots_->MountImage(id, image, sub_path, userns);
  }
  absl::StatusOr<VolumeCopy> CopyVolume(const ContainerId& id, int rootfs, absl::string_view path) override {
    return snapshots_->CopyVolume(id, rootfs, path);
  }
  absl::Status RemoveSnapshot(const ContainerId& id) override;
  absl::StatusOr<DiskUsage> SnapshotUsage(const ContainerId& id) override;
  std::vector<ContainerId> Snapshots() override;

 private:
  explicit DiskStore(Options options) : options_(std::move(options)) {}

  absl::Status OpenParts();
  absl::Status RecoverImages();
  absl::Status Collect();
  absl::StatusOr<ImageRow> FindRow(absl::string_view reference_or_id);
  // Its layers and documents stay as long as `lease`, also when it is removed meanwhile.
  absl::StatusOr<ImageRow> FindAndHold(absl::string_view reference_or_id, LayerLeases::Lease& lease);

  const Options options_;
  std::unique_ptr<ContentStore> content_;
  std::unique_ptr<LayerStore> layers_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<image::Snapshots> snapshots_;
  LayerLeases leases_;
  TokenSource tokens_;
  PullFlights flights_;
  PullParts parts_;
  std::unique_ptr<KnownBlobs> known_blobs_;
};

absl::StatusOr<std::unique_ptr<Store>> DiskStore::Make(Options options) {
  std::unique_ptr<DiskStore> store(new DiskStore(std::move(options)));
  RETURN_IF_ERROR(store->OpenParts(), "image store ", store->options_.root);
  RETURN_IF_ERROR(store->RecoverImages(), "image store ", store->options_.root);
  RETURN_IF_ERROR(store->Collect(), "image store ", store->options_.root);
  return store;
}

absl::Status DiskStore::OpenParts() {
  const std::string& root = options_.root;
  RETURN_IF_ERROR(sys::MakeDirs(root, 0700));
  ASSIGN_OR_RETURN(content_, ContentStore::Open(root));
  ASSIGN_OR_RETURN(layers_, LayerStore::Open(root));
  ASSIGN_OR_RETURN(catalog_, Catalog::Open(absl::StrCat(root, "/images.db")));
  ASSIGN_OR_RETURN(snapshots_, image::Snapshots::Open(root, layers_.get()));
  parts_ = {.content = content_.get(),
            .layers = layers_.get(),
            .catalog = catalog_.get(),
            .leases = &leases_,
            .tokens = &tokens_,
            .hosts_dirs = options_.hosts_dirs,
            .pinned = {options_.pinned.begin(), options_.pinned.end()},
            .parallel_layers = options_.parallel_layers};
  ASSIGN_OR_RETURN(known_blobs_, KnownBlobs::Open(root, layers_->List()));
  return absl::OkStatus();
}

// An image that lost a layer is dropped, so that it is pulled again. Pins are what the configuration says now.
absl::Status DiskStore::RecoverImages() {
  ASSIGN_OR_RETURN(std::vector<ImageRow> rows, catalog_->ListImages());
  for (const ImageRow& row : rows) {
    bool complete = ParseImageConfig(row.config).ok();
    for (const std::string& layer : row.layers) complete = complete && layers_->Has(layer);
    if (!complete) {
      RETURN_IF_ERROR(catalog_->RemoveImage(row.id));
      continue;
    }
    bool pinned = false;
    for (const auto* references : {&row.tags, &row.digests}) {
      for (const std::string& reference : *references) pinned = pinned || parts_.pinned.count(reference) > 0;
    }
    if (pinned != row.pinned) RETURN_IF_ERROR(catalog_->SetPinned(row.id, pinned));
  }
  return absl::OkStatus();
}

// Removes layers and documents that no image, snapshot or running pull needs. Of several errors the first.
absl::Status DiskStore::Collect() {
  return leases_.Collect([&](const std::multiset<std::string>& leased) -> absl::Status {
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
    ASSIGN_OR_RETURN(std::vector<std::string> stored, content_->List());
    for (const std::string& document : stored) {
      if (documents.count(document) == 0 && leased.count(document) == 0) first.Update(content_->Remove(document));
    }
    if (removed) first.Update(snapshots_->PruneFixups());
    return first;
  });
}

absl::StatusOr<Image> DiskStore::Pull(const PullRequest& request) {
  ASSIGN_OR_RETURN(Reference reference, ParseReference(request.reference));
  std::string key = absl::StrCat(reference.Normal(), "\n", CredentialsKey(request.credentials));
  auto job = [this, reference, credentials = request.credentials](PullMonitor& monitor) {
    return PullImage(parts_, reference, credentials, monitor);
  };
  ASSIGN_OR_RETURN(ImageRow row, flights_.Run(key, request, std::move(job)));
  return ToImage(row);
}

absl::StatusOr<PushResult> DiskStore::Push(const PushRequest& request) {
  LayerLeases::Lease lease;
  ASSIGN_OR_RETURN(ImageRow row, FindAndHold(request.image, lease));
  ASSIGN_OR_RETURN(Reference destination, PushDestination(request, row));
  absl::StatusOr<PushResult> result =
      PushImage({.store = &parts_, .known = known_blobs_.get()}, row, destination, request);
  RETURN_IF_ERROR(result, destination.Normal());
  return result;
}

// An image that is named by a tag gets that tag in the archive; by an id or a digest, none.
absl::Status DiskStore::Save(const SaveRequest& request) {
  if (request.images.empty()) return absl::InvalidArgumentError("no image to save is named");
  std::vector<LayerLeases::Lease> leases(request.images.size());
  std::vector<SavedImage> images;
  for (size_t i = 0; i < request.images.size(); ++i) {
    ASSIGN_OR_RETURN(ImageRow row, FindAndHold(request.images[i], leases[i]));
    auto image = std::find_if(images.begin(), images.end(), [&](const SavedImage& o) { return o.row.id == row.id; });
    if (image == images.end()) image = images.insert(images.end(), {.row = row});
    auto name = NormalizeReference(request.images[i]);
    if (name.ok() && absl::c_linear_search(row.tags, *name) && !absl::c_linear_search(image->names, *name)) {
      image->names.push_back(*std::move(name));
    }
  }
  return WriteImages(parts_, images, request.format, request.output);
}

absl::StatusOr<std::vector<Image>> DiskStore::Load(const LoadRequest& request) {
  auto rows = LoadImages(parts_, absl::StrCat(options_.root, "/staging"), request);
  if (absl::IsUnimplemented(rows.status())) return absl::InvalidArgumentError(rows.status().message());
  RETURN_IF_ERROR(rows);
  std::vector<Image> images;
  for (const ImageRow& row : *rows) {
    ASSIGN_OR_RETURN(Image image, ToImage(row));
    images.push_back(std::move(image));
  }
  return images;
}

absl::StatusOr<ImageRow> DiskStore::FindAndHold(absl::string_view reference_or_id, LayerLeases::Lease& lease) {
  ASSIGN_OR_RETURN(ImageRow row, FindRow(reference_or_id));
  std::vector<std::string> held = row.layers;
  held.push_back(row.manifest_digest);
  held.push_back(row.id.str());
  lease = leases_.Hold(std::move(held));
  // Removed between the look-up and the hold, they may be gone.
  RETURN_IF_ERROR(catalog_->LayersOf(row.id));
  return row;
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

std::vector<Image> DiskStore::List() {
  std::vector<Image> out;
  auto rows = catalog_->ListImages();
  if (!rows.ok()) return out;
  for (const ImageRow& row : *rows) {
    if (auto image = ToImage(row); image.ok()) out.push_back(*std::move(image));
  }
  return out;
}

absl::Status DiskStore::Remove(absl::string_view reference_or_id) {
  absl::StatusOr<ImageRow> row = FindRow(reference_or_id);
  if (absl::IsNotFound(row.status())) return absl::OkStatus();
  RETURN_IF_ERROR(row);
  RETURN_IF_ERROR(catalog_->RemoveImage(row->id));
  return Collect();
}

DiskUsage DiskStore::Usage() {
  DiskUsage usage{.mountpoint = options_.root};
  for (const std::string& layer : layers_->List()) {
    if (auto info = layers_->Info(layer); info.ok()) {
      usage.bytes += info->bytes;
      usage.inodes += info->inodes;
    }
  }
  auto content = sys::Open(absl::StrCat(options_.root, "/content"), O_RDONLY | O_DIRECTORY);
  if (!content.ok()) return usage;
  if (auto tree = MeasureTree(content->get()); tree.ok()) {
    usage.bytes += tree->bytes;
    usage.inodes += tree->inodes;
  }
  return usage;
}

DiskUsage DiskStore::SnapshotsUsage() {
  DiskUsage sum{.mountpoint = options_.root};
  for (const ContainerId& id : Snapshots()) {
    if (auto usage = snapshots_->Usage(id); usage.ok()) {
      sum.bytes += usage->bytes;
      sum.inodes += usage->inodes;
    }
  }
  return sum;
}

absl::Status DiskStore::CreateSnapshot(const ContainerId& id, const ImageId& image, absl::Span<const ImageId> volumes) {
  SnapshotRecord record{.id = id};
  ASSIGN_OR_RETURN(record.layers, catalog_->LayersOf(image));
  for (const ImageId& volume : volumes) {
    ASSIGN_OR_RETURN(record.volumes[volume.str()], catalog_->LayersOf(volume));
  }
  LayerLeases::Lease lease = leases_.Hold(record.AllLayers());
  // Removed between the look-up and the hold, their layers may be gone.
  RETURN_IF_ERROR(catalog_->LayersOf(image));
  for (const ImageId& volume : volumes) RETURN_IF_ERROR(catalog_->LayersOf(volume));
  return snapshots_->Create(record);
}

absl::Status DiskStore::RemoveSnapshot(const ContainerId& id) {
  const std::vector<std::string> layers = snapshots_->LayersOf(id);
  RETURN_IF_ERROR(snapshots_->Remove(id));
  // Nearly always another snapshot or an image has them still.
  ASSIGN_OR_RETURN(std::set<std::string> used, catalog_->LayersInUse());
  used.merge(snapshots_->LayersInUse());
  const bool all_used =
      std::all_of(layers.begin(), layers.end(), [&](const std::string& layer) { return used.count(layer) > 0; });
  return all_used ? absl::OkStatus() : Collect();
}

absl::StatusOr<DiskUsage> DiskStore::SnapshotUsage(const ContainerId& id) {
  ASSIGN_OR_RETURN(TreeUsage usage, snapshots_->Usage(id));
  return DiskUsage{.mountpoint = options_.root, .bytes = usage.bytes, .inodes = usage.inodes};
}

std::vector<ContainerId> DiskStore::Snapshots() {
  std::vector<ContainerId> out;
  auto records = snapshots_->List();
  if (!records.ok()) return out;
  for (SnapshotRecord& record : *records) out.push_back(std::move(record.id));
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(Options options) {
  for (std::string& reference : options.pinned) {
    ASSIGN_OR_RETURN(reference, NormalizeReference(reference), "pinned image");
  }
  return DiskStore::Make(std::move(options));
}

}  // namespace berth::image
