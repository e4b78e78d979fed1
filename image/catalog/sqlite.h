// The few calls of SQLite that the catalogue needs, with owners for what they make and statuses for what they return.
// Not thread-safe.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

// A prepared statement, used once: bind, then step until Row is false.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* s) : s_(s) {}
  // The text must outlive the statement.
  Statement& Bind(absl::string_view text);
  Statement& Bind(int64_t number);
  // Whether there is a row. DataLoss: the database is damaged. Internal: other errors.
  absl::StatusOr<bool> Row();
  // To the end, without looking at rows.
  absl::Status Run();
  // Columns of the row, from 0.
  std::string Text(int column) const;
  int64_t Number(int column) const { return sqlite3_column_int64(s_.get(), column); }

 private:
  struct Free {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  std::unique_ptr<sqlite3_stmt, Free> s_;
  int bound_ = 0;
};

class Database {
 public:
  // Made when missing. WAL, synchronous=FULL, foreign keys enforced; waits 5 s for another process.
  // DataLoss: the file is not a sound database.
  static absl::StatusOr<Database> Open(const std::string& path);
  absl::StatusOr<Statement> Prepare(absl::string_view sql) const;
  absl::Status Exec(const std::string& sql) const;

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  std::unique_ptr<sqlite3, Close> db_;
};

// Rolls back unless committed.
class Transaction {
 public:
  explicit Transaction(const Database& db) : db_(db) {}
  ~Transaction();
  absl::Status Begin();
  absl::Status Commit();

 private:
  const Database& db_;
  bool open_ = false;
};

}  // namespace berth::image
