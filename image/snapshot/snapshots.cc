#include "image/snapshot/snapshots.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "image/snapshot/copy_attributes.h"
#include "image/snapshot/copy_tree.h"
#include "image/snapshot/mapped_dirs.h"
#include "runtime/base/json.h"
#include "runtime/sys/boot_id.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::image {
namespace {

constexpr absl::string_view kTemporary = ".tmp-";  // no safe name begins with a dot
constexpr size_t kMaxChains = 32;                  // each holds a descriptor for each layer
constexpr char kRecordName[] = "meta.json";
constexpr char kVolumes[] = "volumes";
constexpr char kImages[] = "images";

absl::Status CheckId(const ContainerId& id) {
  if (IsSafeName(id.str())) return absl::OkStatus();
  return absl::InvalidArgumentError("malformed snapshot id");
}

absl::StatusOr<sys::UniqueFd> MakeDir(int dir, const char* name, mode_t mode) {
  if (mkdirat(dir, name, mode) != 0) return ErrnoError(errno, absl::StrCat("mkdir '", name, "'"));
  return sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

// Where the topmost directory of an image that is a volume stands in the snapshot.
std::string ImagePath(absl::string_view image) {
  return absl::StrCat(kImages, "/", absl::StripPrefix(image, "sha256:"));
}

// A path from the root of the mount that `fd` is on; the mount is in no mount table.
absl::StatusOr<std::string> PathInMount(int fd) {
  char path[PATH_MAX];
  ssize_t n = readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), path, sizeof path);
  if (n < 0) return ErrnoError(errno, "readlink");
  return std::string(path, static_cast<size_t>(n));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Snapshots>> Snapshots::Open(absl::string_view root, const LayerStore* layers) {
  ASSIGN_OR_RETURN(std::string boot_id, sys::BootId());
  std::string path = absl::StrCat(root, "/snapshots");
  RETURN_IF_ERROR(sys::MakeDirs(path, 0700));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir.get()));
  // The layer store has one of its own: this one is never behind thousands of a layer's files.
  ASSIGN_OR_RETURN(auto trash, Trash::Open(absl::StrCat(root, "/snapshot-trash")));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, kTemporary)) RETURN_IF_ERROR(trash->Take(dir.get(), name));
  }
  ASSIGN_OR_RETURN(Fixups fixups, Fixups::Open(absl::StrCat(root, "/fixups"), boot_id));
  std::unique_ptr<Snapshots> snapshots(
      new Snapshots(std::move(dir), std::move(fixups), std::move(boot_id), layers, std::move(trash)));
  RETURN_IF_ERROR(snapshots->Adopt());
  return snapshots;
}

absl::Status Snapshots::Adopt() {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir_.get()));
  absl::MutexLock lock(&mutex_);
  for (const std::string& name : names) {
    if (!IsSafeName(name)) continue;
    if (auto record = ReadRecord(ContainerId(name)); record.ok()) records_[ContainerId(name)] = *std::move(record);
  }
  return absl::OkStatus();
}

std::vector<std::string> SnapshotRecord::AllLayers() const {
  std::vector<std::string> all = layers;
  for (const auto& [image, of_image] : volumes) all.insert(all.end(), of_image.begin(), of_image.end());
  return all;
}

absl::Status Snapshots::Create(const SnapshotRecord& record) {
  RETURN_IF_ERROR(CheckId(record.id));
  if (record.layers.empty()) return absl::InvalidArgumentError("a snapshot of no layers");
  std::string tmp = absl::StrCat(kTemporary, RandomHexId().substr(0, 32));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, MakeDir(dir_.get(), tmp.c_str(), 0700));
  absl::Status status = Fill(dir.get(), record);
  if (status.ok() && renameat2(dir_.get(), tmp.c_str(), dir_.get(), record.id.str().c_str(), RENAME_NOREPLACE) != 0) {
    status = ErrnoError(errno, "rename");
  }
  if (!status.ok()) {
    sys::RemoveTreeAt(dir_.get(), tmp).IgnoreError();
    return Annotate(status, absl::StrCat("snapshot ", record.id.str()));
  }
  absl::MutexLock lock(&mutex_);
  records_[record.id] = Record{record, boot_id_};
  return absl::OkStatus();
}

std::vector<int> Snapshots::Chain::Lowers() const {
  std::vector<int> lowers = stack.Roots();
  if (fixup) lowers.insert(lowers.begin(), fixup.get());
  return lowers;
}

absl::StatusOr<std::shared_ptr<const Snapshots::Chain>> Snapshots::ChainOf(absl::Span<const std::string> layers) const {
  const std::vector<std::string> stacked = WithoutRepeats(layers);
  {
    absl::MutexLock lock(&mutex_);
    if (auto it = chains_.find(stacked); it != chains_.end()) return it->second;
  }
  ASSIGN_OR_RETURN(LayerStack stack, LayerStack::Open(*layers_, stacked));
  ASSIGN_OR_RETURN(sys::UniqueFd fixup, fixups_.Get(stacked, stack));
  // The root of an overlay has the attributes of its topmost directory, whatever the layers below say.
  ASSIGN_OR_RETURN(sys::UniqueFd root, stack.Describing(""));
  auto chain = std::make_shared<const Chain>(Chain{std::move(stack), std::move(fixup), std::move(root)});
  absl::MutexLock lock(&mutex_);
  if (chains_.size() >= kMaxChains) chains_.clear();
  chains_[stacked] = chain;
  return chain;
}

absl::Status Snapshots::Fill(int dir, const SnapshotRecord& record) const {
  Json volumes = Json::object();
  std::vector<std::pair<std::string, const std::vector<std::string>*>> tops = {{kUpper, &record.layers}};
  if (!record.volumes.empty()) RETURN_IF_ERROR(MakeDir(dir, kImages, 0700));
  for (const auto& [image, layers] : record.volumes) {
    tops.emplace_back(ImagePath(image), &layers);
    volumes[image] = layers;
  }
  for (const auto& [name, layers] : tops) {
    ASSIGN_OR_RETURN(auto chain, ChainOf(*layers));
    ASSIGN_OR_RETURN(sys::UniqueFd top, MakeDir(dir, name.c_str(), 0755));
    RETURN_IF_ERROR(CopyAttributes(chain->root.get(), top.get()), "root directory");
  }
  RETURN_IF_ERROR(MakeDir(dir, kWork, 0700));
  Json json{{"boot", boot_id_}, {"image", record.image.str()}, {"layers", record.layers}};
  if (!record.volumes.empty()) json["volumes"] = std::move(volumes);
  // Nobody sees half of it: the directory has no name yet that counts.
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenAt(dir, kRecordName, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return sys::WriteAll(file.get(), DumpJson(json), kRecordName);
}

absl::StatusOr<Snapshots::Record> Snapshots::ReadRecord(const ContainerId& id) const {
  RETURN_IF_ERROR(CheckId(id));
  ASSIGN_OR_RETURN(std::string text, sys::ReadFileAt(dir_.get(), absl::StrCat(id.str(), "/", kRecordName)), "snapshot ",
                   id.str());
  ASSIGN_OR_RETURN(Json json, ParseJson(text), "snapshot ", id.str());
  Record record;
  record.id = id;
  ASSIGN_OR_RETURN(record.boot_id, StringField(json, "boot"), "snapshot ", id.str());
  ASSIGN_OR_RETURN(std::string image, StringField(json, "image"), "snapshot ", id.str());
  record.image = ImageId(image);
  ASSIGN_OR_RETURN(record.layers, StringListField(json, "layers"), "snapshot ", id.str());
  if (json.contains("volumes") && json["volumes"].is_object()) {
    const Json& volumes = json["volumes"];
    for (const auto& item : volumes.items()) {
      ASSIGN_OR_RETURN(record.volumes[item.key()], StringListField(volumes, item.key().c_str()), "snapshot ", id.str());
    }
  }
  return record;
}

absl::StatusOr<Snapshots::Record> Snapshots::RecordOf(const ContainerId& id) const {
  {
    absl::MutexLock lock(&mutex_);
    if (auto it = records_.find(id); it != records_.end()) return it->second;
  }
  return ReadRecord(id);  // which says what is wrong with it
}

absl::StatusOr<sys::UniqueFd> Snapshots::OpenSnapshot(const ContainerId& id) const {
  RETURN_IF_ERROR(CheckId(id));
  return sys::OpenAt(dir_.get(), id.str(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

absl::StatusOr<sys::UniqueFd> Snapshots::MountMapped(Overlay overlay, int userns) const {
  ASSIGN_OR_RETURN(MappedDirs mapped, MappedDirs::Map(overlay.lowers, userns));
  overlay.lowers = mapped.Get();
  overlay.mapped = userns >= 0;
  auto mount = mounter_.Mount(overlay);
  if (overlay.mapped && IsUnknownStyle(ErrnoOf(mount.status()))) return CannotMapIds(mount.status());
  return mount;
}

absl::Status Snapshots::TryMapping(int userns) const {
  const std::string tmp = absl::StrCat(kTemporary, RandomHexId().substr(0, 32));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, MakeDir(dir_.get(), tmp.c_str(), 0700));
  auto mount = [&]() -> absl::StatusOr<sys::UniqueFd> {
    ASSIGN_OR_RETURN(sys::UniqueFd lower, MakeDir(dir.get(), "lower", 0755));
    ASSIGN_OR_RETURN(sys::UniqueFd upper, MakeDir(dir.get(), kUpper, 0755));
    ASSIGN_OR_RETURN(sys::UniqueFd work, MakeDir(dir.get(), kWork, 0700));
    const int lowers[] = {lower.get()};
    return MountMapped({lowers, false, upper.get(), work.get(), dir.get(), ""}, userns);
  }();
  const absl::Status status = mount.status();
  if (mount.ok()) mount->Reset();
  RETURN_IF_ERROR(sys::RemoveTreeAt(dir_.get(), tmp));
  return status;
}

absl::StatusOr<sys::UniqueFd> Snapshots::Mount(const ContainerId& id, int userns, const std::string& label) const {
  ASSIGN_OR_RETURN(Record record, RecordOf(id));
  if (record.boot_id != boot_id_) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot ", id.str(), " is of an earlier boot; what was written in it may be torn"));
  }
  ASSIGN_OR_RETURN(auto chain, ChainOf(record.layers));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, OpenSnapshot(id));
  ASSIGN_OR_RETURN(sys::UniqueFd upper, sys::OpenAt(dir.get(), kUpper, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(sys::UniqueFd work, sys::OpenAt(dir.get(), kWork, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  // The upper directory is not mapped: on disk, too, what the container writes belongs to ids that are nobody's
  // elsewhere. All of it that has an owner as yet is its root.
  if (userns >= 0) RETURN_IF_ERROR(GiveToMappedOwner(upper.get(), chain->root.get(), userns), "snapshot ", id.str());
  const std::vector<int> lowers = chain->Lowers();
  ASSIGN_OR_RETURN(sys::UniqueFd mount, MountMapped({lowers, false, upper.get(), work.get(), dir.get(), label}, userns),
                   "snapshot ", id.str());
  return mount;
}

absl::StatusOr<sys::UniqueFd> Snapshots::MountImage(const ContainerId& id, const ImageId& image,
                                                    absl::string_view sub_path, int userns) const {
  ASSIGN_OR_RETURN(Record record, RecordOf(id));
  auto volume = record.volumes.find(image.str());
  if (volume == record.volumes.end()) {
    return absl::FailedPreconditionError(absl::StrCat("snapshot ", id.str(), " does not keep image ", image.str()));
  }
  ASSIGN_OR_RETURN(auto chain, ChainOf(volume->second));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, OpenSnapshot(id));
  // An overlay without an upper directory takes at least two lower ones.
  ASSIGN_OR_RETURN(sys::UniqueFd top,
                   sys::OpenAt(dir.get(), ImagePath(image.str()), O_PATH | O_DIRECTORY | O_NOFOLLOW));
  std::vector<int> lowers = chain->Lowers();
  lowers.insert(lowers.begin(), top.get());
  ASSIGN_OR_RETURN(sys::UniqueFd mount, MountMapped({.lowers = lowers}, userns), "image ", image.str());
  RETURN_IF_ERROR(sys::SetMountAttrs(mount.get(), MOUNT_ATTR_RDONLY, 0, 0, false));
  if (sub_path.empty()) return mount;
  ASSIGN_OR_RETURN(sys::UniqueFd found, sys::OpenInRoot(mount.get(), sub_path, O_PATH | O_DIRECTORY));
  return mounter_.CloneWithin(mount.get(), found.get());
}

absl::StatusOr<VolumeCopy> Snapshots::CopyVolume(const ContainerId& id, int rootfs, absl::string_view path) const {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, OpenSnapshot(id));
  VolumeCopy volume;
  ASSIGN_OR_RETURN(sys::UniqueFd source, sys::MakeDirsInRoot(rootfs, path, 0755));
  ASSIGN_OR_RETURN(volume.path, PathInMount(source.get()));
  if (mkdirat(dir.get(), kVolumes, 0700) != 0 && errno != EEXIST) return ErrnoError(errno, "mkdir 'volumes'");
  ASSIGN_OR_RETURN(sys::UniqueFd volumes, sys::OpenAt(dir.get(), kVolumes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(std::vector<std::string> there, sys::ListDir(volumes.get()));
  ASSIGN_OR_RETURN(sys::UniqueFd copy, MakeDir(volumes.get(), absl::StrCat(there.size()).c_str(), 0755));
  ASSIGN_OR_RETURN(sys::UniqueFd from, sys::OpenAt(source.get(), ".", O_RDONLY | O_DIRECTORY));
  RETURN_IF_ERROR(CopyTree(from.get(), copy.get()));
  ASSIGN_OR_RETURN(volume.mount, sys::CloneTree(copy.get(), "", false));
  RETURN_IF_ERROR(sys::SetMountAttrs(volume.mount.get(), 0, 0, MS_PRIVATE, false));
  return volume;
}

absl::Status Snapshots::Remove(const ContainerId& id) {
  RETURN_IF_ERROR(CheckId(id));
  RETURN_IF_ERROR(trash_->Take(dir_.get(), id.str()), "snapshot ", id.str());
  absl::MutexLock lock(&mutex_);
  records_.erase(id);
  return absl::OkStatus();
}

std::vector<SnapshotRecord> Snapshots::Known() const {
  absl::MutexLock lock(&mutex_);
  std::vector<SnapshotRecord> records;
  for (const auto& [id, record] : records_) records.push_back(record);
  return records;
}

std::set<std::string> Snapshots::LayersInUse() const {
  std::set<std::string> layers;
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, record] : records_) {
    const std::vector<std::string> all = record.AllLayers();
    layers.insert(all.begin(), all.end());
  }
  return layers;
}

std::vector<std::string> Snapshots::LayersOf(const ContainerId& id) const {
  absl::MutexLock lock(&mutex_);
  auto it = records_.find(id);
  return it == records_.end() ? std::vector<std::string>() : it->second.AllLayers();
}

absl::StatusOr<TreeUsage> Snapshots::Usage(const ContainerId& id) const {
  RETURN_IF_ERROR(CheckId(id));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, OpenSnapshot(id));
  ASSIGN_OR_RETURN(sys::UniqueFd upper, sys::OpenAt(dir.get(), kUpper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(TreeUsage usage, MeasureTree(upper.get()));
  auto volumes = sys::OpenAt(dir.get(), kVolumes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (ErrnoOf(volumes.status()) == ENOENT) return usage;
  RETURN_IF_ERROR(volumes);
  ASSIGN_OR_RETURN(TreeUsage of_volumes, MeasureTree(volumes->get()));
  usage.bytes += of_volumes.bytes;
  usage.inodes += of_volumes.inodes;
  usage.directory_bytes += of_volumes.directory_bytes;
  return usage;
}

absl::StatusOr<std::vector<SnapshotRecord>> Snapshots::List() const {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir_.get()));
  std::vector<SnapshotRecord> records;
  for (const std::string& name : names) {
    if (!IsSafeName(name)) continue;
    ContainerId id(name);
    auto record = ReadRecord(id);
    records.push_back(record.ok() ? SnapshotRecord(*std::move(record)) : SnapshotRecord{.id = id});
  }
  return records;
}

absl::Status Snapshots::PruneFixups() {
  {
    absl::MutexLock lock(&mutex_);
    chains_.clear();
  }
  return fixups_.Prune(*layers_);
}

}  // namespace berth::image
