#include <sys/stat.h>

#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "cri/state/database.h"
#include "cri/state/salvage.h"
#include "cri/state/seal.h"
#include "cri/state/state_store.h"

namespace berth::state {
namespace {

// What SQLite would not notice, or would take for something else. DataLoss.
absl::Status CheckFiles(const std::string& path) {
  struct stat st;
  off_t sizes[3] = {};
  for (int i = 0; i < 3; ++i) {
    const std::string name = path + (i == 0 ? "" : i == 1 ? "-wal" : "-shm");
    if (stat(name.c_str(), &st) == 0 && S_ISREG(st.st_mode)) {
      sizes[i] = st.st_size;
    } else if (lstat(name.c_str(), &st) == 0) {
      return absl::DataLossError(absl::StrCat("'", name, "': is no file"));
    }
  }
  // SQLite would drop the log.
  if (sizes[0] == 0 && sizes[1] > 0) return absl::DataLossError(absl::StrCat("'", path, "': is empty, its log is not"));
  return absl::OkStatus();
}

// The file that a link leads to: SQLite has its log beside that one.
std::string Target(absl::string_view path) {
  std::string name(path);
  std::unique_ptr<char, decltype(&free)> target(realpath(name.c_str(), nullptr), free);
  return target ? target.get() : name;
}

// A database with what is asked of it.
struct Connection {
  Database db;
  Statement change, add, remove, keep, forget;
};

absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& path) {
  ASSIGN_OR_RETURN(Database db, Database::Open(path));
  auto c = std::make_unique<Connection>(Connection{std::move(db), {}, {}, {}, {}, {}});
  ASSIGN_OR_RETURN(c->change, c->db.Prepare("UPDATE records SET data = ?3 WHERE kind = ?1 AND id = ?2"));
  ASSIGN_OR_RETURN(c->add, c->db.Prepare("INSERT INTO records VALUES (?1, ?2, ?3)"));
  ASSIGN_OR_RETURN(c->remove, c->db.Prepare("DELETE FROM records WHERE kind = ?1 AND id = ?2"));
  ASSIGN_OR_RETURN(c->keep, c->db.Prepare("INSERT INTO damaged SELECT kind, id, data, ?3 FROM records "
                                          "WHERE kind = ?1 AND id = ?2"));
  ASSIGN_OR_RETURN(c->forget,
                   c->db.Prepare("DELETE FROM damaged WHERE rowid <= (SELECT max(rowid) - 100 FROM damaged)"));
  return c;
}

// The rows as they are stored, with kinds that may be unknown. DataLoss when one of them is not whole.
struct Row {
  int kind;
  std::string id, data;
};

absl::StatusOr<std::vector<Row>> ReadRows(const Database& db) {
  ASSIGN_OR_RETURN(Statement s, db.Prepare("SELECT kind, id, data FROM records"));
  std::vector<Row> rows;
  int rc;
  while ((rc = sqlite3_step(s.get())) == SQLITE_ROW) {
    const int kind = sqlite3_column_int(s.get(), 0);
    const auto bytes = [&](int column) {
      const auto* data = static_cast<const char*>(sqlite3_column_blob(s.get(), column));
      return absl::string_view(data, static_cast<size_t>(sqlite3_column_bytes(s.get(), column)));
    };
    std::string id(bytes(1));
    Unsealed record = Unseal(kind, id, bytes(2));
    if (!record.whole) return absl::DataLossError(absl::StrCat("record '", id, "' is not what was stored"));
    rows.push_back({kind, std::move(id), std::move(record.data)});
  }
  if (rc != SQLITE_DONE) return db.Error("read");
  return rows;
}

// A connection to a file of which every row can be read; appends to `damage` what had to be done for that.
absl::StatusOr<std::unique_ptr<Connection>> ConnectToSound(const std::string& path, std::vector<std::string>& damage) {
  for (bool second = false;; second = true) {
    absl::Status unsound = CheckFiles(path);
    if (unsound.ok()) {
      auto connection = Connect(path);
      unsound = connection.ok() ? ReadRows((*connection)->db).status() : connection.status();
      if (unsound.ok()) return connection;
    }
    if (!absl::IsDataLoss(unsound) || second) return unsound;
    ASSIGN_OR_RETURN(std::vector<std::string> report, Salvage(path, unsound.message()));
    damage.insert(damage.end(), report.begin(), report.end());
  }
}

class SqliteStateStore : public StateStore {
 public:
  SqliteStateStore(std::string path, std::unique_ptr<Connection> connection, std::vector<std::string> damage)
      : path_(std::move(path)), c_(std::move(connection)), damage_(std::move(damage)) {}

  absl::Status Put(Kind kind, absl::string_view id, absl::string_view data) override {
    absl::MutexLock lock(&mu_);
    return Healing([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return PutSealed(kind, id, Seal(int(kind), id, data)); });
  }

  absl::Status Delete(Kind kind, absl::string_view id) override {
    absl::MutexLock lock(&mu_);
    return Healing([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      Bind(c_->remove.get(), int(kind), id);
      return c_->db.Run(c_->remove.get(), "delete");
    });
  }

  absl::StatusOr<Loaded> Load() override {
    absl::MutexLock lock(&mu_);
    Loaded out{{}, std::exchange(damage_, {})};
    if (!c_) return absl::UnavailableError(absl::StrCat("'", path_, "' is not open"));
    ASSIGN_OR_RETURN(std::vector<Row> rows, ReadRows(c_->db));
    for (Row& row : rows) {
      if (row.kind >= int(Kind::kPod) && row.kind <= int(Kind::kDetach)) {
        out.records.push_back({static_cast<Kind>(row.kind), std::move(row.id), std::move(row.data)});
        continue;
      }
      // A newer daemon's, which may come back.
      out.damage.push_back(absl::StrCat("record '", row.id, "': unknown kind ", row.kind, ", left alone"));
    }
    return out;
  }

  absl::Status SetAside(Kind kind, absl::string_view id, absl::string_view why) override {
    absl::MutexLock lock(&mu_);
    return Healing([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return Move(int(kind), id, why); });
  }

 private:
  // Damage that shows only now is mended like that of a file that is opened. The call fails all the same, since rows
  // may have been lost: whoever has them in memory is to put them all again.
  template <typename Call>
  absl::Status Healing(Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (c_) {
      absl::Status done = call();
      if (done.ok()) c_->db.KeepReserve();
      if (!absl::IsDataLoss(done)) return done;
      c_.reset();
    }
    std::vector<std::string> report;
    ASSIGN_OR_RETURN(c_, ConnectToSound(path_, report));
    return absl::DataLossError(report.empty() ? absl::StrCat("'", path_, "' was opened again")
                                              : absl::StrJoin(report, "; "));
  }

  static void Bind(sqlite3_stmt* s, int kind, absl::string_view id) {
    sqlite3_bind_int(s, 1, kind);
    BindText(s, 2, id);
  }

  absl::Status PutSealed(Kind kind, absl::string_view id, const std::string& data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    for (sqlite3_stmt* s : {c_->change.get(), c_->add.get()}) {
      if (s == c_->add.get()) RETURN_IF_ERROR(c_->db.CheckRoom());
      Bind(s, int(kind), id);
      BindBlob(s, 3, data);
      RETURN_IF_ERROR(c_->db.Run(s, "put"));
      if (c_->db.Changes() > 0) break;
    }
    return absl::OkStatus();
  }

  absl::Status Move(int kind, absl::string_view id, absl::string_view why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    RETURN_IF_ERROR(c_->db.Exec("BEGIN IMMEDIATE"));
    Bind(c_->keep.get(), kind, id);
    BindText(c_->keep.get(), 3, why);
    Bind(c_->remove.get(), kind, id);
    absl::Status done = c_->db.Run(c_->keep.get(), "set aside");
    if (done.ok()) done = c_->db.Run(c_->remove.get(), "delete");
    if (done.ok()) done = c_->db.Run(c_->forget.get(), "delete");
    if (done.ok()) done = c_->db.Exec("COMMIT");
    if (!done.ok()) c_->db.Exec("ROLLBACK").IgnoreError();  // some errors have rolled back already
    return done;
  }

  absl::Mutex mu_;
  const std::string path_;
  std::unique_ptr<Connection> c_ ABSL_GUARDED_BY(mu_);  // null after damage that could not be mended yet
  std::vector<std::string> damage_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<StateStore>> OpenSqliteStateStore(absl::string_view path_view) {
  std::string path = Target(path_view);
  std::vector<std::string> damage;
  RETURN_IF_ERROR(FinishSalvage(path));
  ASSIGN_OR_RETURN(auto connection, ConnectToSound(path, damage));
  return std::make_unique<SqliteStateStore>(std::move(path), std::move(connection), std::move(damage));
}

}  // namespace berth::state
