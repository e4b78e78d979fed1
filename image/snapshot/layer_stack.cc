#include "image/snapshot/layer_stack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

bool IsOpaque(int dir) {
  char value = 0;
  std::string path = absl::StrCat("/proc/self/fd/", dir);  // O_PATH descriptors have no fgetxattr
  return getxattr(path.c_str(), "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

// What one layer has to say about a path.
struct Probe {
  enum Kind { kAbsent, kDirectory, kOther } kind = kAbsent;
  bool nothing_below = false;  // a directory above it hides what lower layers have there
  sys::UniqueFd fd;
};

absl::StatusOr<Probe> ProbeLayer(int root, absl::string_view path) {
  Probe probe;
  ASSIGN_OR_RETURN(probe.fd, sys::OpenAt(root, ".", O_PATH | O_DIRECTORY));
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    probe.nothing_below = probe.nothing_below || IsOpaque(probe.fd.get());
    auto next = sys::OpenAt(probe.fd.get(), part, O_PATH | O_NOFOLLOW);
    if (ErrnoOf(next.status()) == ENOENT) return probe;
    RETURN_IF_ERROR(next);
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(next->get(), part));
    if (!S_ISDIR(st.st_mode)) {
      probe.kind = Probe::kOther;
      return probe;
    }
    probe.fd = *std::move(next);
  }
  probe.kind = Probe::kDirectory;
  return probe;
}

}  // namespace

std::vector<std::string> WithoutRepeats(absl::Span<const std::string> layers) {
  std::vector<std::string> kept;
  std::set<std::string> seen;
  for (auto it = layers.rbegin(); it != layers.rend(); ++it) {
    if (seen.insert(*it).second) kept.push_back(*it);
  }
  std::reverse(kept.begin(), kept.end());
  return kept;
}

absl::StatusOr<LayerStack> LayerStack::Open(const LayerStore& store, absl::Span<const std::string> layers) {
  LayerStack stack;
  for (auto it = layers.rbegin(); it != layers.rend(); ++it) {
    ASSIGN_OR_RETURN(LayerInfo info, store.Info(*it));
    ASSIGN_OR_RETURN(sys::UniqueFd root, store.OpenLayer(*it));
    bool lowest = IsOpaque(root.get());
    stack.layers_.push_back(
        {std::move(root), std::set<std::string>(info.implied_parents.begin(), info.implied_parents.end())});
    if (lowest) break;
  }
  return stack;
}

std::vector<int> LayerStack::Roots() const {
  std::vector<int> roots;
  for (const Layer& layer : layers_) roots.push_back(layer.root.get());
  return roots;
}

absl::StatusOr<std::optional<LayerStack::Visible>> LayerStack::Look(absl::string_view path) const {
  std::optional<Visible> visible;
  std::string key(path);
  for (size_t i = 0; i < layers_.size(); ++i) {
    ASSIGN_OR_RETURN(Probe probe, ProbeLayer(layers_[i].root.get(), path));
    if (probe.kind == Probe::kOther) break;
    if (probe.kind == Probe::kDirectory) {
      bool described = !layers_[i].implied.contains(key);
      if (!visible) {
        visible = Visible{i, i, std::move(probe.fd)};
      } else if (described) {
        visible->describing = i;
        visible->fd = std::move(probe.fd);
      }
      // The directory's own opaque mark does not end the search: emptying a directory keeps its attributes.
      if (described) break;
    }
    if (probe.nothing_below) break;
  }
  return visible;
}

absl::StatusOr<std::vector<std::string>> LayerStack::Misattributed() const {
  std::set<std::string> paths;
  for (size_t i = 0; i + 1 < layers_.size(); ++i) paths.insert(layers_[i].implied.begin(), layers_[i].implied.end());
  paths.erase("");
  std::vector<std::string> wrong;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(std::optional<Visible> visible, Look(path));
    if (visible && visible->top != visible->describing) wrong.push_back(path);
  }
  return wrong;
}

absl::StatusOr<sys::UniqueFd> LayerStack::Describing(absl::string_view path) const {
  ASSIGN_OR_RETURN(std::optional<Visible> visible, Look(path));
  if (!visible) return absl::NotFoundError(absl::StrCat("no directory '", path, "' in the layers"));
  return std::move(visible->fd);
}

}  // namespace berth::image
