// The writable layers of containers: ROOT/snapshots/<id>/{upper,work,meta.json}, mounted with overlayfs over layers
// of a LayerStore. Beside them stands what else goes with the container: volumes/N, copies of directories of its image,
// and images/IMAGE, the empty topmost directories of images that are volumes. Overlays are mounted `volatile`: nothing
// of a writable layer is ever synced, since no container outlives its boot. For the same reason the directory is the
// only record of a snapshot. Thread-safe, as long as one id is used by one thread at a time.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "image/snapshot/fixups.h"
#include "image/snapshot/layer_stack.h"
#include "image/snapshot/overlay_mounter.h"
#include "image/store.h"
#include "image/unpack/layer_store.h"
#include "image/unpack/trash.h"
#include "image/unpack/tree_usage.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

struct SnapshotRecord {
  ContainerId id;
  std::vector<std::string> layers;  // diffIDs, bottom first
  // Images that the container has as volumes, by id, with their layers.
  std::map<std::string, std::vector<std::string>> volumes;
  ImageId image;  // that `layers` are of; empty in records that an older berth wrote

  // Every layer that has to stay as long as the snapshot does, with repeats.
  std::vector<std::string> AllLayers() const;
};

class Snapshots {
 public:
  // `layers` must outlive the object. Makes ROOT/snapshots and ROOT/fixups when missing, removes what an interrupted
  // call left.
  static absl::StatusOr<std::unique_ptr<Snapshots>> Open(absl::string_view root, const LayerStore* layers);

  // Layers are all in the store (NotFound otherwise) and at least one for each image. AlreadyExists. Builds the chains'
  // fix-up layers when they need ones that do not exist yet.
  absl::Status Create(const SnapshotRecord& record);

  // A detached overlay mount, read-write; `label` is the SELinux context of all files in it, empty = none. NotFound. A
  // further call is allowed once the mount of an earlier one is gone (it is not checked), and only in the boot that
  // made the snapshot: after another, FailedPrecondition, since unsynced files may be torn.
  // With a user namespace `userns` the container's ids are mapped as it maps them: layers are seen through mapped
  // mounts, what is written belongs to the ids outside. FailedPrecondition when the kernel or the file system cannot.
  absl::StatusOr<sys::UniqueFd> Mount(const ContainerId& id, int userns = -1, const std::string& label = "") const;

  // Whether a Mount with a user namespace can work here, by making such a mount of nothing.
  absl::Status TryMapping(int userns) const;

  // Store::MountImage and Store::CopyVolume.
  absl::StatusOr<sys::UniqueFd> MountImage(const ContainerId& id, const ImageId& image, absl::string_view sub_path,
                                           int userns = -1) const;
  absl::StatusOr<VolumeCopy> CopyVolume(const ContainerId& id, int rootfs, absl::string_view path) const;

  // OK when there is none. The mounts must be gone. What was in it is unlinked later.
  absl::Status Remove(const ContainerId& id);

  // Of the writable layer and the copied volumes: a walk. NotFound.
  absl::StatusOr<TreeUsage> Usage(const ContainerId& id) const;

  // What is on disk. A snapshot whose record is damaged is listed without layers.
  absl::StatusOr<std::vector<SnapshotRecord>> List() const;

  // The sound ones, from memory.
  std::vector<SnapshotRecord> Known() const ABSL_LOCKS_EXCLUDED(mutex_);
  // DiffIDs of the layers that the snapshots stand on. A damaged record names none.
  std::set<std::string> LayersInUse() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Those of one snapshot; none when it is not there or its record is damaged.
  std::vector<std::string> LayersOf(const ContainerId& id) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Removes the fix-up layers of chains that have lost a layer. Call it after removing layers.
  absl::Status PruneFixups();

 private:
  struct Record : SnapshotRecord {
    std::string boot_id;
  };
  // The layers of an image, opened: what is the same for all of its containers.
  struct Chain {
    LayerStack stack;
    sys::UniqueFd fixup;
    sys::UniqueFd root;  // whose attributes the root directory has

    // What an overlay is mounted over: descriptors of the lower directories, topmost first.
    std::vector<int> Lowers() const;
  };
  Snapshots(sys::UniqueFd dir, Fixups fixups, std::string boot_id, const LayerStore* layers,
            std::unique_ptr<Trash> trash)
      : dir_(std::move(dir)),
        fixups_(std::move(fixups)),
        boot_id_(std::move(boot_id)),
        layers_(layers),
        trash_(std::move(trash)) {}
  absl::Status Adopt();
  absl::Status Fill(int dir, const SnapshotRecord& record) const;
  absl::StatusOr<std::shared_ptr<const Chain>> ChainOf(absl::Span<const std::string> layers) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Record> ReadRecord(const ContainerId& id) const;
  absl::StatusOr<Record> RecordOf(const ContainerId& id) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<sys::UniqueFd> OpenSnapshot(const ContainerId& id) const;
  // `overlay.lowers` are as on disk.
  absl::StatusOr<sys::UniqueFd> MountMapped(Overlay overlay, int userns) const;

  std::string path_;  // for messages
  const sys::UniqueFd dir_;
  const Fixups fixups_;
  const std::string boot_id_;
  const LayerStore* const layers_;
  const std::unique_ptr<Trash> trash_;
  mutable absl::Mutex mutex_;
  std::map<ContainerId, Record> records_ ABSL_GUARDED_BY(mutex_);  // the sound ones
  mutable std::map<std::vector<std::string>, std::shared_ptr<const Chain>> chains_ ABSL_GUARDED_BY(mutex_);
  const OverlayMounter mounter_;
};

}  // namespace berth::image
