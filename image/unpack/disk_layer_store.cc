// Layers in ROOT/layers/<hex of diffID>. They are built in ROOT/staging and removed in ROOT/trash, so that what is in
// ROOT/layers is always whole.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/content/digest.h"
#include "image/content/read_range.h"
#include "image/erofs/erofs_mount.h"
#include "image/erofs/erofs_writer.h"
#include "image/unpack/layer_builder.h"
#include "image/unpack/layer_receiver.h"
#include "image/unpack/layer_record.h"
#include "image/unpack/layer_store.h"
#include "image/unpack/trash.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kMaxRecord = 64 << 20;  // implied parents are as many as the archive names

absl::Status NoLayer(absl::string_view diff_id) { return absl::NotFoundError(absl::StrCat("no layer ", diff_id)); }

// A descriptor of the same open file: what is mounted by it stays so until the last one is closed.
absl::StatusOr<sys::UniqueFd> Duplicate(int fd) {
  sys::UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) return ErrnoError(errno, "dup");
  return copy;
}

class DiskLayerStore : public LayerStore {
 public:
  absl::Status Init(absl::string_view root, const LayerStoreOptions& options);

  absl::StatusOr<std::unique_ptr<LayerSink>> NewSink(const LayerBlob& blob, const UnpackLimits& limits) override {
    return LayerReceiver::Create(staging_.get(), blob, limits, receive_);
  }
  absl::Status Commit(std::vector<std::unique_ptr<LayerSink>> sinks) override;
  bool Has(absl::string_view diff_id) const override;
  absl::StatusOr<LayerInfo> Info(absl::string_view diff_id) const override;
  absl::StatusOr<sys::UniqueFd> OpenLayer(absl::string_view diff_id) const override;
  absl::Status ReadArchive(absl::string_view diff_id,
                           absl::FunctionRef<absl::Status(absl::string_view)> output) const override;
  absl::StatusOr<KeptBlob> OpenBlob(absl::string_view diff_id) const override;
  absl::Status Remove(absl::string_view diff_id) override;
  std::vector<std::string> List() const override;
  Usage Total() const override;
  std::vector<std::string> Problems() const override;
  LayerFormat Format() const override { return receive_.format; }
  std::string FormatReason() const override { return format_reason_; }

 private:
  struct Layer {
    LayerInfo info;
    sys::UniqueFd mount;  // once somebody asked for it
  };

  absl::Status ChooseFormat(LayerStoreOptions::Format format);
  absl::Status Load(const std::string& hex) ABSL_LOCKS_EXCLUDED(mutex_);
  void Enter(LayerInfo info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(std::map<std::string, Layer>::iterator layer) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Publish(LayerReceiver& sink) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<sys::UniqueFd> Open(absl::string_view diff_id, absl::string_view name, int flags) const;
  absl::StatusOr<sys::UniqueFd> Mount(const LayerInfo& info) const;

  sys::UniqueFd root_, layers_, staging_;  // set once by Init
  std::unique_ptr<Trash> trash_;           // likewise
  LayerReceiver::Options receive_;         // likewise
  std::string format_reason_;              // likewise
  mutable absl::Mutex mutex_;              // also makes renames in layers_ and changes of the map one step
  mutable std::map<std::string, Layer> layers_by_id_ ABSL_GUARDED_BY(mutex_);
  mutable Usage total_ ABSL_GUARDED_BY(mutex_);  // of these
  mutable std::vector<std::string> problems_ ABSL_GUARDED_BY(mutex_);
};

absl::Status DiskLayerStore::Init(absl::string_view root, const LayerStoreOptions& options) {
  ASSIGN_OR_RETURN(root_, sys::Open(root, O_RDONLY | O_DIRECTORY));
  for (auto [name, fd] : {std::pair("layers", &layers_), std::pair("staging", &staging_)}) {
    RETURN_IF_ERROR(sys::MakeDirs(absl::StrCat(root, "/", name), 0700));
    ASSIGN_OR_RETURN(*fd, sys::OpenAt(root_.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  }
  ASSIGN_OR_RETURN(trash_, Trash::Open(absl::StrCat(root, "/trash")), "trash");
  RETURN_IF_ERROR(trash_->TakeAll(staging_.get()), "staging");
  receive_.keep_blob = options.keep_blobs;
  RETURN_IF_ERROR(ChooseFormat(options.format));
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(layers_.get()));
  for (const std::string& name : names) {
    if (absl::Status loaded = Load(name); !loaded.ok()) {
      // What the machine is short of says nothing of the layer, and without it its image would be given up.
      if (const int error = ErrnoOf(loaded); error == EMFILE || error == ENFILE || error == ENOMEM) return loaded;
      absl::MutexLock lock(&mutex_);
      problems_.push_back(absl::StrCat("layer '", name, "' is left aside: ", loaded.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status DiskLayerStore::ChooseFormat(LayerStoreOptions::Format format) {
  receive_.format = LayerFormat::kDirectory;
  if (format == LayerStoreOptions::Format::kDirectory) return absl::OkStatus();
  // FALLBACK(linux<6.15): layers are directories. Files are mounted since 6.12; but only since 6.15 can one mount of a
  // layer serve all containers, with ids mapped or not, without being attached anywhere.
  absl::Status works = TryErofs(staging_.get());
  if (works.ok()) {
    receive_.format = LayerFormat::kErofs;
  } else if (format == LayerStoreOptions::Format::kErofs) {
    return absl::FailedPreconditionError(absl::StrCat("EROFS layers do not work here: ", works.message()));
  } else {
    format_reason_ = std::string(works.message());
  }
  return absl::OkStatus();
}

absl::Status DiskLayerStore::Load(const std::string& hex) {
  ASSIGN_OR_RETURN(std::string diff_id, DigestFromHex(hex));
  ASSIGN_OR_RETURN(std::string text, sys::ReadFileAt(layers_.get(), absl::StrCat(hex, "/", kLayerRecord), kMaxRecord));
  ASSIGN_OR_RETURN(LayerInfo info, DecodeLayerRecord(text));
  if (info.diff_id != diff_id) return absl::DataLossError(absl::StrCat("its record is of ", info.diff_id));
  if (info.format == LayerFormat::kErofs) {
    ASSIGN_OR_RETURN(sys::UniqueFd file, Open(diff_id, kLayerFile, O_PATH));
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(file.get(), kLayerFile));
    if (static_cast<uint64_t>(st.st_size) != info.index.at + info.index.size) {
      return absl::DataLossError(absl::StrCat("its file has ", st.st_size, " bytes"));
    }
  } else {
    RETURN_IF_ERROR(Open(diff_id, kLayerRoot, O_PATH | O_DIRECTORY));
  }
  absl::MutexLock lock(&mutex_);
  Enter(std::move(info));
  return absl::OkStatus();
}

void DiskLayerStore::Enter(LayerInfo info) {
  total_.bytes += info.bytes;
  total_.inodes += info.inodes;
  std::string diff_id = info.diff_id;
  layers_by_id_.emplace(std::move(diff_id), Layer{std::move(info), {}});
}

void DiskLayerStore::Forget(std::map<std::string, Layer>::iterator layer) const {
  total_.bytes -= layer->second.info.bytes;
  total_.inodes -= layer->second.info.inodes;
  layers_by_id_.erase(layer);
}

absl::StatusOr<sys::UniqueFd> DiskLayerStore::Open(absl::string_view diff_id, absl::string_view name, int flags) const {
  return sys::OpenAt(layers_.get(), absl::StrCat(DigestHex(diff_id), "/", name), flags | O_NOFOLLOW);
}

absl::Status DiskLayerStore::Commit(std::vector<std::unique_ptr<LayerSink>> sinks) {
  std::vector<LayerReceiver*> own;
  bool synced = true;
  for (const auto& sink : sinks) {
    auto* receiver = dynamic_cast<LayerReceiver*>(sink.get());
    if (receiver == nullptr || receiver->staging() != staging_.get() || !receiver->finished()) {
      return absl::FailedPreconditionError("commit of a layer that is not finished, or not of this store");
    }
    own.push_back(receiver);
    synced = synced && receiver->synced();
  }
  if (own.empty()) return absl::OkStatus();
  // While the layers have no names yet: a layer that has its name is whole on disk.
  if (!synced && syncfs(root_.get()) != 0) return ErrnoError(errno, "syncfs of the layer store");
  for (LayerReceiver* sink : own) RETURN_IF_ERROR(Publish(*sink), "commit of layer ", sink->info().diff_id);
  if (fsync(layers_.get()) != 0) return ErrnoError(errno, "fsync of the layers directory");
  return absl::OkStatus();
}

absl::Status DiskLayerStore::Publish(LayerReceiver& sink) {
  const LayerInfo& info = sink.info();
  std::string hex(DigestHex(info.diff_id));
  absl::MutexLock lock(&mutex_);
  if (layers_by_id_.contains(info.diff_id)) return absl::OkStatus();
  RETURN_IF_ERROR(trash_->Take(layers_.get(), hex));  // something without a sound record may stand there
  if (renameat(staging_.get(), sink.name().c_str(), layers_.get(), hex.c_str()) != 0) {
    return ErrnoError(errno, "rename");
  }
  sink.Release();
  Enter(info);
  return absl::OkStatus();
}

bool DiskLayerStore::Has(absl::string_view diff_id) const {
  absl::MutexLock lock(&mutex_);
  return layers_by_id_.contains(std::string(diff_id));
}

absl::StatusOr<LayerInfo> DiskLayerStore::Info(absl::string_view diff_id) const {
  absl::MutexLock lock(&mutex_);
  auto it = layers_by_id_.find(std::string(diff_id));
  if (it == layers_by_id_.end()) return NoLayer(diff_id);
  return it->second.info;
}

absl::StatusOr<sys::UniqueFd> DiskLayerStore::OpenLayer(absl::string_view diff_id) const {
  ASSIGN_OR_RETURN(LayerInfo info, Info(diff_id));
  if (info.format == LayerFormat::kDirectory) return Open(diff_id, kLayerRoot, O_PATH | O_DIRECTORY);
  {
    absl::MutexLock lock(&mutex_);
    auto it = layers_by_id_.find(info.diff_id);
    if (it != layers_by_id_.end() && it->second.mount) return Duplicate(it->second.mount.get());
  }
  absl::StatusOr<sys::UniqueFd> mount = Mount(info);
  absl::MutexLock lock(&mutex_);
  auto it = layers_by_id_.find(info.diff_id);
  if (it == layers_by_id_.end()) return NoLayer(diff_id);
  if (absl::IsDataLoss(mount.status())) {
    problems_.push_back(absl::StrCat("layer ", diff_id, " is damaged: ", mount.status().message()));
    Forget(it);
  }
  RETURN_IF_ERROR(mount, "layer ", diff_id);
  // All who use the layer share one mount, and with it one copy of its files in memory.
  if (!it->second.mount) it->second.mount = *std::move(mount);
  return Duplicate(it->second.mount.get());
}

// The kernel parses the index: it sees none but the one that was written.
absl::StatusOr<sys::UniqueFd> DiskLayerStore::Mount(const LayerInfo& info) const {
  ASSIGN_OR_RETURN(sys::UniqueFd file, Open(info.diff_id, kLayerFile, O_RDONLY));
  ASSIGN_OR_RETURN(std::string digest, ErofsIndexDigest(file.get(), info.index.at, info.index.size));
  if (digest != info.index.digest) return absl::DataLossError("its index is not as it was written");
  return MountErofs(file.get());
}

absl::Status DiskLayerStore::ReadArchive(absl::string_view diff_id,
                                         absl::FunctionRef<absl::Status(absl::string_view)> output) const {
  ASSIGN_OR_RETURN(LayerInfo info, Info(diff_id));
  if (info.format == LayerFormat::kDirectory) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", diff_id, " is kept as a directory, without its archive"));
  }
  ASSIGN_OR_RETURN(sys::UniqueFd file, Open(diff_id, kLayerFile, O_RDONLY));
  Hasher hasher(diff_id);
  RETURN_IF_ERROR(ReadRange(file.get(), kArchiveAt, info.archive_size, absl::StrCat("layer ", diff_id),
                            [&](absl::string_view bytes) {
                              hasher.Update(bytes);
                              return output(bytes);
                            }));
  if (std::string real = hasher.Finish(); real != diff_id) {
    return absl::DataLossError(absl::StrCat("layer ", diff_id, " has become ", real));
  }
  return absl::OkStatus();
}

absl::StatusOr<KeptBlob> DiskLayerStore::OpenBlob(absl::string_view diff_id) const {
  ASSIGN_OR_RETURN(LayerInfo info, Info(diff_id));
  if (info.blob_digest.empty())
    return absl::NotFoundError(absl::StrCat("the blob of layer ", diff_id, " was not kept"));
  ASSIGN_OR_RETURN(sys::UniqueFd file, Open(diff_id, kLayerBlob, O_RDONLY));
  return KeptBlob{info.blob_digest, info.blob_size, std::move(file)};
}

absl::Status DiskLayerStore::Remove(absl::string_view diff_id) {
  absl::MutexLock lock(&mutex_);
  auto it = layers_by_id_.find(std::string(diff_id));
  if (it == layers_by_id_.end()) return absl::OkStatus();
  RETURN_IF_ERROR(trash_->Take(layers_.get(), std::string(DigestHex(diff_id))));
  Forget(it);
  return absl::OkStatus();
}

LayerStore::Usage DiskLayerStore::Total() const {
  absl::MutexLock lock(&mutex_);
  return total_;
}

std::vector<std::string> DiskLayerStore::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> ids;
  for (const auto& [diff_id, layer] : layers_by_id_) ids.push_back(diff_id);
  return ids;
}

std::vector<std::string> DiskLayerStore::Problems() const {
  absl::MutexLock lock(&mutex_);
  return problems_;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LayerStore>> LayerStore::Open(absl::string_view root, const LayerStoreOptions& options) {
  RETURN_IF_ERROR(sys::MakeDirs(root, 0700));
  auto store = std::make_unique<DiskLayerStore>();
  RETURN_IF_ERROR(store->Init(root, options), "layer store '", root, "'");
  return store;
}

}  // namespace berth::image
