// Fix-up layers: directories alone, stacked above the layers of an image to give back attributes that the layers, each
// unpacked on its own, lost. ROOT/fixups/<hex of the chain's digest>/{fs,meta.json}; without fs when the chain needs
// none. They are cheap to make, so they are not synced and are made anew after a reboot.
// Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "image/snapshot/layer_stack.h"
#include "image/unpack/layer_store.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

class Fixups {
 public:
  // Makes the directory when missing; removes what an interrupted call left.
  static absl::StatusOr<Fixups> Open(absl::string_view path, absl::string_view boot_id);

  // The root of the chain's fix-up layer, O_PATH; invalid when it needs none. `stack` is of `layers`.
  absl::StatusOr<sys::UniqueFd> Get(absl::Span<const std::string> layers, const LayerStack& stack) const;

  // Removes those that use a layer which `store` does not have.
  absl::Status Prune(const LayerStore& store) const;

 private:
  Fixups(sys::UniqueFd dir, absl::string_view boot_id)
      : dir_(std::move(dir)), boot_id_(boot_id), building_(std::make_unique<absl::Mutex>()) {}
  absl::Status Make(const std::string& name, absl::Span<const std::string> layers, const LayerStack& stack) const;
  absl::Status Build(int target, const std::vector<std::string>& paths, const LayerStack& stack) const;
  absl::StatusOr<bool> IsCurrent(const std::string& name) const;

  sys::UniqueFd dir_;
  std::string boot_id_;
  std::unique_ptr<absl::Mutex> building_;  // held by whoever adds or removes one
};

}  // namespace berth::image
