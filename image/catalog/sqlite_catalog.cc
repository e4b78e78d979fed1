#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "image/catalog/catalog.h"
#include "image/catalog/schema.h"
#include "image/catalog/sqlite.h"
#include "image/content/digest.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr size_t kShortestPrefix = 4;
constexpr size_t kMaxProblems = 100;
constexpr absl::string_view kTag = "tag", kDigest = "digest";

// How a list of layers is kept for either kind of owner.
struct LayerTable {
  const char* insert;
  const char* select;
  const char* clear;
};
constexpr LayerTable kImageLayers = {"INSERT INTO image_layers(image, position, diff_id) VALUES (?, ?, ?)",
                                     "SELECT position, diff_id FROM image_layers WHERE image = ? ORDER BY position",
                                     "DELETE FROM image_layers WHERE image = ?"};
class SqliteCatalog : public Catalog {
 public:
  SqliteCatalog(Database db, std::vector<std::string> problems) : db_(std::move(db)), problems_(std::move(problems)) {}

  absl::Status PutImage(const ImageRow& row) override;
  absl::Status SetPinned(const ImageId& id, bool pinned) override;
  absl::StatusOr<ImageRow> FindByRef(absl::string_view ref) const override;
  absl::StatusOr<ImageRow> FindById(absl::string_view id) const override;
  absl::StatusOr<std::vector<ImageRow>> ListImages() const override;
  absl::Status AddTag(const ImageId& id, absl::string_view tag) override;
  absl::Status RemoveImage(const ImageId& id) override;
  absl::StatusOr<bool> RemoveImageAsOf(const ImageRow& row) override;
  absl::StatusOr<std::vector<std::string>> LayersOf(const ImageId& id) const override;
  absl::StatusOr<std::set<std::string>> LayersInUse() const override;
  absl::StatusOr<std::set<std::string>> DocumentsInUse() const override;
  std::vector<std::string> Problems() const override {
    absl::MutexLock lock(&mutex_);
    return problems_;
  }

 private:
  absl::Status WriteLayers(const LayerTable& table, absl::string_view owner, const std::vector<std::string>& layers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<std::string>> ReadLayers(const LayerTable& table, absl::string_view owner) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WriteRef(absl::string_view ref, absl::string_view image, absl::string_view kind)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WriteRefs(const ImageRow& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ImageRow> ReadImage(const std::string& id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<std::string>> Column(const std::string& sql) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Note(const std::string& problem) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  const Database db_ ABSL_GUARDED_BY(mutex_);
  mutable std::vector<std::string> problems_ ABSL_GUARDED_BY(mutex_);
};

void SqliteCatalog::Note(const std::string& problem) const {
  bool known = std::find(problems_.begin(), problems_.end(), problem) != problems_.end();
  if (!known && problems_.size() < kMaxProblems) problems_.push_back(problem);
}

absl::Status SqliteCatalog::PutImage(const ImageRow& row) {
  RETURN_IF_ERROR(CheckDigest(row.id.str()));
  RETURN_IF_ERROR(CheckDigest(row.manifest_digest));
  for (const std::string& layer : row.layers) RETURN_IF_ERROR(CheckDigest(layer));
  RETURN_IF_ERROR(ParseJson(row.config), "image config");
  absl::MutexLock lock(&mutex_);
  Transaction transaction(db_);
  RETURN_IF_ERROR(transaction.Begin());
  ASSIGN_OR_RETURN(
      Statement put,
      db_.Prepare("INSERT INTO images(id, manifest_digest, size, pinned, pulled_at, config) VALUES (?, ?, ?, ?, ?, ?)"
                  " ON CONFLICT(id) DO UPDATE SET manifest_digest = excluded.manifest_digest, size = excluded.size,"
                  " pinned = excluded.pinned, pulled_at = excluded.pulled_at, config = excluded.config"));
  put.Bind(row.id.str()).Bind(row.manifest_digest).Bind(static_cast<int64_t>(row.size));
  RETURN_IF_ERROR(put.Bind(row.pinned ? 1 : 0).Bind(absl::ToUnixMicros(row.pulled_at)).Bind(row.config).Run());
  RETURN_IF_ERROR(WriteRefs(row));
  RETURN_IF_ERROR(WriteLayers(kImageLayers, row.id.str(), row.layers));
  return transaction.Commit();
}

absl::Status SqliteCatalog::WriteRef(absl::string_view ref, absl::string_view image, absl::string_view kind) {
  ASSIGN_OR_RETURN(Statement put,
                   db_.Prepare("INSERT INTO refs(ref, image, kind) VALUES (?, ?, ?)"
                               " ON CONFLICT(ref) DO UPDATE SET image = excluded.image, kind = excluded.kind"));
  return put.Bind(ref).Bind(image).Bind(kind).Run();
}

absl::Status SqliteCatalog::WriteRefs(const ImageRow& row) {
  for (const std::string& tag : row.tags) RETURN_IF_ERROR(WriteRef(tag, row.id.str(), kTag));
  for (const std::string& digest : row.digests) RETURN_IF_ERROR(WriteRef(digest, row.id.str(), kDigest));
  return absl::OkStatus();
}

absl::Status SqliteCatalog::AddTag(const ImageId& id, absl::string_view tag) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement find, db_.Prepare("SELECT 1 FROM images WHERE id = ?"));
  ASSIGN_OR_RETURN(bool found, find.Bind(id.str()).Row());
  if (!found) return absl::NotFoundError(absl::StrCat("no image ", id.str()));
  return WriteRef(tag, id.str(), kTag);
}

absl::Status SqliteCatalog::WriteLayers(const LayerTable& table, absl::string_view owner,
                                        const std::vector<std::string>& layers) {
  ASSIGN_OR_RETURN(Statement clear, db_.Prepare(table.clear));
  RETURN_IF_ERROR(clear.Bind(owner).Run());
  for (size_t i = 0; i < layers.size(); ++i) {
    ASSIGN_OR_RETURN(Statement insert, db_.Prepare(table.insert));
    RETURN_IF_ERROR(insert.Bind(owner).Bind(static_cast<int64_t>(i)).Bind(layers[i]).Run());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> SqliteCatalog::ReadLayers(const LayerTable& table,
                                                                   absl::string_view owner) const {
  ASSIGN_OR_RETURN(Statement select, db_.Prepare(table.select));
  select.Bind(owner);
  std::vector<std::string> layers;
  for (;;) {
    ASSIGN_OR_RETURN(bool row, select.Row());
    if (!row) return layers;
    if (select.Number(0) != static_cast<int64_t>(layers.size())) {
      return absl::DataLossError(absl::StrCat("layer ", layers.size(), " of ", owner, " is missing"));
    }
    layers.push_back(select.Text(1));
    if (!CheckDigest(layers.back()).ok()) {
      return absl::DataLossError(absl::StrCat("layer ", layers.size() - 1, " of ", owner, " is not a digest"));
    }
  }
}

absl::Status SqliteCatalog::SetPinned(const ImageId& id, bool pinned) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement update, db_.Prepare("UPDATE images SET pinned = ? WHERE id = ? RETURNING id"));
  ASSIGN_OR_RETURN(bool row, update.Bind(pinned ? 1 : 0).Bind(id.str()).Row());
  if (!row) return absl::NotFoundError(absl::StrCat("no image ", id.str()));
  return update.Run();
}

absl::StatusOr<ImageRow> SqliteCatalog::ReadImage(const std::string& id) const {
  ASSIGN_OR_RETURN(Statement select,
                   db_.Prepare("SELECT manifest_digest, size, pinned, pulled_at, config FROM images WHERE id = ?"));
  ASSIGN_OR_RETURN(bool found, select.Bind(id).Row());
  if (!found) return absl::NotFoundError(absl::StrCat("no image ", id));
  ImageRow row;
  row.id = ImageId(id);
  row.manifest_digest = select.Text(0);
  int64_t size = select.Number(1);
  row.size = static_cast<uint64_t>(size);
  row.pinned = select.Number(2) != 0;
  row.pulled_at = absl::FromUnixMicros(select.Number(3));
  row.config = select.Text(4);
  if (!CheckDigest(id).ok() || !CheckDigest(row.manifest_digest).ok() || size < 0 || !ParseJson(row.config).ok()) {
    return absl::DataLossError(absl::StrCat("the record of image '", absl::CEscape(id), "' is damaged"));
  }
  ASSIGN_OR_RETURN(row.layers, ReadLayers(kImageLayers, id));
  ASSIGN_OR_RETURN(Statement refs, db_.Prepare("SELECT ref, kind FROM refs WHERE image = ? ORDER BY ref"));
  refs.Bind(id);
  for (;;) {
    ASSIGN_OR_RETURN(bool ref, refs.Row());
    if (!ref) return row;
    (refs.Text(1) == kTag ? row.tags : row.digests).push_back(refs.Text(0));
  }
}

absl::StatusOr<ImageRow> SqliteCatalog::FindByRef(absl::string_view ref) const {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement select, db_.Prepare("SELECT image FROM refs WHERE ref = ?"));
  ASSIGN_OR_RETURN(bool found, select.Bind(ref).Row());
  if (!found) return absl::NotFoundError(absl::StrCat("no image '", ref, "'"));
  return ReadImage(select.Text(0));
}

absl::StatusOr<ImageRow> SqliteCatalog::FindById(absl::string_view id) const {
  absl::string_view hex = absl::StripPrefix(id, "sha256:");
  bool hex_only = hex.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
  if (!absl::StartsWith(id, "sha512:") && (hex.size() < kShortestPrefix || !hex_only)) {
    return absl::NotFoundError(absl::StrCat("no image '", absl::CEscape(id), "'"));
  }
  std::string pattern = absl::StartsWith(id, "sha512:") ? std::string(id) : absl::StrCat("sha256:", hex);
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement select, db_.Prepare("SELECT id FROM images WHERE substr(id, 1, ?) = ? LIMIT 2"));
  ASSIGN_OR_RETURN(bool found, select.Bind(static_cast<int64_t>(pattern.size())).Bind(pattern).Row());
  if (!found) return absl::NotFoundError(absl::StrCat("no image '", id, "'"));
  std::string match = select.Text(0);
  ASSIGN_OR_RETURN(bool another, select.Row());
  if (another) return absl::InvalidArgumentError(absl::StrCat("'", id, "' is the beginning of several image ids"));
  return ReadImage(match);
}

absl::StatusOr<std::vector<std::string>> SqliteCatalog::Column(const std::string& sql) const {
  ASSIGN_OR_RETURN(Statement select, db_.Prepare(sql));
  std::vector<std::string> values;
  for (;;) {
    ASSIGN_OR_RETURN(bool row, select.Row());
    if (!row) return values;
    values.push_back(select.Text(0));
  }
}

absl::StatusOr<std::vector<ImageRow>> SqliteCatalog::ListImages() const {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::vector<std::string> ids, Column("SELECT id FROM images ORDER BY pulled_at, id"));
  std::vector<ImageRow> rows;
  for (const std::string& id : ids) {
    auto row = ReadImage(id);
    if (row.ok()) {
      rows.push_back(*std::move(row));
    } else if (absl::IsDataLoss(row.status())) {
      Note(std::string(row.status().message()));
    } else {
      return row.status();  // it cannot be read now, and is not gone
    }
  }
  return rows;
}

absl::Status SqliteCatalog::RemoveImage(const ImageId& id) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement remove, db_.Prepare("DELETE FROM images WHERE id = ?"));
  return remove.Bind(id.str()).Run();
}

absl::StatusOr<bool> SqliteCatalog::RemoveImageAsOf(const ImageRow& row) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement remove, db_.Prepare("DELETE FROM images WHERE id = ? AND pulled_at = ? RETURNING id"));
  ASSIGN_OR_RETURN(bool removed, remove.Bind(row.id.str()).Bind(absl::ToUnixMicros(row.pulled_at)).Row());
  if (removed) RETURN_IF_ERROR(remove.Run());
  return removed;
}

absl::StatusOr<std::vector<std::string>> SqliteCatalog::LayersOf(const ImageId& id) const {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::vector<std::string> layers, ReadLayers(kImageLayers, id.str()));
  if (layers.empty()) return absl::NotFoundError(absl::StrCat("no image ", id.str()));
  return layers;
}

absl::StatusOr<std::set<std::string>> SqliteCatalog::LayersInUse() const {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::vector<std::string> ids, Column("SELECT DISTINCT diff_id FROM image_layers"));
  return std::set<std::string>(ids.begin(), ids.end());
}

absl::StatusOr<std::set<std::string>> SqliteCatalog::DocumentsInUse() const {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::vector<std::string> ids,
                   Column("SELECT id FROM images UNION SELECT manifest_digest FROM images"));
  return std::set<std::string>(ids.begin(), ids.end());
}

absl::StatusOr<Database> OpenSound(const std::string& path) {
  ASSIGN_OR_RETURN(Database db, Database::Open(path));
  RETURN_IF_ERROR(MigrateCatalog(db));
  return db;
}

// With its journal: it is part of the database, and must not be played into the next one.
absl::StatusOr<std::string> SetAside(const std::string& path) {
  std::string to =
      absl::StrCat(path, ".damaged-", absl::FormatTime("%Y%m%dT%H%M%E6S", absl::Now(), absl::UTCTimeZone()));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    if (rename((path + suffix).c_str(), (to + suffix).c_str()) != 0 && errno != ENOENT) {
      return ErrnoError(errno, absl::StrCat("rename '", path, suffix, "'"));
    }
  }
  return to;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(const std::string& path) {
  std::vector<std::string> problems;
  auto db = OpenSound(path);
  if (absl::IsDataLoss(db.status())) {
    ASSIGN_OR_RETURN(std::string aside, SetAside(path));
    problems.push_back(
        absl::StrCat("'", path, "' is damaged (", db.status().message(), ") and was set aside as '", aside, "'"));
    db = OpenSound(path);
  }
  RETURN_IF_ERROR(db, "catalogue '", path, "'");
  return std::make_unique<SqliteCatalog>(*std::move(db), std::move(problems));
}

}  // namespace berth::image
