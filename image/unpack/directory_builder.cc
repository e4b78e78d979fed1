#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "image/unpack/layer_applier.h"
#include "image/unpack/layer_builder.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

class DirectoryBuilder : public LayerBuilder {
 public:
  DirectoryBuilder(sys::UniqueFd root, const UnpackLimits& limits)
      : root_(std::move(root)), applier_(root_.get(), limits) {}

  TarVisitor& Visitor() override { return applier_; }

  absl::Status Finish(LayerInfo& info) override {
    RETURN_IF_ERROR(applier_.Finish());
    info.format = LayerFormat::kDirectory;
    info.bytes = applier_.usage().bytes;
    info.inodes = applier_.usage().inodes;
    info.implied_parents = applier_.ImpliedParents();
    return absl::OkStatus();
  }

  bool Synced() const override { return false; }

 private:
  sys::UniqueFd root_;
  LayerApplier applier_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LayerBuilder>> NewDirectoryBuilder(int dir, const UnpackLimits& limits) {
  if (mkdirat(dir, kLayerRoot, 0755) != 0) return ErrnoError(errno, "mkdir of a layer's root");
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::OpenAt(dir, kLayerRoot, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return std::make_unique<DirectoryBuilder>(std::move(root), limits);
}

}  // namespace berth::image
