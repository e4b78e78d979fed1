// The few calls of SQLite that the catalogue needs, with owners for what they make and statuses for what they return.
// Not thread-safe.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

// A prepared statement, used once and before its database is closed: bind, then step until Row is false.
class Statement {
 public:
  // Statements by their text that wait for their next use: compiling one costs more than most take.
  using Idle = std::multimap<std::string, sqlite3_stmt*, std::less<>>;
  Statement(sqlite3_stmt* s, Idle* idle) : s_(s, {idle}) {}
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
  struct Return {
    Idle* idle;
    void operator()(sqlite3_stmt* s) const {
      sqlite3_reset(s);
      sqlite3_clear_bindings(s);
      idle->emplace(sqlite3_sql(s), s);
    }
  };
  std::unique_ptr<sqlite3_stmt, Return> s_;
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
  struct Finalize {
    void operator()(Statement::Idle* idle) const {
      for (const auto& [sql, statement] : *idle) sqlite3_finalize(statement);
      delete idle;
    }
  };
  std::unique_ptr<sqlite3, Close> db_;
  std::unique_ptr<Statement::Idle, Finalize> idle_{new Statement::Idle};
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
