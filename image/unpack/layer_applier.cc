#include "image/unpack/layer_applier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/escaping.h"
#include "image/unpack/entry_attributes.h"
#include "runtime/base/lexical_path.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr uint64_t kEntryCost = 4096;  // what an entry takes, roughly
// From this size on, writing to disk begins when the file is complete and not with the sync at the end.
constexpr uint64_t kEarlyWriteback = 64 << 10;

uint64_t BytesOf(const struct stat& st) { return static_cast<uint64_t>(st.st_blocks) * 512; }

absl::Status Failed(absl::string_view call) { return ErrnoError(errno, call); }

}  // namespace

absl::Status LayerApplier::OnEntry(const TarEntry& entry) {
  RETURN_IF_ERROR(space_.Claim(kEntryCost));
  RETURN_IF_ERROR(Apply(entry), "layer entry '", absl::CEscape(entry.path.substr(0, 256)), "'");
  for (ParentDirs::Made& made : parents_.TakeMade()) {
    directories_.push_back({std::move(made.path), made.inode, made.mtime, ""});
    ++usage_.inodes;
  }
  return absl::OkStatus();
}

absl::Status LayerApplier::Apply(const TarEntry& entry) {
  std::string path = CleanInRoot(entry.path);
  if (path.empty()) return Root(entry);
  LayerName name = SplitLayerPath(path);
  Whiteout whiteout = ClassifyWhiteout(name);
  switch (whiteout) {
    case Whiteout::kMalformed:
      return absl::InvalidArgumentError("malformed whiteout");
    case Whiteout::kIgnored:
      return absl::OkStatus();
    case Whiteout::kOpaque:
      return Opaque(name, entry);
    default:
      break;
  }
  ASSIGN_OR_RETURN(ParentDir parent, parents_.Open(name.parent, entry.mtime));
  if (whiteout == Whiteout::kHides) return Hide(parent, WhiteoutTarget(name.base));
  std::string base(name.base);
  switch (entry.type) {
    case TarEntry::Type::kFile:
      entry_ = entry;
      return File(parent, base);
    case TarEntry::Type::kDirectory:
      return Directory(parent, base, path, entry);
    case TarEntry::Type::kSymlink:
      return Symlink(parent, base, entry);
    case TarEntry::Type::kHardLink:
      return HardLink(parent, base, entry);
    default:
      return Node(parent, base, entry);
  }
}

absl::Status LayerApplier::Root(const TarEntry& entry) {
  if (entry.type != TarEntry::Type::kDirectory) {
    return absl::InvalidArgumentError("the layer's root is not a directory");
  }
  root_described_ = true;
  return DirectoryAttributes(root_, "", entry);
}

// Applies to lower layers alone: what this layer has by that name stays, a directory without their part of it.
absl::Status LayerApplier::Hide(const ParentDir& parent, absl::string_view target) {
  std::string name(target);
  struct stat st;
  if (fstatat(parent.fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!S_ISDIR(st.st_mode)) return absl::OkStatus();
    parents_.Described(st.st_ino);
    return MakeOpaque(parent.fd, name);
  }
  if (errno != ENOENT) return Failed("stat");
  if (mknodat(parent.fd, name.c_str(), S_IFCHR, makedev(0, 0)) != 0) return Failed("mknod of a whiteout");
  ++usage_.inodes;
  return absl::OkStatus();
}

absl::Status LayerApplier::Opaque(const LayerName& name, const TarEntry& entry) {
  // overlayfs does not heed the mark on a layer's root: who stacks layers leaves out those below it.
  ASSIGN_OR_RETURN(ParentDir parent, parents_.Open(name.parent, entry.mtime));
  return MakeOpaque(parent.fd, ".");
}

absl::Status LayerApplier::File(const ParentDir& parent, const std::string& base) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  auto fd = sys::OpenAt(parent.fd, base, kFlags, 0600);
  if (!fd.ok() && ErrnoOf(fd.status()) == EEXIST) {
    RETURN_IF_ERROR(MakeRoom(parent.fd, base));
    fd = sys::OpenAt(parent.fd, base, kFlags, 0600);
  }
  RETURN_IF_ERROR(fd);
  file_ = *std::move(fd);
  // Nearly all files belong to 0:0, and that is what they have.
  if (entry_.uid == 0 && entry_.gid == 0 && !parent.set_gid) return absl::OkStatus();
  return fchown(file_.get(), entry_.uid, entry_.gid) == 0 ? absl::OkStatus() : Failed("chown");
}

absl::Status LayerApplier::OnData(uint64_t offset, uint64_t, absl::string_view bytes) {
  if (!file_) return absl::OkStatus();  // contents of an ignored entry
  RETURN_IF_ERROR(space_.Claim(bytes.size()));
  while (!bytes.empty()) {
    ssize_t n = pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("write '", absl::CEscape(entry_.path), "'"));
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::Status LayerApplier::OnEntryEnd() {
  if (!file_) return absl::OkStatus();
  sys::UniqueFd fd = std::move(file_);
  std::string context = absl::StrCat("layer entry '", absl::CEscape(entry_.path.substr(0, 256)), "'");
  if (entry_.sparse && ftruncate(fd.get(), static_cast<off_t>(entry_.size)) != 0) {
    return ErrnoError(errno, absl::StrCat(context, ": truncate"));
  }
  // Writing and chown clear set-user-id bits and capabilities, so these come last.
  if (fchmod(fd.get(), entry_.mode) != 0) return ErrnoError(errno, absl::StrCat(context, ": chmod"));
  RETURN_IF_ERROR(SetXattrs(fd.get(), entry_.xattrs), context);
  const struct timespec times[2] = {entry_.mtime, entry_.mtime};
  if (futimens(fd.get(), times) != 0) return ErrnoError(errno, absl::StrCat(context, ": set times"));
  if (entry_.size > 0) {
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(fd.get(), context));
    usage_.bytes += BytesOf(st);
  }
  ++usage_.inodes;
  if (entry_.size >= kEarlyWriteback) sync_file_range(fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE);  // a hint
  return absl::OkStatus();
}

absl::Status LayerApplier::Directory(const ParentDir& parent, const std::string& base, const std::string& path,
                                     const TarEntry& entry) {
  bool replaced = false;
  if (mkdirat(parent.fd, base.c_str(), 0700) == 0) {
    ++usage_.inodes;
  } else {
    if (errno != EEXIST) return Failed("mkdir");
    struct stat st;
    if (fstatat(parent.fd, base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Failed("stat");
    if (!S_ISDIR(st.st_mode)) {
      RETURN_IF_ERROR(MakeRoom(parent.fd, base));
      if (mkdirat(parent.fd, base.c_str(), 0700) != 0) return Failed("mkdir");
      ++usage_.inodes;
      replaced = true;
    }
  }
  // Something else, a whiteout for one, stood here before: what lower layers have by that name is gone.
  if (replaced) RETURN_IF_ERROR(MakeOpaque(parent.fd, base));
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(parent.fd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return DirectoryAttributes(fd.get(), path, entry);
}

absl::Status LayerApplier::DirectoryAttributes(int fd, const std::string& path, const TarEntry& entry) {
  parents_.Forget();  // it may be the cached one, whose set-group-id bit is known there
  if (fchown(fd, entry.uid, entry.gid) != 0) return Failed("chown");
  if (fchmod(fd, entry.mode) != 0) return Failed("chmod");
  std::map<std::string, std::string> xattrs = entry.xattrs;
  std::string default_acl;
  // A default ACL would be inherited by what is made in the directory from now on.
  if (auto it = xattrs.find(kDefaultAcl); it != xattrs.end()) {
    default_acl = std::move(it->second);
    xattrs.erase(it);
  }
  RETURN_IF_ERROR(SetXattrs(fd, xattrs));
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(fd, path));
  parents_.Described(st.st_ino);
  directories_.push_back({path, st.st_ino, entry.mtime, std::move(default_acl)});
  return absl::OkStatus();
}

absl::Status LayerApplier::Symlink(const ParentDir& parent, const std::string& base, const TarEntry& entry) {
  if (entry.link.empty()) return absl::InvalidArgumentError("symlink without a target");
  if (symlinkat(entry.link.c_str(), parent.fd, base.c_str()) != 0) {
    if (errno != EEXIST) return Failed("symlink");
    RETURN_IF_ERROR(MakeRoom(parent.fd, base));
    if (symlinkat(entry.link.c_str(), parent.fd, base.c_str()) != 0) return Failed("symlink");
  }
  if (fchownat(parent.fd, base.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) return Failed("chown");
  const struct timespec times[2] = {entry.mtime, entry.mtime};
  if (utimensat(parent.fd, base.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return Failed("set times");
  struct stat st;
  if (fstatat(parent.fd, base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Failed("stat");
  usage_.bytes += BytesOf(st);
  ++usage_.inodes;
  return absl::OkStatus();
}

absl::Status LayerApplier::Node(const ParentDir& parent, const std::string& base, const TarEntry& entry) {
  mode_t kind = entry.type == TarEntry::Type::kCharDevice    ? S_IFCHR
                : entry.type == TarEntry::Type::kBlockDevice ? S_IFBLK
                                                             : S_IFIFO;
  dev_t device = makedev(entry.dev_major, entry.dev_minor);
  if (mknodat(parent.fd, base.c_str(), kind | 0600, device) != 0) {
    if (errno != EEXIST) return Failed("mknod");
    RETURN_IF_ERROR(MakeRoom(parent.fd, base));
    if (mknodat(parent.fd, base.c_str(), kind | 0600, device) != 0) return Failed("mknod");
  }
  ++usage_.inodes;
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(parent.fd, base, O_PATH | O_NOFOLLOW));
  return SetAttributesOfPath(fd.get(), entry);
}

absl::Status LayerApplier::HardLink(const ParentDir& parent, const std::string& base, const TarEntry& entry) {
  std::string target = CleanInRoot(entry.link);
  auto missing = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("hard link to '", absl::CEscape(target), "', which is not a file of the same layer before it"));
  };
  if (target.empty()) return missing();
  LayerName name = SplitLayerPath(target);
  auto from = parents_.Find(name.parent);
  if (!from.ok()) return missing();
  std::string target_base(name.base);
  struct stat st;
  if (fstatat(from->get(), target_base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(st.st_mode) ||
      IsWhiteout(st)) {
    return missing();
  }
  if (linkat(from->get(), target_base.c_str(), parent.fd, base.c_str(), 0) == 0) return absl::OkStatus();
  if (errno != EEXIST) return Failed("link");
  struct stat there;
  if (fstatat(parent.fd, base.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) return Failed("stat");
  if (there.st_ino == st.st_ino) return absl::OkStatus();
  RETURN_IF_ERROR(MakeRoom(parent.fd, base));
  if (linkat(from->get(), target_base.c_str(), parent.fd, base.c_str(), 0) != 0) {
    return errno == ENOENT ? missing() : Failed("link");
  }
  return absl::OkStatus();
}

// Removes what the layer has by that name and takes it out of the sums.
absl::Status LayerApplier::MakeRoom(int parent, const std::string& base) {
  struct stat st;
  if (fstatat(parent, base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Failed("stat");
  if (!S_ISDIR(st.st_mode)) {
    if (st.st_nlink == 1) {
      usage_.bytes -= std::min(usage_.bytes, BytesOf(st));
      --usage_.inodes;
    }
    if (S_ISLNK(st.st_mode)) parents_.Forget();
    return unlinkat(parent, base.c_str(), 0) == 0 ? absl::OkStatus() : Failed("unlink");
  }
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(TreeUsage gone, MeasureTree(fd.get()));
  // Directories are counted in the end.
  usage_.bytes -= std::min(usage_.bytes, gone.bytes - gone.directory_bytes);
  usage_.inodes -= std::min(usage_.inodes, gone.inodes);
  parents_.Forget();
  return sys::RemoveTreeAt(parent, base);
}

absl::Status LayerApplier::Finish() {
  if (!root_described_) {
    if (fchmod(root_, 0755) != 0) return Failed("chmod of the layer's root");
  }
  std::map<ino_t, const DirectoryEnd*> last;  // of several entries for one directory
  for (const DirectoryEnd& end : directories_) last[end.inode] = &end;
  for (const DirectoryEnd& end : directories_) {
    if (last[end.inode] != &end) continue;
    auto dir = parents_.Find(end.path);
    if (!dir.ok()) continue;  // replaced by something else
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(dir->get(), end.path));
    if (st.st_ino != end.inode) continue;
    usage_.bytes += BytesOf(st);
    RETURN_IF_ERROR(EndDirectory(dir->get(), end.mtime, end.default_acl), "directory '", absl::CEscape(end.path), "'");
  }
  ++usage_.inodes;  // the root
  if (root_described_) return absl::OkStatus();
  constexpr struct timespec kEpoch[2] = {};  // not the time of unpacking: the same layer is the same everywhere
  if (futimens(root_, kEpoch) != 0) return Failed("set times");
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(root_, "layer root"));
  usage_.bytes += BytesOf(st);
  return absl::OkStatus();
}

std::vector<std::string> LayerApplier::ImpliedParents() const {
  std::vector<std::string> paths = parents_.Implied();
  if (!root_described_) paths.insert(paths.begin(), "");
  return paths;
}

}  // namespace berth::image
