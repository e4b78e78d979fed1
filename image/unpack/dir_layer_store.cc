// Layers as directory trees: ROOT/layers/<hex of diffID>/{fs,meta.json}. Unpacking happens in ROOT/staging, removal in
// ROOT/trash, so that what is in ROOT/layers is always whole.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/content/digest.h"
#include "image/unpack/dir_layer_sink.h"
#include "image/unpack/layer_record.h"
#include "image/unpack/layer_store.h"
#include "image/unpack/trash.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kMaxRecord = 64 << 20;  // implied parents are as many as the archive names

class DirLayerStore : public LayerStore {
 public:
  absl::Status Init(absl::string_view root);

  absl::StatusOr<std::unique_ptr<LayerSink>> NewSink(const LayerBlob& blob, const UnpackLimits& limits) override {
    return DirLayerSink::Create(staging_.get(), blob, limits);
  }
  absl::Status Commit(std::vector<std::unique_ptr<LayerSink>> sinks) override;
  bool Has(absl::string_view diff_id) const override;
  absl::StatusOr<LayerInfo> Info(absl::string_view diff_id) const override;
  absl::StatusOr<sys::UniqueFd> OpenLayer(absl::string_view diff_id) const override;
  absl::Status ReadArchive(absl::string_view diff_id,
                           absl::FunctionRef<absl::Status(absl::string_view)> output) const override;
  absl::Status Remove(absl::string_view diff_id) override;
  std::vector<std::string> List() const override;
  Usage Total() const override;
  std::vector<std::string> Problems() const override { return problems_; }

 private:
  absl::Status Load(const std::string& hex) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Publish(DirLayerSink& sink) ABSL_LOCKS_EXCLUDED(mutex_);

  sys::UniqueFd root_, layers_, staging_;  // set once by Init
  std::unique_ptr<Trash> trash_;           // likewise
  std::vector<std::string> problems_;      // likewise
  void Enter(LayerInfo info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;  // also makes renames in layers_ and changes of the map one step
  std::map<std::string, LayerInfo> index_ ABSL_GUARDED_BY(mutex_);  // by diffID
  Usage total_ ABSL_GUARDED_BY(mutex_);                             // of what is in the index
};

absl::Status DirLayerStore::Init(absl::string_view root) {
  ASSIGN_OR_RETURN(root_, sys::Open(root, O_RDONLY | O_DIRECTORY));
  for (auto [name, fd] : {std::pair("layers", &layers_), std::pair("staging", &staging_)}) {
    RETURN_IF_ERROR(sys::MakeDirs(absl::StrCat(root, "/", name), 0700));
    ASSIGN_OR_RETURN(*fd, sys::OpenAt(root_.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  }
  ASSIGN_OR_RETURN(trash_, Trash::Open(absl::StrCat(root, "/trash")), "trash");
  RETURN_IF_ERROR(trash_->TakeAll(staging_.get()), "staging");
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(layers_.get()));
  for (const std::string& name : names) {
    if (absl::Status loaded = Load(name); !loaded.ok()) {
      problems_.push_back(absl::StrCat("layer '", name, "' is left aside: ", loaded.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status DirLayerStore::Load(const std::string& hex) {
  ASSIGN_OR_RETURN(std::string diff_id, DigestFromHex(hex));
  ASSIGN_OR_RETURN(std::string text, sys::ReadFileAt(layers_.get(), absl::StrCat(hex, "/", kLayerRecord), kMaxRecord));
  ASSIGN_OR_RETURN(LayerInfo info, DecodeLayerRecord(text));
  if (info.diff_id != diff_id) return absl::DataLossError(absl::StrCat("its record is of ", info.diff_id));
  ASSIGN_OR_RETURN(sys::UniqueFd fs,
                   sys::OpenAt(layers_.get(), absl::StrCat(hex, "/", kLayerRoot), O_PATH | O_DIRECTORY | O_NOFOLLOW));
  absl::MutexLock lock(&mutex_);
  Enter(std::move(info));
  return absl::OkStatus();
}

void DirLayerStore::Enter(LayerInfo info) {
  total_.bytes += info.bytes;
  total_.inodes += info.inodes;
  std::string diff_id = info.diff_id;
  index_.emplace(std::move(diff_id), std::move(info));
}

absl::Status DirLayerStore::Commit(std::vector<std::unique_ptr<LayerSink>> sinks) {
  std::vector<DirLayerSink*> own;
  for (const auto& sink : sinks) {
    auto* dir_sink = dynamic_cast<DirLayerSink*>(sink.get());
    if (dir_sink == nullptr || dir_sink->staging() != staging_.get() || !dir_sink->finished()) {
      return absl::FailedPreconditionError("commit of a layer that is not finished, or not of this store");
    }
    own.push_back(dir_sink);
  }
  if (own.empty()) return absl::OkStatus();
  // One sync for all, while the layers have no names yet: a layer that has its name is whole on disk.
  if (syncfs(root_.get()) != 0) return ErrnoError(errno, "syncfs of the layer store");
  for (DirLayerSink* sink : own) RETURN_IF_ERROR(Publish(*sink), "commit of layer ", sink->result().diff_id);
  if (fsync(layers_.get()) != 0) return ErrnoError(errno, "fsync of the layers directory");
  return absl::OkStatus();
}

absl::Status DirLayerStore::Publish(DirLayerSink& sink) {
  const LayerResult& result = sink.result();
  std::string hex(DigestHex(result.diff_id));
  absl::MutexLock lock(&mutex_);
  if (index_.contains(result.diff_id)) return absl::OkStatus();
  RETURN_IF_ERROR(trash_->Take(layers_.get(), hex));  // something without a sound record may stand there
  if (renameat(staging_.get(), sink.name().c_str(), layers_.get(), hex.c_str()) != 0) {
    return ErrnoError(errno, "rename");
  }
  sink.Release();
  Enter({result.diff_id, result.unpacked_bytes, result.inodes, result.implied_parents});
  return absl::OkStatus();
}

bool DirLayerStore::Has(absl::string_view diff_id) const {
  absl::MutexLock lock(&mutex_);
  return index_.contains(std::string(diff_id));
}

absl::StatusOr<LayerInfo> DirLayerStore::Info(absl::string_view diff_id) const {
  absl::MutexLock lock(&mutex_);
  auto it = index_.find(std::string(diff_id));
  if (it == index_.end()) return absl::NotFoundError(absl::StrCat("no layer ", diff_id));
  return it->second;
}

absl::StatusOr<sys::UniqueFd> DirLayerStore::OpenLayer(absl::string_view diff_id) const {
  if (!Has(diff_id)) return absl::NotFoundError(absl::StrCat("no layer ", diff_id));
  return sys::OpenAt(layers_.get(), absl::StrCat(DigestHex(diff_id), "/", kLayerRoot),
                     O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

absl::Status DirLayerStore::ReadArchive(absl::string_view diff_id,
                                        absl::FunctionRef<absl::Status(absl::string_view)>) const {
  if (!Has(diff_id)) return absl::NotFoundError(absl::StrCat("no layer ", diff_id));
  return absl::FailedPreconditionError(absl::StrCat("layer ", diff_id, " is kept as a directory, without its archive"));
}

absl::Status DirLayerStore::Remove(absl::string_view diff_id) {
  absl::MutexLock lock(&mutex_);
  auto it = index_.find(std::string(diff_id));
  if (it == index_.end()) return absl::OkStatus();
  RETURN_IF_ERROR(trash_->Take(layers_.get(), std::string(DigestHex(diff_id))));
  total_.bytes -= it->second.bytes;
  total_.inodes -= it->second.inodes;
  index_.erase(it);
  return absl::OkStatus();
}

LayerStore::Usage DirLayerStore::Total() const {
  absl::MutexLock lock(&mutex_);
  return total_;
}

std::vector<std::string> DirLayerStore::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> ids;
  for (const auto& [diff_id, info] : index_) ids.push_back(diff_id);
  return ids;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LayerStore>> LayerStore::Open(absl::string_view root) {
  RETURN_IF_ERROR(sys::MakeDirs(root, 0700));
  auto store = std::make_unique<DirLayerStore>();
  RETURN_IF_ERROR(store->Init(root), "layer store '", root, "'");
  return store;
}

}  // namespace berth::image
