#include "cri/state/inspect.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "cri/state/seal.h"
#include "cri/state/state_store.h"
#include "runtime/sys/file.h"

namespace berth::state {
namespace {

constexpr size_t kMostOfFile = size_t{1} << 30;
constexpr int kMostProblems = 10;

struct CloseDb {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct Finalize {
  void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
};
using Db = std::unique_ptr<sqlite3, CloseDb>;
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

absl::Status ErrorOf(sqlite3* db) {
  const int code = sqlite3_errcode(db);
  const bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
  return absl::Status(damaged ? absl::StatusCode::kDataLoss : absl::StatusCode::kUnavailable, sqlite3_errmsg(db));
}

absl::StatusOr<Statement> Prepare(sqlite3* db, const char* sql) {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v2(db, sql, -1, &s, nullptr) != SQLITE_OK) return ErrorOf(db);
  return Statement(s);
}

std::string Text(sqlite3_stmt* s, int column) {
  const unsigned char* text = sqlite3_column_text(s, column);
  return text == nullptr ? "" : reinterpret_cast<const char*>(text);
}

absl::Status Read(sqlite3* db, Inspection& out) {
  ASSIGN_OR_RETURN(Statement version, Prepare(db, "PRAGMA user_version"));
  if (sqlite3_step(version.get()) != SQLITE_ROW) return ErrorOf(db);
  out.version = sqlite3_column_int(version.get(), 0);
  out.newer = out.version > kStateDbVersion;
  if (out.newer || out.version == 0) return absl::OkStatus();  // 0: nothing was ever stored in it
  ASSIGN_OR_RETURN(Statement check, Prepare(db, "PRAGMA integrity_check(10)"));
  for (int i = 0; i < kMostProblems && sqlite3_step(check.get()) == SQLITE_ROW; ++i) {
    if (std::string line = Text(check.get(), 0); line != "ok") out.damage.push_back(std::move(line));
  }
  ASSIGN_OR_RETURN(Statement rows, Prepare(db, "SELECT kind, id, data FROM records"));
  int rc;
  while ((rc = sqlite3_step(rows.get())) == SQLITE_ROW) {
    const char* data = static_cast<const char*>(sqlite3_column_blob(rows.get(), 2));
    const size_t size = static_cast<size_t>(sqlite3_column_bytes(rows.get(), 2));
    const int kind = sqlite3_column_int(rows.get(), 0);
    std::string id = Text(rows.get(), 1);
    Unsealed record = Unseal(kind, id, absl::string_view(data, data == nullptr ? 0 : size));
    out.records.push_back({kind, std::move(id), std::move(record.data), record.whole});
  }
  return rc == SQLITE_DONE ? absl::OkStatus() : ErrorOf(db);
}

absl::Status ReadAt(const std::string& path, int flags, Inspection& out) {
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  Db db(raw);
  absl::Status status = rc == SQLITE_OK ? absl::OkStatus() : ErrorOf(db.get());
  if (status.ok()) {
    sqlite3_busy_timeout(db.get(), 5000);
    status = Read(db.get(), out);
  }
  if (!absl::IsDataLoss(status)) return Annotate(status, path);
  out.damage.push_back(std::string(status.message()));
  return absl::OkStatus();
}

// OK when there is none.
absl::Status Copy(const std::string& from, int to_dir, const char* name) {
  auto data = sys::ReadFile(from, kMostOfFile);
  if (ErrnoOf(data.status()) == ENOENT) return absl::OkStatus();
  RETURN_IF_ERROR(data);
  return sys::ReplaceFileAt(to_dir, name, *data, 0600);
}

absl::Status ReadCopy(const std::string& path, Inspection& out) {
  char dir[] = "/tmp/berth-state-XXXXXX";
  if (mkdtemp(dir) == nullptr) return ErrnoError(errno, "temporary directory in /tmp");
  auto remove = absl::MakeCleanup([&] { (void)sys::RemoveTreeAt(AT_FDCWD, dir); });
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(dir, O_RDONLY | O_DIRECTORY));
  RETURN_IF_ERROR(Copy(path, fd.get(), "state.db"), "copy");
  RETURN_IF_ERROR(Copy(path + "-wal", fd.get(), "state.db-wal"), "copy");
  return ReadAt(absl::StrCat(dir, "/state.db"), SQLITE_OPEN_READWRITE, out);
}

}  // namespace

absl::StatusOr<Inspection> InspectStateDb(const std::string& path, bool in_use) {
  Inspection out;
  struct stat st;
  if (lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return out;
    return ErrnoError(errno, absl::StrCat("stat '", path, "'"));
  }
  out.exists = true;
  RETURN_IF_ERROR(in_use ? ReadAt(path, SQLITE_OPEN_READONLY, out) : ReadCopy(path, out));
  return out;
}

std::vector<std::string> DamagedFilesBeside(const std::string& path) {
  const size_t slash = path.rfind('/') + 1;
  const std::string prefix = path.substr(slash) + ".damaged-";
  std::vector<std::string> found;
  auto dir = sys::Open(path.substr(0, slash), O_RDONLY | O_DIRECTORY);
  auto names = dir.ok() ? sys::ListDir(dir->get()) : dir.status();
  if (!names.ok()) return found;
  for (const std::string& name : *names) {
    const bool part = absl::EndsWith(name, "-wal") || absl::EndsWith(name, "-shm");
    if (absl::StartsWith(name, prefix) && !part) found.push_back(path.substr(0, slash) + name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace berth::state
