// The writable layers of containers: ROOT/snapshots/<id>/{upper,work,meta.json}, mounted with overlayfs over layers
// of a LayerStore. Overlays are mounted `volatile`: nothing of a writable layer is ever synced, since no container
// outlives its boot.
// Thread-safe, as long as one id is used by one thread at a time.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "image/snapshot/fixups.h"
#include "image/snapshot/overlay_options.h"
#include "image/unpack/layer_store.h"
#include "image/unpack/tree_usage.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

struct SnapshotRecord {
  ContainerId id;
  std::vector<std::string> layers;  // diffIDs, bottom first
};

class Snapshots {
 public:
  // `layers` must outlive the object. Makes ROOT/snapshots and ROOT/fixups when missing, removes what an interrupted
  // call left.
  static absl::StatusOr<std::unique_ptr<Snapshots>> Open(absl::string_view root, const LayerStore* layers);

  // `layers` are diffIDs, bottom first, all in the store (NotFound otherwise) and at least one. AlreadyExists. Builds
  // the chain's fix-up layer when it needs one that does not exist yet.
  absl::Status Create(const ContainerId& id, absl::Span<const std::string> layers);

  // A detached overlay mount, read-write; `label` is the SELinux context of all files in it, empty = none. NotFound. A
  // further call is allowed once the mount of an earlier one is gone (it is not checked), and only in the boot that
  // made the snapshot: after another, FailedPrecondition, since unsynced files may be torn.
  absl::StatusOr<sys::UniqueFd> Mount(const ContainerId& id, const std::string& label = "") const;

  // OK when there is none. The mount must be gone.
  absl::Status Remove(const ContainerId& id);

  // Of the writable layer alone: a walk. NotFound.
  absl::StatusOr<TreeUsage> Usage(const ContainerId& id) const;

  // What is on disk. A snapshot whose record is damaged is listed without layers.
  absl::StatusOr<std::vector<SnapshotRecord>> List() const;

  // Removes the fix-up layers of chains that have lost a layer. Call it after removing layers.
  absl::Status PruneFixups();

 private:
  struct Record {
    std::string boot_id;
    std::vector<std::string> layers;
  };
  Snapshots(sys::UniqueFd dir, Fixups fixups, std::string boot_id, const LayerStore* layers)
      : dir_(std::move(dir)), fixups_(std::move(fixups)), boot_id_(std::move(boot_id)), layers_(layers) {}
  absl::Status Fill(int dir, absl::Span<const std::string> layers) const;
  absl::StatusOr<Record> ReadRecord(const ContainerId& id) const;

  const sys::UniqueFd dir_;
  const Fixups fixups_;
  const std::string boot_id_;
  const LayerStore* const layers_;
  mutable std::atomic<LowerStyle> style_ = LowerStyle::kDescriptors;  // what this kernel is known to take
};

}  // namespace berth::image
