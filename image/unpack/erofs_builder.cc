#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "image/erofs/erofs_writer.h"
#include "image/erofs/layer_tree.h"
#include "image/unpack/disk_space.h"
#include "image/unpack/layer_builder.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

// So much is written before the disk is told to begin with it.
constexpr uint64_t kWriteback = 8 << 20;

class ErofsBuilder : public LayerBuilder {
 public:
  ErofsBuilder(sys::UniqueFd file, const UnpackLimits& limits) : file_(std::move(file)), space_(file_.get(), limits) {}

  TarVisitor& Visitor() override { return tree_; }
  absl::Status Archive(absl::string_view bytes) override;
  absl::Status Finish(LayerInfo& info) override;
  bool Synced() const override { return synced_; }

 private:
  sys::UniqueFd file_;
  DiskSpace space_;
  LayerTree tree_;
  uint64_t size_ = 0;     // of the archive so far
  uint64_t written_ = 0;  // the part of it that the disk was told of
  bool synced_ = false;
};

absl::Status ErofsBuilder::Archive(absl::string_view bytes) {
  RETURN_IF_ERROR(space_.Claim(bytes.size()));
  while (!bytes.empty()) {
    ssize_t n = pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(kArchiveAt + size_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "write of a layer");
    bytes.remove_prefix(static_cast<size_t>(n));
    size_ += static_cast<uint64_t>(n);
  }
  if (size_ - written_ >= kWriteback) {
    sync_file_range(file_.get(), static_cast<off_t>(kArchiveAt + written_), static_cast<off_t>(size_ - written_),
                    SYNC_FILE_RANGE_WRITE);  // a hint
    written_ = size_;
  }
  return absl::OkStatus();
}

absl::Status ErofsBuilder::Finish(LayerInfo& info) {
  ASSIGN_OR_RETURN(ErofsIndex index, WriteErofsIndex(file_.get(), size_, tree_.root(),
                                                     [this](uint64_t bytes) { return space_.Claim(bytes); }));
  // In this thread, while other layers are still being received.
  if (fdatasync(file_.get()) != 0) return ErrnoError(errno, "sync of a layer");
  synced_ = true;
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(file_.get(), kLayerFile));
  info.format = LayerFormat::kErofs;
  info.bytes = static_cast<uint64_t>(st.st_blocks) * 512;
  info.inodes = 1;
  info.implied_parents = tree_.ImpliedParents();
  info.archive_size = size_;
  info.index = {index.at, index.size, std::move(index.digest)};
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LayerBuilder>> NewErofsBuilder(int dir, const UnpackLimits& limits) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenAt(dir, kLayerFile, O_RDWR | O_CREAT | O_EXCL, 0600));
  return std::make_unique<ErofsBuilder>(std::move(file), limits);
}

}  // namespace berth::image
