// One database file as SQLite sees it, and the room that it keeps for itself on a full disk.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::state {

struct FinalizeStatement {
  void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
};
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

// What is bound must live until the statement was run.
void BindText(sqlite3_stmt* s, int index, absl::string_view text);
void BindBlob(sqlite3_stmt* s, int index, absl::string_view bytes);

// Not thread-safe. Errors name the file: DataLoss when it is damaged or is no database of ours, ResourceExhausted when
// its disk is full, Internal for the rest.
class Database {
 public:
  // Made when missing. WAL, synchronous=NORMAL. The whole file is looked at. FailedPrecondition: it is of a newer
  // version, or cannot be written.
  static absl::StatusOr<Database> Open(const std::string& path);

  absl::StatusOr<Statement> Prepare(absl::string_view sql) const;
  absl::Status Exec(const std::string& sql) const;
  // To the end, without looking at rows; the statement can be bound again then.
  absl::Status Run(sqlite3_stmt* s, absl::string_view what) const;
  absl::Status Error(absl::string_view what) const;
  int Changes() const { return sqlite3_changes(db_.get()); }

  // Makes sure that the file and its log have blocks for kReserve bytes more than they hold: what is changed or deleted
  // then has room when the disk has none. The blocks belong to these files alone, unlike those of a file that is given
  // up when they are needed, which whoever fills the disk takes first. Best effort: cheap when nothing is to be done,
  // and without effect on file systems that reserve nothing.
  void KeepReserve();
  // ResourceExhausted when a new record should not be added, so that the reserve is left to what must go on.
  absl::Status CheckRoom() const;

  static constexpr off_t kReserve = 1 << 20;

 private:
  Database() = default;
  absl::Status Connect(bool own_memory);
  absl::Status Check() const;
  absl::StatusOr<std::string> Ask(absl::string_view sql) const;

  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  std::string path_;
  // Before the connection, so that they are closed after it: closing any descriptor of a file drops the locks that
  // SQLite has on it.
  sys::UniqueFd file_, log_;
  std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace berth::state
