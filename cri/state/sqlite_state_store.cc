#include <sqlite3.h>
#include <sys/stat.h>

#include <utility>

#include "absl/synchronization/mutex.h"
#include "cri/state/state_store.h"

namespace berth::state {
namespace {

constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS records ("
    "  kind INTEGER NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (kind, id)"
    ") STRICT, WITHOUT ROWID;";

struct CloseDb {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct Finalize {
  void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
};
using Db = std::unique_ptr<sqlite3, CloseDb>;
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

// DataLoss: the file is damaged, or no database at all. Everything else (locked, disk full, …) may pass.
absl::Status SqliteError(sqlite3* db, absl::string_view what) {
  int code = sqlite3_errcode(db);
  bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
  return absl::Status(damaged ? absl::StatusCode::kDataLoss : absl::StatusCode::kInternal,
                      absl::StrCat("state.db: ", what, ": ", sqlite3_errmsg(db)));
}

absl::Status Exec(sqlite3* db, const std::string& sql) {
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return SqliteError(db, sql.substr(0, 40));
  return absl::OkStatus();
}

absl::StatusOr<Statement> Prepare(sqlite3* db, absl::string_view sql) {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &s, nullptr) !=
      SQLITE_OK) {
    return SqliteError(db, "prepare");
  }
  return Statement(s);
}

void BindText(sqlite3_stmt* s, int index, absl::string_view text) {
  sqlite3_bind_text(s, index, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

absl::StatusOr<Db> OpenDb(const std::string& path) {
  sqlite3* raw = nullptr;
  int rc =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Db db(raw);
  if (rc != SQLITE_OK) return SqliteError(db.get(), absl::StrCat("open '", path, "'"));
  sqlite3_busy_timeout(db.get(), 5000);
  RETURN_IF_ERROR(Exec(db.get(), "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"));
  ASSIGN_OR_RETURN(Statement version, Prepare(db.get(), "PRAGMA user_version"));
  if (sqlite3_step(version.get()) != SQLITE_ROW) return SqliteError(db.get(), "user_version");
  if (int found = sqlite3_column_int(version.get(), 0); found > kStateDbVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("state.db has version ", found, ", this berthd knows ", kStateDbVersion));
  }
  RETURN_IF_ERROR(Exec(db.get(), absl::StrCat(kSchema, "PRAGMA user_version=", kStateDbVersion)));
  return db;
}

class SqliteStateStore : public StateStore {
 public:
  SqliteStateStore(Db db, Statement put, Statement del, std::vector<std::string> damage)
      : db_(std::move(db)), put_(std::move(put)), delete_(std::move(del)), damage_(std::move(damage)) {}

  absl::Status Put(Kind kind, absl::string_view id, absl::string_view data) override {
    absl::MutexLock lock(&mu_);
    sqlite3_stmt* s = put_.get();
    sqlite3_bind_int(s, 1, static_cast<int>(kind));
    BindText(s, 2, id);
    sqlite3_bind_blob64(s, 3, data.data(), data.size(), SQLITE_STATIC);
    return Run(s, "put");
  }

  absl::Status Delete(Kind kind, absl::string_view id) override {
    absl::MutexLock lock(&mu_);
    sqlite3_stmt* s = delete_.get();
    sqlite3_bind_int(s, 1, static_cast<int>(kind));
    BindText(s, 2, id);
    return Run(s, "delete");
  }

  absl::StatusOr<Loaded> Load() override {
    absl::MutexLock lock(&mu_);
    Loaded out{{}, damage_};
    ASSIGN_OR_RETURN(Statement s, Prepare(db_.get(), "SELECT kind, id, data FROM records"));
    int rc;
    while ((rc = sqlite3_step(s.get())) == SQLITE_ROW) {
      int kind = sqlite3_column_int(s.get(), 0);
      std::string id(reinterpret_cast<const char*>(sqlite3_column_text(s.get(), 1)));
      if (kind != static_cast<int>(Kind::kPod) && kind != static_cast<int>(Kind::kContainer)) {
        out.damage.push_back(absl::StrCat("record '", id, "': unknown kind ", kind));
        continue;
      }
      const char* data = static_cast<const char*>(sqlite3_column_blob(s.get(), 2));
      out.records.push_back({static_cast<Kind>(kind), std::move(id),
                             std::string(data, static_cast<size_t>(sqlite3_column_bytes(s.get(), 2)))});
    }
    // A page that is damaged ends the scan; what was read before it is still good.
    if (rc != SQLITE_DONE) out.damage.push_back(std::string(SqliteError(db_.get(), "read").message()));
    return out;
  }

 private:
  absl::Status Run(sqlite3_stmt* s, absl::string_view what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    int rc = sqlite3_step(s);
    absl::Status status = rc == SQLITE_DONE ? absl::OkStatus() : SqliteError(db_.get(), what);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return status;
  }

  absl::Mutex mu_;
  Db db_ ABSL_GUARDED_BY(mu_);
  Statement put_ ABSL_GUARDED_BY(mu_), delete_ ABSL_GUARDED_BY(mu_);
  const std::vector<std::string> damage_;
};

// Moves the files of a database that cannot be opened out of the way, keeping them for whoever wants to look.
absl::StatusOr<std::string> SetAside(const std::string& path) {
  for (int n = 1;; ++n) {
    std::string to = absl::StrCat(path, ".damaged-", n);
    struct stat st;
    if (lstat(to.c_str(), &st) == 0) continue;
    if (rename(path.c_str(), to.c_str()) != 0) return ErrnoError(errno, absl::StrCat("rename '", path, "'"));
    for (const char* part : {"-wal", "-shm"}) rename((path + part).c_str(), (to + part).c_str());
    return to;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateStore>> OpenSqliteStateStore(absl::string_view path_view) {
  std::string path(path_view);
  std::vector<std::string> damage;
  auto db = OpenDb(path);
  if (!db.ok()) {
    if (!absl::IsDataLoss(db.status())) return db.status();
    std::string why(db.status().message());
    ASSIGN_OR_RETURN(std::string aside, SetAside(path));
    damage.push_back(absl::StrCat(why, "; set aside as '", aside, "'"));
    db = OpenDb(path);
    RETURN_IF_ERROR(db);
  }
  ASSIGN_OR_RETURN(Statement put, Prepare(db->get(), "INSERT OR REPLACE INTO records VALUES (?, ?, ?)"));
  ASSIGN_OR_RETURN(Statement del, Prepare(db->get(), "DELETE FROM records WHERE kind = ? AND id = ?"));
  return std::make_unique<SqliteStateStore>(*std::move(db), std::move(put), std::move(del), std::move(damage));
}

}  // namespace berth::state
