// The store on disk, put together from the parts below image/. Its calls stand in store.cc, pushes and archives in
// store_transfer.cc, bookkeeping in store_usage.cc, what it does to itself at start in store_recover.cc.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "image/catalog/catalog.h"
#include "image/content/content_store.h"
#include "image/pull/layer_leases.h"
#include "image/pull/pull_flights.h"
#include "image/pull/puller.h"
#include "image/push/known_blobs.h"
#include "image/registry/token_source.h"
#include "image/snapshot/snapshot_meter.h"
#include "image/snapshot/snapshots.h"
#include "image/store.h"
#include "image/unpack/layer_store.h"

namespace berth::image {

// What the catalogue has of an image, as the daemon sees it. InvalidArgument: its config is malformed.
absl::StatusOr<Image> ToImage(const ImageRow& row);

class DiskStore final : public Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Make(Options options);

  absl::StatusOr<Image> Pull(const PullRequest& request) override;
  absl::StatusOr<PushResult> Push(const PushRequest& request) override;
  absl::Status Save(const SaveRequest& request) override;
  absl::StatusOr<std::vector<Image>> Load(const LoadRequest& request) override;
  absl::StatusOr<Image> Find(absl::string_view reference_or_id) override;
  absl::StatusOr<std::vector<Image>> List() override;
  absl::Status Remove(absl::string_view reference_or_id) override;
  absl::StatusOr<std::string> Tag(absl::string_view reference_or_id, absl::string_view name) override;
  absl::StatusOr<PruneResult> Prune(const PruneOptions& options) override;

  DiskUsage Usage() override;
  DiskUsage SnapshotsUsage() override;
  absl::StatusOr<UsageReport> Report() override;

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
  explicit DiskStore(Options options) : options_(std::move(options)), slots_(options_.max_transfers) {}

  absl::Status OpenParts();
  // Drops what is damaged, and says so.
  absl::Status Recover();
  absl::Status DropBrokenImages();
  absl::Status RecoverImage(const ImageRow& row);
  absl::Status RecoverDocuments();
  void Healed(absl::string_view what) const;
  // Pins are what the configuration says, whatever tags came and went.
  absl::Status RefreshPins();
  bool IsPinned(const ImageRow& row) const;

  // Removes layers and documents that no image, snapshot or running call needs. Of several errors the first; what it
  // did not come to is owed.
  absl::Status Collect();
  absl::Status CollectAllBut(const std::multiset<std::string>& leased);
  absl::StatusOr<ImageRow> FindRow(absl::string_view reference_or_id);
  // Its layers and documents stay as long as `lease`, also when it is removed meanwhile.
  absl::StatusOr<ImageRow> FindAndHold(absl::string_view reference_or_id, LayerLeases::Lease& lease);
  // What Prune would do, given what is on lease.
  absl::StatusOr<PruneResult> PlanPrune(const PruneOptions& options, const std::multiset<std::string>& leased);
  void SumUp(const std::vector<ImageRow>& rows, UsageReport& report);

  const Options options_;
  std::unique_ptr<ContentStore> content_;
  std::unique_ptr<LayerStore> layers_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<image::Snapshots> snapshots_;
  // By diffIDs of layers and digests of documents; an image is on lease by its id, which is that of its config.
  LayerLeases leases_;
  TokenSource tokens_;
  HostHealth health_;
  LayerFlights layer_flights_;
  TransferSlots slots_;
  PullFlights flights_;
  PullParts parts_;
  std::unique_ptr<KnownBlobs> known_blobs_;
  std::atomic<bool> collect_owed_ = false;  // an image or snapshot went, and what only it needed may be there still
  std::unique_ptr<SnapshotMeter> meter_;    // last: its thread uses the others
};

}  // namespace berth::image
