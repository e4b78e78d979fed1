#include "image/catalog/schema.h"

#include <iterator>

namespace berth::image {
namespace {

// Step N makes version N+1 from version N. Steps are never changed once released, only added.
constexpr const char* kSteps[] = {
    "CREATE TABLE images ("
    "  id TEXT PRIMARY KEY, manifest_digest TEXT NOT NULL, size INTEGER NOT NULL, pinned INTEGER NOT NULL,"
    "  pulled_at INTEGER NOT NULL, config TEXT NOT NULL"  // microseconds since 1970
    ") STRICT;"
    "CREATE TABLE refs ("
    "  ref TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
    "  kind TEXT NOT NULL CHECK (kind IN ('tag', 'digest'))"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX refs_by_image ON refs(image);"
    "CREATE TABLE image_layers ("
    "  image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, position INTEGER NOT NULL,"
    "  diff_id TEXT NOT NULL, PRIMARY KEY (image, position)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE snapshots (id TEXT PRIMARY KEY, image TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE snapshot_layers ("
    "  snapshot TEXT NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE, position INTEGER NOT NULL,"
    "  diff_id TEXT NOT NULL, PRIMARY KEY (snapshot, position)"
    ") STRICT, WITHOUT ROWID;",
    // The directories of the snapshots are their record.
    "DROP TABLE IF EXISTS snapshot_layers; DROP TABLE IF EXISTS snapshots;",
};
constexpr int64_t kVersion = std::size(kSteps);

}  // namespace

absl::Status MigrateCatalog(const Database& db) {
  ASSIGN_OR_RETURN(Statement read, db.Prepare("PRAGMA user_version"));
  RETURN_IF_ERROR(read.Row());
  int64_t version = read.Number(0);
  RETURN_IF_ERROR(read.Run());
  if (version < 0 || version > kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("images.db has version ", version, ", this berth knows up to ", kVersion));
  }
  for (; version < kVersion; ++version) {
    Transaction step(db);
    RETURN_IF_ERROR(step.Begin());
    RETURN_IF_ERROR(db.Exec(kSteps[version]), "migration of images.db from version ", version);
    RETURN_IF_ERROR(db.Exec(absl::StrCat("PRAGMA user_version=", version + 1)));
    RETURN_IF_ERROR(step.Commit());
  }
  return absl::OkStatus();
}

}  // namespace berth::image
