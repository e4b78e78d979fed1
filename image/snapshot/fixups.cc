#include "image/snapshot/fixups.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "image/content/digest.h"
#include "image/snapshot/copy_attributes.h"
#include "image/unpack/layer_path.h"
#include "runtime/base/id.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr absl::string_view kTemporary = ".tmp-";
constexpr char kRoot[] = "fs";
constexpr char kRecord[] = "meta.json";

struct Record {
  std::string boot_id;
  std::vector<std::string> layers;
};

absl::StatusOr<Record> ReadRecord(int dir, const std::string& name) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFileAt(dir, absl::StrCat(name, "/", kRecord)));
  ASSIGN_OR_RETURN(Json json, ParseJson(text));
  Record record;
  ASSIGN_OR_RETURN(record.boot_id, StringField(json, "boot"));
  ASSIGN_OR_RETURN(record.layers, StringListField(json, "layers"));
  return record;
}

// Whether the record may be a good one, which cannot be read now: its layer may be a running container's.
bool MayBeGood(const absl::Status& read) { return ErrnoOf(read) != 0 && ErrnoOf(read) != ENOENT; }

}  // namespace

absl::StatusOr<Fixups> Fixups::Open(absl::string_view path, absl::string_view boot_id) {
  RETURN_IF_ERROR(sys::MakeDirs(path, 0700));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir.get()));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, kTemporary)) RETURN_IF_ERROR(sys::RemoveTreeAt(dir.get(), name));
  }
  return Fixups(std::move(dir), boot_id);
}

absl::StatusOr<bool> Fixups::IsCurrent(const std::string& name) const {
  auto record = ReadRecord(dir_.get(), name);
  if (MayBeGood(record.status())) return record.status();
  return record.ok() && record->boot_id == boot_id_;
}

absl::StatusOr<sys::UniqueFd> Fixups::Get(absl::Span<const std::string> layers, const LayerStack& stack) const {
  std::string name(DigestHex(Sha256Digest(absl::StrJoin(layers, "\n"))));
  {
    absl::MutexLock lock(building_.get());
    ASSIGN_OR_RETURN(bool current, IsCurrent(name), "fix-up layer");
    if (!current) RETURN_IF_ERROR(Make(name, layers, stack), "fix-up layer");
  }
  auto root = sys::OpenAt(dir_.get(), absl::StrCat(name, "/", kRoot), O_PATH | O_DIRECTORY | O_NOFOLLOW);
  if (ErrnoOf(root.status()) == ENOENT) return sys::UniqueFd();
  return root;
}

absl::Status Fixups::Make(const std::string& name, absl::Span<const std::string> layers,
                          const LayerStack& stack) const {
  ASSIGN_OR_RETURN(std::vector<std::string> paths, stack.Misattributed());
  std::string tmp = absl::StrCat(kTemporary, name);
  // One of an earlier boot, or a damaged one, is nobody's lower layer.
  for (const std::string& old : {tmp, name}) RETURN_IF_ERROR(sys::RemoveTreeAt(dir_.get(), old));
  if (mkdirat(dir_.get(), tmp.c_str(), 0700) != 0) return ErrnoError(errno, "mkdir");
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::OpenAt(dir_.get(), tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (!paths.empty()) RETURN_IF_ERROR(Build(dir.get(), paths, stack));
  std::vector<std::string> copy(layers.begin(), layers.end());
  RETURN_IF_ERROR(sys::ReplaceFileAt(dir.get(), kRecord, DumpJson(Json{{"boot", boot_id_}, {"layers", copy}}), 0600));
  if (renameat(dir_.get(), tmp.c_str(), dir_.get(), name.c_str()) != 0) return ErrnoError(errno, "rename");
  return absl::OkStatus();
}

absl::Status Fixups::Build(int target, const std::vector<std::string>& paths, const LayerStack& stack) const {
  if (mkdirat(target, kRoot, 0755) != 0) return ErrnoError(errno, "mkdir");
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::OpenAt(target, kRoot, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  // Their parents as well, which would be stacked above the real ones otherwise.
  std::set<std::string> all = {""};
  for (const std::string& path : paths) {
    for (std::string p = path; !p.empty(); p = std::string(SplitLayerPath(p).parent)) all.insert(p);
  }
  for (const std::string& path : all) {  // parents sort before children
    if (!path.empty() && mkdirat(root.get(), path.c_str(), 0700) != 0) {
      return ErrnoError(errno, absl::StrCat("mkdir '", path, "'"));
    }
  }
  for (auto it = all.rbegin(); it != all.rend(); ++it) {  // children first, for the parents' times and default ACLs
    ASSIGN_OR_RETURN(sys::UniqueFd from, stack.Describing(*it));
    ASSIGN_OR_RETURN(sys::UniqueFd to, sys::OpenBeneath(root.get(), *it, O_RDONLY | O_DIRECTORY));
    RETURN_IF_ERROR(CopyAttributes(from.get(), to.get()), "'", *it, "'");
  }
  return absl::OkStatus();
}

absl::Status Fixups::Prune(const LayerStore& store) const {
  absl::MutexLock lock(building_.get());
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir_.get()));
  for (const std::string& name : names) {
    auto record = ReadRecord(dir_.get(), name);
    if (MayBeGood(record.status())) continue;
    bool whole = record.ok();
    for (const std::string& layer : record.ok() ? record->layers : std::vector<std::string>()) {
      whole = whole && store.Has(layer);
    }
    if (!whole) RETURN_IF_ERROR(sys::RemoveTreeAt(dir_.get(), name), "fix-up layer");
  }
  return absl::OkStatus();
}

}  // namespace berth::image
