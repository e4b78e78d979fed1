// A look at the store that changes nothing, for when it is not open, or open in another process.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "image/content/digest.h"
#include "image/content/read_range.h"
#include "image/erofs/erofs_writer.h"
#include "image/store.h"
#include "image/unpack/layer_record.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kMaxRecord = 64 << 20;   // as the layer store has it
constexpr size_t kMaxDocument = 8 << 20;  // as the content store has it

absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& path) {
  auto dir = sys::Open(path, O_RDONLY | O_DIRECTORY);
  if (ErrnoOf(dir.status()) == ENOENT) return std::vector<std::string>();
  RETURN_IF_ERROR(dir);
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir->get()));
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status VerifyArchive(const std::string& path, const LayerInfo& info) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(path, O_RDONLY));
  Hasher archive(info.diff_id);
  auto hash = [&archive](absl::string_view bytes) {
    archive.Update(bytes);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ReadRange(file.get(), kArchiveAt, info.archive_size, path, hash));
  if (archive.Finish() != info.diff_id) return absl::DataLossError("its archive does not have the digest");
  ASSIGN_OR_RETURN(std::string index, ErofsIndexDigest(file.get(), info.index.at, info.index.size));
  if (index != info.index.digest) return absl::DataLossError("its index does not have the digest");
  return absl::OkStatus();
}

absl::Status CheckLayer(const std::string& dir, const std::string& hex, bool digests) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(dir + "/meta.json", kMaxRecord));
  ASSIGN_OR_RETURN(LayerInfo info, DecodeLayerRecord(text));
  if (DigestHex(info.diff_id) != hex) return absl::DataLossError("its record is another layer's");
  if (info.format == LayerFormat::kDirectory || !digests) return absl::OkStatus();
  return VerifyArchive(dir + "/layer.erofs", info);
}

absl::Status CheckDocument(const std::string& path, const std::string& hex) {
  ASSIGN_OR_RETURN(std::string digest, DigestFromHex(hex));
  ASSIGN_OR_RETURN(std::string bytes, sys::ReadFile(path, kMaxDocument));
  return VerifyDigest(digest, bytes);
}

// What went away meanwhile is no damage: beside a daemon images are removed.
void Note(const std::string& path, absl::string_view what, const absl::Status& status, Inspection& out) {
  if (status.ok() || access(path.c_str(), F_OK) != 0) return;
  out.damage.push_back(absl::StrCat(what, ": ", status.message(), " (", path, ")"));
}

}  // namespace

absl::StatusOr<Inspection> Inspect(const std::string& root, bool digests) {
  Inspection out;
  ASSIGN_OR_RETURN(std::vector<std::string> snapshots, NamesIn(root + "/snapshots"));
  for (const std::string& name : snapshots) {
    if (IsSafeName(name)) out.snapshots.emplace_back(name);
  }
  ASSIGN_OR_RETURN(std::vector<std::string> layers, NamesIn(root + "/layers"));
  for (const std::string& hex : layers) {
    if (!DigestFromHex(hex).ok()) continue;
    const std::string dir = absl::StrCat(root, "/layers/", hex);
    Note(dir, absl::StrCat("layer ", hex.substr(0, 12)), CheckLayer(dir, hex, digests), out);
    ++out.layers;
  }
  ASSIGN_OR_RETURN(std::vector<std::string> documents, NamesIn(root + "/content"));
  for (const std::string& hex : documents) {
    if (!DigestFromHex(hex).ok()) continue;
    const std::string path = absl::StrCat(root, "/content/", hex);
    if (digests) Note(path, absl::StrCat("document ", hex.substr(0, 12)), CheckDocument(path, hex), out);
    ++out.documents;
  }
  return out;
}

}  // namespace berth::image
