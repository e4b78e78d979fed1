#include "cri/state/database.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>

#include "cri/state/state_store.h"
#include "runtime/sys/file.h"

namespace berth::state {
namespace {

// Above this a version number is nobody's, and a sign of damage.
constexpr int kMostVersion = 1000;
constexpr char kSchema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE records ("
    "  kind INTEGER NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (kind, id)"
    ") STRICT, WITHOUT ROWID;"
    "PRAGMA user_version=1;"
    "COMMIT;";
static_assert(kStateDbVersion == 1);
// In databases of former daemons too, which made none.
constexpr char kAside[] =
    "CREATE TABLE IF NOT EXISTS damaged ("
    "  kind INTEGER NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, why TEXT NOT NULL) STRICT;";
// The log is brought into the file when it has this many pages (of 4 KiB), and is written from its beginning again: so
// much of it is no reserve.
constexpr int kLogPages = 256;
constexpr off_t kLogBytes = kLogPages * (4096 + 24);

// Of the file's disk; root may take the last blocks, too.
uint64_t FreeBytes(int fd) {
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0) return UINT64_MAX;
  return static_cast<uint64_t>(fs.f_bfree) * static_cast<uint64_t>(fs.f_bsize);
}

// Blocks for `bytes`, at least, from the file's beginning; its size stays as it is. Some more, so that a file that
// grows does not ask each time.
void Reserve(int fd, off_t bytes) {
  struct stat st;
  if (fstat(fd, &st) != 0 || off_t{st.st_blocks} * 512 >= bytes) return;
  bytes += 256 << 10;
  // Asked first: a file system that has too little may take long to say so.
  if (FreeBytes(fd) >= static_cast<uint64_t>(bytes - off_t{st.st_blocks} * 512)) {
    fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes);
  }
}

}  // namespace

void BindText(sqlite3_stmt* s, int index, absl::string_view text) {
  sqlite3_bind_text(s, index, text.data() != nullptr ? text.data() : "", static_cast<int>(text.size()), SQLITE_STATIC);
}

void BindBlob(sqlite3_stmt* s, int index, absl::string_view bytes) {
  sqlite3_bind_blob64(s, index, bytes.data() != nullptr ? bytes.data() : "", bytes.size(), SQLITE_STATIC);
}

absl::Status Database::Error(absl::string_view what) const {
  const int extended = sqlite3_extended_errcode(db_.get()), code = extended & 0xff;
  const int err = sqlite3_system_errno(db_.get());
  const std::string message = absl::StrCat("'", path_, "': ", what, ": ", sqlite3_errmsg(db_.get()));
  if (code == SQLITE_FULL || ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) && (err == ENOSPC || err == EDQUOT))) {
    return absl::ResourceExhaustedError(absl::StrCat(message, ": no space left on the device"));
  }
  const bool unreadable = extended == SQLITE_IOERR_READ || extended == SQLITE_IOERR_SHORT_READ;
  // Our own statements fail to compile only when the schema is not ours.
  const bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR || unreadable;
  if (damaged) return absl::DataLossError(message);
  if (code == SQLITE_READONLY) return absl::FailedPreconditionError(message);
  return absl::InternalError(message);
}

absl::Status Database::Exec(const std::string& sql) const {
  if (sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return Error(sql.substr(0, 40));
}

absl::StatusOr<Statement> Database::Prepare(absl::string_view sql) const {
  sqlite3_stmt* s = nullptr;
  const int rc =
      sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &s, nullptr);
  if (rc != SQLITE_OK) return Error("prepare");
  return Statement(s);
}

absl::Status Database::Run(sqlite3_stmt* s, absl::string_view what) const {
  int rc;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW) continue;
  absl::Status status = rc == SQLITE_DONE ? absl::OkStatus() : Error(what);
  sqlite3_reset(s);
  sqlite3_clear_bindings(s);
  return status;
}

absl::StatusOr<std::string> Database::Ask(absl::string_view sql) const {
  ASSIGN_OR_RETURN(Statement s, Prepare(sql));
  const int rc = sqlite3_step(s.get());
  if (rc == SQLITE_DONE) return "";
  if (rc != SQLITE_ROW) return Error(sql);
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(s.get(), 0));
  return std::string(text != nullptr ? text : "");
}

// The index of the log is in a file beside it, which other processes may read as well, or in our own memory.
absl::Status Database::Connect(bool own_memory) {
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int rc = sqlite3_open_v2(path_.c_str(), &raw, flags, nullptr);
  db_.reset(raw);
  if (rc != SQLITE_OK) return Error("open");
  sqlite3_busy_timeout(raw, 5000);
  int keep = 1;
  sqlite3_file_control(raw, nullptr, SQLITE_FCNTL_PERSIST_WAL, &keep);
  if (own_memory) RETURN_IF_ERROR(Exec("PRAGMA locking_mode=EXCLUSIVE"));
  // Deleted rows are zeroed, so that none of them is taken for a living one if the file is ever salvaged.
  RETURN_IF_ERROR(Exec("PRAGMA page_size=4096; PRAGMA auto_vacuum=NONE; PRAGMA secure_delete=ON"));
  return Exec(
      absl::StrCat("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=", kLogPages));
}

absl::Status Database::Check() const {
  if (sqlite3_db_readonly(db_.get(), "main") == 1) {
    // SQLite also says so of a file that claims to be of a format to come.
    if (access(path_.c_str(), W_OK) == 0)
      return absl::DataLossError(absl::StrCat("'", path_, "': of an unknown format"));
    return absl::FailedPreconditionError(absl::StrCat("'", path_, "': cannot be written"));
  }
  ASSIGN_OR_RETURN(std::string check, Ask("PRAGMA quick_check(1)"));
  if (check != "ok") return absl::DataLossError(absl::StrCat("'", path_, "': ", check));
  ASSIGN_OR_RETURN(std::string version, Ask("PRAGMA user_version"));
  const int found = atoi(version.c_str());
  if (found > kStateDbVersion && found <= kMostVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", path_, "': has version ", found, ", this berthd knows ", kStateDbVersion));
  }
  ASSIGN_OR_RETURN(std::string tables, Ask("SELECT count(*) FROM sqlite_schema"));
  ASSIGN_OR_RETURN(std::string ours, Ask("SELECT count(*) FROM sqlite_schema WHERE type='table' AND name='records'"));
  if (found == 0 && tables == "0") return Exec(kSchema);
  if (found != kStateDbVersion || ours != "1") {
    return absl::DataLossError(absl::StrCat("'", path_, "': is no database of berth"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Database> Database::Open(const std::string& path) {
  Database db;
  db.path_ = path;
  absl::Status connected = db.Connect(false);
  if (absl::IsResourceExhausted(connected)) {
    // The disk is so full that there is no room for the index's 32 KiB.
    db.db_.reset();
    connected = db.Connect(true);
  }
  RETURN_IF_ERROR(connected);
  RETURN_IF_ERROR(db.Check());
  RETURN_IF_ERROR(db.Exec(kAside));
  ASSIGN_OR_RETURN(db.file_, sys::Open(path, O_RDWR));
  ASSIGN_OR_RETURN(db.log_, sys::Open(path + "-wal", O_RDWR));
  db.KeepReserve();
  return db;
}

void Database::KeepReserve() {
  struct stat st;
  if (fstat(file_.get(), &st) == 0) Reserve(file_.get(), st.st_size + kReserve);
  Reserve(log_.get(), kLogBytes + kReserve);
}

absl::Status Database::CheckRoom() const {
  if (FreeBytes(file_.get()) >= uint64_t{kReserve}) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("'", path_, "': less than ", kReserve >> 20,
                                                   " MiB is free on its disk, which is kept for what runs"));
}

}  // namespace berth::state
