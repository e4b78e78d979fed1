// The layers of one image as a container sees them, stacked: which directory is the visible one, and where its
// attributes come from. Opens nothing but what is beneath the layers.
// Not thread-safe.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "image/unpack/layer_store.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// Bottom first, as `layers`. Of a layer that occurs twice only the topmost is left: applying it again below changes
// nothing, and overlayfs refuses a lower directory given twice.
std::vector<std::string> WithoutRepeats(absl::Span<const std::string> layers);

class LayerStack {
 public:
  // NotFound when a layer is not in the store. `layers` as WithoutRepeats gives them. A layer whose root is opaque is
  // the lowest one that takes part.
  static absl::StatusOr<LayerStack> Open(const LayerStore& store, absl::Span<const std::string> layers);

  // Roots of the layers that take part, topmost first: O_PATH.
  std::vector<int> Roots() const;

  // Directories whose attributes are not those that applying the layers one after the other would give: some layer uses
  // them without describing them, over one that does. Sorted, without the root.
  absl::StatusOr<std::vector<std::string>> Misattributed() const;

  // The directory, opened O_PATH in the layer that describes it; where none does, in the topmost one that has it.
  // "" is the root. NotFound when no such directory is visible.
  absl::StatusOr<sys::UniqueFd> Describing(absl::string_view path) const;

 private:
  struct Layer {
    sys::UniqueFd root;
    std::set<std::string> implied;
  };
  struct Visible {
    size_t top;         // index of the topmost layer that has it
    size_t describing;  // of the one whose attributes count
    sys::UniqueFd fd;   // in the latter
  };
  // Nothing when it is not visible as a directory.
  absl::StatusOr<std::optional<Visible>> Look(absl::string_view path) const;

  std::vector<Layer> layers_;  // topmost first
};

}  // namespace berth::image
