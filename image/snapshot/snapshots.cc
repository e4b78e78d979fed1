#include "image/snapshot/snapshots.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "image/snapshot/directory_attributes.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::image {
namespace {

constexpr absl::string_view kTemporary = ".tmp-";  // no safe name begins with a dot
constexpr size_t kMaxChains = 32;                  // each holds a descriptor for each layer
constexpr char kUpper[] = "upper";
constexpr char kWork[] = "work";
constexpr char kRecordName[] = "meta.json";
// overlayfs leaves this in the work directory of a volatile mount and refuses the next one while it is there
// (overlayfs.rst, "Volatile mount").
constexpr char kVolatileMark[] = "work/work/incompat/volatile";

absl::Status CheckId(const ContainerId& id) {
  if (IsSafeName(id.str())) return absl::OkStatus();
  return absl::InvalidArgumentError("malformed snapshot id");
}

absl::StatusOr<sys::UniqueFd> MakeDir(int dir, const char* name, mode_t mode) {
  if (mkdirat(dir, name, mode) != 0) return ErrnoError(errno, absl::StrCat("mkdir '", name, "'"));
  return sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

std::string TemporaryName() { return absl::StrCat(kTemporary, RandomHexId().substr(0, 32)); }

absl::Status CannotMap(const absl::Status& why) {
  return absl::FailedPreconditionError(
      absl::StrCat("the kernel or the file system of the images maps no ids: ", why.message()));
}

// What `dir` names, as a detached mount with the ids mapped.
absl::StatusOr<sys::UniqueFd> MapIds(int dir, int userns) {
  ASSIGN_OR_RETURN(sys::UniqueFd mount, sys::CloneTree(dir, "", false));
  absl::Status status = sys::MapMountIds(mount.get(), userns);
  if (ErrnoOf(status) == EINVAL || ErrnoOf(status) == ENOSYS || ErrnoOf(status) == EPERM) return CannotMap(status);
  RETURN_IF_ERROR(status);
  return mount;
}

// Gives `upper` the owner that `root` has when it is seen through a mapping; unless it was given away before.
absl::Status FollowOwner(int root, int mapped_root, int upper) {
  ASSIGN_OR_RETURN(struct stat on_disk, sys::StatFd(root, "layer"));
  ASSIGN_OR_RETURN(struct stat seen, sys::StatFd(mapped_root, "layer"));
  ASSIGN_OR_RETURN(struct stat now, sys::StatFd(upper, kUpper));
  if (now.st_uid != on_disk.st_uid || now.st_gid != on_disk.st_gid) return absl::OkStatus();
  if (fchownat(upper, "", seen.st_uid, seen.st_gid, AT_EMPTY_PATH) != 0) return ErrnoError(errno, "chown");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Snapshots>> Snapshots::Open(absl::string_view root, const LayerStore* layers) {
  ASSIGN_OR_RETURN(std::string boot_id, sys::ReadFile("/proc/sys/kernel/random/boot_id"));
  absl::StripTrailingAsciiWhitespace(&boot_id);
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

absl::Status Snapshots::Create(const ContainerId& id, absl::Span<const std::string> layers) {
  RETURN_IF_ERROR(CheckId(id));
  if (layers.empty()) return absl::InvalidArgumentError("a snapshot of no layers");
  std::string tmp = TemporaryName();
  ASSIGN_OR_RETURN(sys::UniqueFd dir, MakeDir(dir_.get(), tmp.c_str(), 0700));
  absl::Status status = Fill(dir.get(), layers);
  if (status.ok() && renameat2(dir_.get(), tmp.c_str(), dir_.get(), id.str().c_str(), RENAME_NOREPLACE) != 0) {
    status = ErrnoError(errno, "rename");
  }
  if (!status.ok()) {
    sys::RemoveTreeAt(dir_.get(), tmp).IgnoreError();
    return Annotate(status, absl::StrCat("snapshot ", id.str()));
  }
  absl::MutexLock lock(&mutex_);
  records_[id] = {boot_id_, {layers.begin(), layers.end()}};
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Snapshots::Chain>> Snapshots::ChainOf(absl::Span<const std::string> layers) const {
  const std::vector<std::string> stacked = WithoutRepeats(layers);
  {
    absl::MutexLock lock(&mutex_);
    if (auto it = chains_.find(stacked); it != chains_.end()) return it->second;
  }
  ASSIGN_OR_RETURN(LayerStack stack, LayerStack::Open(*layers_, stacked));
  ASSIGN_OR_RETURN(sys::UniqueFd fixup, fixups_.Get(stacked, stack));
  // The root of an overlay has the attributes of the upper directory, whatever the layers below say.
  ASSIGN_OR_RETURN(sys::UniqueFd root, stack.Describing(""));
  auto chain = std::make_shared<const Chain>(Chain{std::move(stack), std::move(fixup), std::move(root)});
  absl::MutexLock lock(&mutex_);
  if (chains_.size() >= kMaxChains) chains_.clear();
  chains_[stacked] = chain;
  return chain;
}

absl::Status Snapshots::Fill(int dir, absl::Span<const std::string> layers) const {
  ASSIGN_OR_RETURN(auto chain, ChainOf(layers));
  ASSIGN_OR_RETURN(sys::UniqueFd upper, MakeDir(dir, kUpper, 0755));
  RETURN_IF_ERROR(MakeDir(dir, kWork, 0700));
  RETURN_IF_ERROR(CopyDirectoryAttributes(chain->root.get(), upper.get()), "root directory");
  std::vector<std::string> copy(layers.begin(), layers.end());
  // Nobody sees half of it: the directory has no name yet that counts.
  ASSIGN_OR_RETURN(sys::UniqueFd record, sys::OpenAt(dir, kRecordName, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return sys::WriteAll(record.get(), DumpJson(Json{{"boot", boot_id_}, {"layers", copy}}), kRecordName);
}

absl::StatusOr<Snapshots::Record> Snapshots::ReadRecord(const ContainerId& id) const {
  RETURN_IF_ERROR(CheckId(id));
  ASSIGN_OR_RETURN(std::string text, sys::ReadFileAt(dir_.get(), absl::StrCat(id.str(), "/", kRecordName)), "snapshot ",
                   id.str());
  ASSIGN_OR_RETURN(Json json, ParseJson(text), "snapshot ", id.str());
  Record record;
  ASSIGN_OR_RETURN(record.boot_id, StringField(json, "boot"), "snapshot ", id.str());
  ASSIGN_OR_RETURN(record.layers, StringListField(json, "layers"), "snapshot ", id.str());
  return record;
}

absl::StatusOr<Snapshots::Record> Snapshots::RecordOf(const ContainerId& id) const {
  {
    absl::MutexLock lock(&mutex_);
    if (auto it = records_.find(id); it != records_.end()) return it->second;
  }
  return ReadRecord(id);  // which says what is wrong with it
}

absl::StatusOr<sys::UniqueFd> Snapshots::MountOverlay(absl::Span<const int> lowers, int upper, int work) const {
  absl::Status first;
  // FALLBACK(linux<6.13): lower directories by descriptor. FALLBACK(linux<6.8): one by one at all.
  for (LowerStyle style : {LowerStyle::kDescriptors, LowerStyle::kPaths, LowerStyle::kJoined}) {
    if (style < style_.load()) continue;
    auto mount = sys::MountDetached("overlay", OverlayOptions(lowers, upper, work, style), 0);
    if (mount.ok()) {
      style_.store(style);
      return mount;
    }
    if (first.ok()) first = mount.status();
    if (ErrnoOf(mount.status()) != EINVAL) break;
  }
  return first;
}

absl::StatusOr<sys::UniqueFd> Snapshots::MountMappedOverlay(std::vector<int> lowers, int root, int upper, int work,
                                                            int userns) const {
  std::vector<sys::UniqueFd> mapped;
  for (int& lower : lowers) {
    ASSIGN_OR_RETURN(sys::UniqueFd mount, MapIds(lower, userns));
    lower = mount.get();
    mapped.push_back(std::move(mount));
  }
  // The upper directory is not mapped: on disk, too, what the container writes belongs to an id that is nobody's
  // elsewhere. Empty as yet, all of it that has an owner is its root.
  ASSIGN_OR_RETURN(sys::UniqueFd mapped_root, MapIds(root, userns));
  RETURN_IF_ERROR(FollowOwner(root, mapped_root.get(), upper), "root directory");
  // FALLBACK(linux<6.13): overlayfs refuses mounts that are attached nowhere, and there are no pods with user
  // namespaces.
  auto mount = MountOverlay(lowers, upper, work);
  if (ErrnoOf(mount.status()) == EINVAL) return CannotMap(mount.status());
  return mount;
}

absl::Status Snapshots::TryMapping(int userns) const {
  const std::string tmp = TemporaryName();
  ASSIGN_OR_RETURN(sys::UniqueFd dir, MakeDir(dir_.get(), tmp.c_str(), 0700));
  auto mount = [&]() -> absl::StatusOr<sys::UniqueFd> {
    ASSIGN_OR_RETURN(sys::UniqueFd lower, MakeDir(dir.get(), "lower", 0755));
    ASSIGN_OR_RETURN(sys::UniqueFd upper, MakeDir(dir.get(), kUpper, 0755));
    ASSIGN_OR_RETURN(sys::UniqueFd work, MakeDir(dir.get(), kWork, 0700));
    return MountMappedOverlay({lower.get()}, lower.get(), upper.get(), work.get(), userns);
  }();
  const absl::Status status = mount.status();
  if (mount.ok()) mount->Reset();
  RETURN_IF_ERROR(sys::RemoveTreeAt(dir_.get(), tmp));
  return status;
}

absl::StatusOr<sys::UniqueFd> Snapshots::Mount(const ContainerId& id, int userns) const {
  ASSIGN_OR_RETURN(Record record, RecordOf(id));
  if (record.boot_id != boot_id_) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot ", id.str(), " is of an earlier boot; what was written in it may be torn"));
  }
  ASSIGN_OR_RETURN(auto chain, ChainOf(record.layers));
  std::vector<int> lowers = chain->stack.Roots();
  if (chain->fixup) lowers.insert(lowers.begin(), chain->fixup.get());
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::OpenAt(dir_.get(), id.str(), O_PATH | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(sys::UniqueFd upper, sys::OpenAt(dir.get(), kUpper, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(sys::UniqueFd work, sys::OpenAt(dir.get(), kWork, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  // The mark stands for writes that may be missing on disk. In the same boot they are in the page cache.
  RETURN_IF_ERROR(sys::RemoveTreeAt(dir.get(), kVolatileMark));
  auto mount = userns < 0 ? MountOverlay(lowers, upper.get(), work.get())
                          : MountMappedOverlay(lowers, chain->root.get(), upper.get(), work.get(), userns);
  RETURN_IF_ERROR(mount, "snapshot ", id.str());
  return mount;
}

absl::Status Snapshots::Remove(const ContainerId& id) {
  RETURN_IF_ERROR(CheckId(id));
  RETURN_IF_ERROR(trash_->Take(dir_.get(), id.str()), "snapshot ", id.str());
  absl::MutexLock lock(&mutex_);
  records_.erase(id);
  return absl::OkStatus();
}

std::set<std::string> Snapshots::LayersInUse() const {
  std::set<std::string> layers;
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, record] : records_) layers.insert(record.layers.begin(), record.layers.end());
  return layers;
}

std::vector<std::string> Snapshots::LayersOf(const ContainerId& id) const {
  absl::MutexLock lock(&mutex_);
  auto it = records_.find(id);
  return it == records_.end() ? std::vector<std::string>() : it->second.layers;
}

absl::StatusOr<TreeUsage> Snapshots::Usage(const ContainerId& id) const {
  RETURN_IF_ERROR(CheckId(id));
  ASSIGN_OR_RETURN(sys::UniqueFd upper,
                   sys::OpenAt(dir_.get(), absl::StrCat(id.str(), "/", kUpper), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return MeasureTree(upper.get());
}

absl::StatusOr<std::vector<SnapshotRecord>> Snapshots::List() const {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir_.get()));
  std::vector<SnapshotRecord> records;
  for (const std::string& name : names) {
    if (!IsSafeName(name)) continue;
    ContainerId id(name);
    auto record = ReadRecord(id);
    records.push_back({id, record.ok() ? std::move(record->layers) : std::vector<std::string>()});
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
