// The image store: what the daemon asks of it. Everything below image/ is reached through this header.
// All functions are thread-safe and may block on disk or network.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "image/unpack/layer_options.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// The part of an image's config that a container is made from (OCI image-spec, config.md).
struct ImageConfig {
  std::string user;
  std::vector<std::string> env;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string working_dir;
  std::string stop_signal;
  std::map<std::string, std::string> labels;
  std::vector<std::string> volumes;
  std::vector<std::string> exposed_ports;
  std::string architecture;
  std::string os;
  absl::Time created;
  std::string artifact_type;  // not empty: an OCI artifact, which is files for an image volume and nothing to run
};

struct Image {
  ImageId id;                             // "sha256:…" of the config, or of an artifact's manifest
  std::vector<std::string> repo_tags;     // normalised: docker.io/library/busybox:1
  std::vector<std::string> repo_digests;  // normalised: docker.io/library/busybox@sha256:…
  uint64_t size = 0;                      // bytes on disk of its layers (shared ones counted in full), > 0
  bool pinned = false;
  std::vector<std::string> layers;  // diffIDs, bottom first
  ImageConfig config;
};

// One of CRI's AuthConfig forms; all empty = anonymous. Never logged.
struct Credentials {
  std::string username;
  std::string password;
  std::string identity_token;  // OAuth2 refresh token
  std::string registry_token;  // bearer token, sent as it is
  // The registry whose they are, as "host", "host:port" or a URL; empty: that of the image. They are used for no other.
  std::string server_address;
};

struct LayerProgress {
  std::string digest;
  uint64_t done = 0;  // compressed bytes received
  uint64_t total = 0;
  bool unpacked = false;
  bool already_there = false;
};

struct PullRequest {
  std::string reference;  // as the user wrote it
  Credentials credentials;
  // Called from worker threads, one call at a time; may be empty.
  std::function<void(const std::vector<LayerProgress>&)> progress;
  // Asked often; true ends the pull with Cancelled and nothing left behind. May be empty.
  std::function<bool()> cancelled;
};

struct BlobProgress {
  std::string digest;  // of the uncompressed layer while the blob's own is not known
  uint64_t done = 0;   // bytes that the registry has
  uint64_t total = 0;  // 0 while unknown
  bool already_there = false;
  bool finished = false;
};

struct PushRequest {
  std::string image;        // tag, digest or id
  std::string destination;  // tag; empty: `image`, which must be one
  Credentials credentials;
  std::string compression;  // "gzip" (also when empty) or "zstd", for layers that must be compressed
  // Called from the caller's thread; may be empty.
  std::function<void(const std::vector<BlobProgress>&)> progress;
  // Asked often, also from other threads; true ends the push with Cancelled. May be empty.
  std::function<bool()> cancelled;
};

struct PushResult {
  std::string digest;  // of the manifest
  std::string name;    // normalised
};

enum class ArchiveFormat { kOci, kDocker };

struct SaveRequest {
  std::vector<std::string> images;  // tags, digests, ids; at least one
  ArchiveFormat format = ArchiveFormat::kOci;
  // Takes the next bytes of the archive; an error ends it and is returned as it is.
  std::function<absl::Status(absl::string_view)> output;
};

struct LoadRequest {
  // The next bytes of the archive, valid until the next call; empty at its end. An error ends it and is returned.
  std::function<absl::StatusOr<absl::string_view>()> input;
  // True ends the load with Cancelled. May be empty.
  std::function<bool()> cancelled;
};

struct DiskUsage {
  std::string mountpoint;  // a real directory on the file system
  uint64_t bytes = 0;
  uint64_t inodes = 0;
  absl::Time at;  // when it was so
};

// A pull that ended well, for the log.
struct PullSummary {
  std::string reference;  // normalised
  ImageId id;
  absl::Duration took;
  int layers_fetched = 0, layers_there = 0;
  uint64_t bytes = 0;  // compressed, of the layers that were fetched
};

struct PruneOptions {
  bool untagged_only = false;  // spare what has a tag
  bool dry_run = false;        // only tell
};

struct PruneResult {
  std::vector<Image> images;  // that went, or would go
  uint64_t bytes = 0;         // on disk, of the layers that nothing refers to any more
};

// Where the disk went. Bytes and inodes are what is in use on disk.
struct UsageReport {
  struct Layer {
    std::string diff_id;
    uint64_t bytes = 0;
    uint64_t inodes = 0;
    std::string format;   // "erofs" or "directory"
    uint32_t images = 0;  // that have it
  };
  struct OfImage {
    Image image;
    uint64_t bytes = 0;       // of all its layers, each counted once
    uint64_t own_bytes = 0;   // of those that no other image has
    uint32_t containers = 0;  // that run it or have it as a volume
  };
  struct Snapshot {
    ContainerId id;
    uint64_t bytes = 0;
    uint64_t inodes = 0;
  };
  std::vector<Layer> layers;        // by diffID
  std::vector<OfImage> images;      // by time of pull, oldest first
  std::vector<Snapshot> snapshots;  // those that were measured
  absl::Time snapshots_measured_at;
  uint64_t content_bytes = 0;
  uint64_t reclaimable_bytes = 0;  // what Prune of all would give back
  uint64_t free_bytes = 0;         // of the file system, for unprivileged users
};

struct VolumeCopy {
  std::string path;     // from the root, free of symlinks
  sys::UniqueFd mount;  // a detached, writable bind of the copy
};

// Which images a pull accepts (image/trust). What is in the store already stays.
struct TrustOptions {
  std::string policy = "/etc/berth/policy.json";  // containers-policy.json(5), read for each pull
  bool policy_required = false;                   // false: as long as there is no such file, all images are accepted
  // Programs that judge images, by containerd's contract; a directory that is missing or empty accepts all.
  std::string verifiers_dir = "/opt/berth/image-verifier/bin";
  int most_verifiers = 10;  // in lexical order; -1: all
  absl::Duration verifier_timeout = absl::Seconds(10);
};

class Store {
 public:
  struct Options {
    std::string root;  // e.g. /var/lib/berth; made when missing, 0700
    std::vector<std::string> hosts_dirs = {"/etc/berth/certs.d", "/etc/containerd/certs.d"};
    std::vector<std::string> pinned;                      // normalised references
    int parallel_layers = 4;                              // of one image at the same time
    int max_transfers = 8;                                // layers of all pulls at the same time, 1 at least
    int range_connections = 1;                            // for each layer over 64 MiB; 1 = no ranges
    absl::Duration progress_timeout = absl::Seconds(60);  // a connection that stands still for so long is given up
    LayerStoreOptions layers;
    TrustOptions trust;
    absl::Duration usage_interval = absl::Seconds(10);  // how often writable layers are measured
    // Called once for each pull that ends well, from its thread; may be empty.
    std::function<void(const PullSummary&)> pulled;
    // Told in words what was found damaged and what became of it, by Open and later; may be empty.
    std::function<void(absl::string_view)> healed;
  };
  // Opens or makes the store; removes what an interrupted pull left, and images that are not whole any more, so that
  // they are pulled again.
  static absl::StatusOr<std::unique_ptr<Store>> Open(Options options);
  virtual ~Store() = default;

  // InvalidArgument: the reference or a document of the registry is malformed. NotFound: no such image, or none for
  // this platform. Unauthenticated / PermissionDenied: the registry refused. Unavailable (message starts with
  // "RegistryUnavailable: "): it cannot be reached or fails. DataLoss: a digest or size is not what was promised.
  // PermissionDenied with a message that starts with "SignatureValidationFailed: ": TrustOptions refuse the image.
  // After OK the image survives a power cut.
  virtual absl::StatusOr<Image> Pull(const PullRequest& request) = 0;
  // Uploads what the registry lacks of an image, then its manifest: that of the pull byte for byte when the registry
  // has or gets the blobs of the pull, else one that names the layers as they were compressed here. Only this
  // platform's image is pushed, never the index that it was pulled by. Errors as for a pull; NotFound: no such image
  // here; InvalidArgument: the destination is no tag, or the registry refuses what it got; FailedPrecondition: a
  // layer's archive was not kept, or the registry takes no pushes.
  virtual absl::StatusOr<PushResult> Push(const PushRequest& request) = 0;
  // Writes images into one tar archive, the same bytes for the same images. NotFound names the image,
  // FailedPrecondition: a layer's archive was not kept; both before any output.
  virtual absl::Status Save(const SaveRequest& request) = 0;
  // Takes the images of an OCI layout or docker-archive as tar, plain, gzip or zstd: all of them or, on an error, none.
  // InvalidArgument: not such an archive. DataLoss: a digest or size is not what was promised. NotFound: nothing in it
  // for this platform. ResourceExhausted: too much for the disk, or for sense. After OK they survive a power cut.
  virtual absl::StatusOr<std::vector<Image>> Load(const LoadRequest& request) = 0;

  // By full or unambiguous short id, tag, or digest reference. NotFound when there is none.
  virtual absl::StatusOr<Image> Find(absl::string_view reference_or_id) = 0;
  virtual absl::StatusOr<std::vector<Image>> List() = 0;
  // Removes the image that the reference names, with all its references. Layers in use by a snapshot stay until that
  // is removed. OK when there is no such image.
  virtual absl::Status Remove(absl::string_view reference_or_id) = 0;
  // Gives an image one more tag, which is taken from the image that has it; returns it normalised. Survives a power
  // cut. NotFound: no such image. InvalidArgument: `name` is malformed or has a digest.
  virtual absl::StatusOr<std::string> Tag(absl::string_view reference_or_id, absl::string_view name) = 0;
  // Removes the images that are not pinned, that no snapshot stands on or has as a volume and that no call works with,
  // each with all its references, then the layers and documents that nothing refers to any more. On an error some are
  // gone.
  virtual absl::StatusOr<PruneResult> Prune(const PruneOptions& options) = 0;

  // Usage figures are sums that are kept: these calls read no directory.
  virtual DiskUsage Usage() = 0;           // layers, manifests and configs: exact
  virtual DiskUsage SnapshotsUsage() = 0;  // writable layers, as last measured
  virtual absl::StatusOr<UsageReport> Report() = 0;

  // The writable layer of a container over the layers of `image`. The layers of the images in `volumes` (which may
  // repeat) are kept as long as it is, also when an image is removed, for MountImage. AlreadyExists / NotFound as one
  // expects. DataLoss: a layer is damaged; the images that need it are dropped, to be pulled again.
  virtual absl::Status CreateSnapshot(const ContainerId& id, const ImageId& image,
                                      absl::Span<const ImageId> volumes) = 0;
  // A detached overlay mount of it, its files labelled for SELinux unless `label` is empty. The mount lives as long as
  // descriptors or attachments of it. With a user namespace `userns` (else -1), ids in it are those that it maps;
  // FailedPrecondition when the kernel or the file system cannot.
  virtual absl::StatusOr<sys::UniqueFd> MountSnapshot(const ContainerId& id, int userns,
                                                      const std::string& label = "") = 0;
  // Whether user namespaces work here at all, by trying.
  virtual absl::Status TryMapping(int userns) = 0;
  // A detached read-only mount of the files of an image that CreateSnapshot was given among `volumes`, or of its
  // directory `sub_path`, which is resolved inside the image. NotFound: no such directory; errno ENOTDIR: it is
  // something else; ELOOP: symlinks without end. `userns` as above.
  virtual absl::StatusOr<sys::UniqueFd> MountImage(const ContainerId& id, const ImageId& image,
                                                   absl::string_view sub_path, int userns) = 0;
  // A new directory that is kept as long as the snapshot and counts as part of the writable layer: a copy, with owners,
  // modes, times and extended attributes, of what `rootfs` (of MountSnapshot) has at `path`. `path` is resolved inside
  // it and made when missing. errno ENOTDIR when it is something else than a directory.
  virtual absl::StatusOr<VolumeCopy> CopyVolume(const ContainerId& id, int rootfs, absl::string_view path) = 0;
  // OK when there is none. The mounts must be gone.
  virtual absl::Status RemoveSnapshot(const ContainerId& id) = 0;
  // Of the writable layer and the copied volumes, as last measured. Writable layers are measured in the background, and
  // only while somebody asks: a figure is at most an interval older than the call before. NotFound when there is no
  // such snapshot, or none that was measured.
  virtual absl::StatusOr<DiskUsage> SnapshotUsage(const ContainerId& id) = 0;
  virtual std::vector<ContainerId> Snapshots() = 0;
};

// A store as it lies on disk, open somewhere or not.
struct Inspection {
  std::vector<ContainerId> snapshots;
  size_t layers = 0, documents = 0;
  std::vector<std::string> damage;  // one line for each thing that is not sound
};
// Changes nothing and needs nothing of it to be sound: records are read and, with `digests`, every document and every
// layer that is kept as one file, to its end. Beside a process that has the store open, what it removes meanwhile
// counts as never seen. Errors are those of directories that cannot be read.
absl::StatusOr<Inspection> Inspect(const std::string& root, bool digests);

// "busybox" → "docker.io/library/busybox:latest". InvalidArgument names what is wrong.
absl::StatusOr<std::string> NormalizeReference(absl::string_view reference);

}  // namespace berth::image
