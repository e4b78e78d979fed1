#include "image/catalog/sqlite.h"

namespace berth::image {
namespace {

absl::Status Failure(sqlite3* db, int code, absl::string_view what) {
  std::string message = absl::StrCat("sqlite ", what, ": ", db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace

Statement& Statement::Bind(absl::string_view text) {
  sqlite3_bind_text(s_.get(), ++bound_, text.data() != nullptr ? text.data() : "", static_cast<int>(text.size()),
                    SQLITE_STATIC);
  return *this;
}

Statement& Statement::Bind(int64_t number) {
  sqlite3_bind_int64(s_.get(), ++bound_, number);
  return *this;
}

absl::StatusOr<bool> Statement::Row() {
  int rc = sqlite3_step(s_.get());
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  return Failure(sqlite3_db_handle(s_.get()), rc, "step");
}

absl::Status Statement::Run() {
  for (;;) {
    ASSIGN_OR_RETURN(bool row, Row());
    if (!row) return absl::OkStatus();
  }
}

std::string Statement::Text(int column) const {
  const void* text = sqlite3_column_text(s_.get(), column);
  if (text == nullptr) return "";
  return std::string(static_cast<const char*>(text), static_cast<size_t>(sqlite3_column_bytes(s_.get(), column)));
}

absl::StatusOr<Database> Database::Open(const std::string& path) {
  sqlite3* raw = nullptr;
  int rc =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database db;
  db.db_.reset(raw);
  if (rc != SQLITE_OK) return Failure(raw, rc, absl::StrCat("open '", path, "'"));
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, 5000);
  RETURN_IF_ERROR(db.Exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON"));
  ASSIGN_OR_RETURN(Statement check, db.Prepare("PRAGMA quick_check(1)"));
  ASSIGN_OR_RETURN(bool row, check.Row());
  if (!row || check.Text(0) != "ok") return absl::DataLossError(absl::StrCat("quick_check: ", check.Text(0)));
  return db;
}

absl::StatusOr<Statement> Database::Prepare(absl::string_view sql) const {
  if (auto it = idle_->find(std::string(sql)); it != idle_->end()) {
    sqlite3_stmt* s = it->second;
    idle_->erase(it);
    return Statement(s, idle_.get());
  }
  sqlite3_stmt* s = nullptr;
  int rc = sqlite3_prepare_v2(db_.get(), sql.data(), static_cast<int>(sql.size()), &s, nullptr);
  if (rc != SQLITE_OK) return Failure(db_.get(), rc, absl::StrCat("prepare '", sql, "'"));
  return Statement(s, idle_.get());
}

absl::Status Database::Exec(const std::string& sql) const {
  int rc = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return Failure(db_.get(), rc, absl::StrCat("exec '", sql.substr(0, 60), "'"));
  return absl::OkStatus();
}

absl::Status Transaction::Begin() {
  RETURN_IF_ERROR(db_.Exec("BEGIN IMMEDIATE"));
  open_ = true;
  return absl::OkStatus();
}

absl::Status Transaction::Commit() {
  RETURN_IF_ERROR(db_.Exec("COMMIT"));
  open_ = false;
  return absl::OkStatus();
}

Transaction::~Transaction() {
  if (open_) db_.Exec("ROLLBACK").IgnoreError();  // some errors have rolled back already
}

}  // namespace berth::image
