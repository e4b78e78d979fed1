#include "image/erofs/layer_tree.h"

#include <sys/sysmacros.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "image/erofs/node_attributes.h"
#include "runtime/base/lexical_path.h"

namespace berth::image {
namespace {

constexpr int kMaxLinks = 40;      // as the kernel's walk
constexpr size_t kMaxName = 255;   // of one file, NAME_MAX
constexpr size_t kMaxTodo = 4096;  // components that symlinks may expand to
constexpr size_t kMaxTarget = 4095;

// One directory of a walk.
struct Place {
  TreeNode* node;
  size_t path;  // bytes
};

std::pair<std::string, std::string> OpaqueMark() { return {"trusted.overlay.opaque", "y"}; }

void MakeOpaque(TreeNode& directory) {
  if (std::find(directory.xattrs.begin(), directory.xattrs.end(), OpaqueMark()) == directory.xattrs.end()) {
    directory.xattrs.push_back(OpaqueMark());
  }
}

mode_t TypeBits(TarEntry::Type type) {
  switch (type) {
    case TarEntry::Type::kFile:
      return S_IFREG;
    case TarEntry::Type::kSymlink:
      return S_IFLNK;
    case TarEntry::Type::kCharDevice:
      return S_IFCHR;
    case TarEntry::Type::kBlockDevice:
      return S_IFBLK;
    default:
      return S_IFIFO;
  }
}

void CollectImplied(const TreeNode& directory, const std::string& path, std::vector<std::string>& out) {
  for (const auto& [name, child] : directory.children) {
    if (!child->is_directory()) continue;
    std::string here = path.empty() ? name : absl::StrCat(path, "/", name);
    if (child->implied) out.push_back(here);
    CollectImplied(*child, here, out);
  }
}

}  // namespace

LayerTree::LayerTree() {
  root_ = NewDirectory({});
  root_->implied = true;
}

TreeNode* LayerTree::NewNode(mode_t mode, const struct timespec& mtime) {
  TreeNode& node = nodes_.emplace_back();
  node.mode = mode;
  node.mtime = mtime;
  return &node;
}

TreeNode* LayerTree::NewDirectory(const struct timespec& mtime) { return NewNode(S_IFDIR | 0755, mtime); }

absl::Status LayerTree::OnEntry(const TarEntry& entry) {
  file_ = nullptr;
  text_ += entry.path.size() + entry.link.size();
  for (const auto& [name, value] : entry.xattrs) text_ += name.size() + value.size();
  if (text_ > kMaxText) {
    return absl::ResourceExhaustedError(absl::StrCat("names and attributes of more than ", kMaxText >> 20, " MiB"));
  }
  if (nodes_.size() > kMaxNodes) {
    return absl::ResourceExhaustedError(absl::StrCat("more than ", kMaxNodes, " files and directories"));
  }
  return Annotate(Apply(entry), absl::StrCat("layer entry '", absl::CEscape(entry.path.substr(0, 256)), "'"));
}

absl::Status LayerTree::Apply(const TarEntry& entry) {
  std::string path = CleanInRoot(entry.path);
  if (path.empty()) return Root(entry);
  LayerName name = SplitLayerPath(path);
  Whiteout whiteout = ClassifyWhiteout(name);
  if (whiteout == Whiteout::kMalformed) return absl::InvalidArgumentError("malformed whiteout");
  if (whiteout == Whiteout::kIgnored) return absl::OkStatus();
  if (!cached_ || name.parent != cached_path_) {
    cached_ = nullptr;
    ASSIGN_OR_RETURN(cached_, Walk(name.parent, &entry.mtime));
    cached_path_ = std::string(name.parent);
  }
  TreeNode& parent = *cached_;
  if (whiteout == Whiteout::kOpaque) {
    MakeOpaque(parent);
    return absl::OkStatus();
  }
  if (whiteout == Whiteout::kHides) return Hide(parent, WhiteoutTarget(name.base));
  std::string base(name.base);
  if (base.size() > kMaxName) return absl::InvalidArgumentError("a name of more than 255 bytes");
  switch (entry.type) {
    case TarEntry::Type::kDirectory:
      return Directory(parent, base, entry);
    case TarEntry::Type::kHardLink:
      return HardLink(parent, base, entry);
    default:
      return Other(parent, base, entry);
  }
}

absl::Status LayerTree::Root(const TarEntry& entry) {
  if (entry.type != TarEntry::Type::kDirectory) {
    return absl::InvalidArgumentError("the layer's root is not a directory");
  }
  return SetNodeAttributes(entry, *root_);
}

absl::Status LayerTree::Hide(TreeNode& parent, absl::string_view target) {
  std::string name(target);
  if (name.size() > kMaxName) return absl::InvalidArgumentError("a name of more than 255 bytes");
  auto it = parent.children.find(name);
  if (it == parent.children.end()) {
    Put(parent, name, NewNode(S_IFCHR, {}));
  } else if (it->second->is_directory()) {
    it->second->implied = false;
    MakeOpaque(*it->second);
  }
  return absl::OkStatus();
}

absl::Status LayerTree::Directory(TreeNode& parent, const std::string& base, const TarEntry& entry) {
  auto it = parent.children.find(base);
  if (it != parent.children.end() && it->second->is_directory()) return SetNodeAttributes(entry, *it->second);
  const bool replaces = it != parent.children.end();
  TreeNode* node = NewDirectory(entry.mtime);
  RETURN_IF_ERROR(SetNodeAttributes(entry, *node));
  // Something else, a whiteout for one, stood here before: what lower layers have by that name is gone.
  if (replaces) MakeOpaque(*node);
  Put(parent, base, node);
  return absl::OkStatus();
}

absl::Status LayerTree::HardLink(TreeNode& parent, const std::string& base, const TarEntry& entry) {
  std::string target = CleanInRoot(entry.link);
  TreeNode* node = nullptr;
  if (!target.empty()) {
    LayerName name = SplitLayerPath(target);
    auto from = Walk(name.parent, nullptr);
    if (from.ok() && *from != nullptr) {
      auto it = (*from)->children.find(std::string(name.base));
      if (it != (*from)->children.end()) node = it->second;
    }
  }
  const absl::Status missing = absl::InvalidArgumentError(
      absl::StrCat("hard link to '", absl::CEscape(target), "', which is not a file of the same layer before it"));
  if (node == nullptr || node->is_directory() || node->is_whiteout()) return missing;
  if (auto there = parent.children.find(base); there != parent.children.end()) {
    if (there->second == node) return absl::OkStatus();
    Drop(*there->second);
    parent.children.erase(there);
  }
  if (node->links == 0) return missing;  // it went with the directory that stood there
  ++node->links;
  Put(parent, base, node);
  return absl::OkStatus();
}

absl::Status LayerTree::Other(TreeNode& parent, const std::string& base, const TarEntry& entry) {
  TreeNode* node = NewNode(TypeBits(entry.type), entry.mtime);
  if (S_ISLNK(node->mode)) {
    if (entry.link.empty()) return absl::InvalidArgumentError("symlink without a target");
    if (entry.link.size() > kMaxTarget) return absl::InvalidArgumentError("a symlink's target of more than 4095 bytes");
    node->target = entry.link;
  } else if (S_ISREG(node->mode)) {
    node->size = entry.size;
    node->sparse = entry.sparse && entry.size > 0;
    file_ = node;
  } else if (!S_ISFIFO(node->mode)) {
    node->device = makedev(entry.dev_major, entry.dev_minor);
  }
  RETURN_IF_ERROR(SetNodeAttributes(entry, *node));
  Put(parent, base, node);
  return absl::OkStatus();
}

// What loses a name here keeps its others, if it has any.
void LayerTree::Drop(TreeNode& node) {
  // A directory or a symlink may be on the way to the cached one.
  if (node.is_directory() || S_ISLNK(node.mode)) cached_ = nullptr;
  std::vector<TreeNode*> todo = {&node};
  while (!todo.empty()) {
    TreeNode* next = todo.back();
    todo.pop_back();
    --next->links;
    for (const auto& [name, child] : next->children) todo.push_back(child);
  }
}

void LayerTree::Put(TreeNode& parent, const std::string& base, TreeNode* node) {
  TreeNode*& place = parent.children[base];
  if (place != nullptr) Drop(*place);
  place = node;
}

absl::Status LayerTree::OnData(uint64_t offset, uint64_t stored, absl::string_view bytes) {
  if (file_ == nullptr) return absl::OkStatus();  // contents of an ignored entry
  if (!file_->sparse) {
    if (offset == 0) file_->stored = stored;
    return absl::OkStatus();
  }
  if (!file_->extents.empty()) {
    TreeNode::Extent& last = file_->extents.back();
    if (last.offset + last.size == offset && last.stored + last.size == stored) {
      last.size += bytes.size();
      return absl::OkStatus();
    }
  }
  file_->extents.push_back({offset, stored, bytes.size()});
  return absl::OkStatus();
}

absl::Status LayerTree::OnEntryEnd() {
  file_ = nullptr;
  return absl::OkStatus();
}

absl::StatusOr<TreeNode*> LayerTree::Walk(absl::string_view path, const struct timespec* make) {
  std::deque<std::string> todo = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::vector<Place> stack = {{root_, 0}};
  int links = 0;
  while (!todo.empty()) {
    std::string part = std::move(todo.front());
    todo.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      if (stack.size() > 1) stack.pop_back();
      continue;
    }
    const size_t made_before = nodes_.size();
    ASSIGN_OR_RETURN(TreeNode * next, Step(*stack.back().node, part, make));
    if (next == nullptr) return nullptr;
    if (next->is_directory()) {
      stack.push_back({next, stack.back().path + part.size() + 1});
      if (stack.size() > kMaxDepth) return absl::InvalidArgumentError("more than 2048 directories in each other");
      if (nodes_.size() > made_before) text_ += stack.back().path;
      continue;
    }
    if (!S_ISLNK(next->mode) || ++links > kMaxLinks) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", absl::CEscape(part), "' on the way to '", absl::CEscape(path), "' is not a directory"));
    }
    if (absl::StartsWith(next->target, "/")) stack.resize(1);
    std::vector<std::string> parts = absl::StrSplit(next->target, '/', absl::SkipEmpty());
    todo.insert(todo.begin(), parts.begin(), parts.end());
    if (todo.size() > kMaxTodo) return absl::InvalidArgumentError("symlinks expand without end");
  }
  return stack.back().node;
}

absl::StatusOr<TreeNode*> LayerTree::Step(TreeNode& parent, const std::string& name, const struct timespec* make) {
  auto it = parent.children.find(name);
  if (it != parent.children.end() && !it->second->is_whiteout()) return it->second;
  if (make == nullptr) return nullptr;
  if (name.size() > kMaxName) return absl::InvalidArgumentError("a name of more than 255 bytes");
  TreeNode* made = NewDirectory(*make);
  if (it == parent.children.end()) {
    made->implied = true;
  } else {
    // Whited out first and used as a directory then: a new directory, without what lower layers have. Its attributes
    // come from here too, so it does not count as implied.
    MakeOpaque(*made);
  }
  Put(parent, name, made);
  return made;
}

std::vector<std::string> LayerTree::ImpliedParents() const {
  std::vector<std::string> paths;
  if (root_->implied) paths.push_back("");
  CollectImplied(*root_, "", paths);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace berth::image
