#include "cri/state/salvage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "cri/state/damaged_file.h"
#include "cri/state/database.h"
#include "cri/state/seal.h"
#include "runtime/sys/file.h"

namespace berth::state {
namespace {

// Being written; and whole, waiting to take its place.
constexpr char kDraft[] = ".salvage", kWhole[] = ".salvaged";
constexpr absl::string_view kAside = ".damaged-";
// The file is the last: as long as it is in its place what was begun is done again.
constexpr const char* kParts[] = {"-journal", "-wal", "-shm", ""};
// More than this was never written by us: a file that pretends to be larger is read up to here.
constexpr off_t kMostBytes = 256 << 20;

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

absl::Status Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return ErrnoError(errno, absl::StrCat("rename '", from, "' to '", to, "'"));
}

absl::Status SyncDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(DirectoryOf(path), O_RDONLY | O_DIRECTORY));
  if (fsync(dir.get()) == 0) return absl::OkStatus();
  return ErrnoError(errno, absl::StrCat("sync '", DirectoryOf(path), "'"));
}

// The bytes of a regular file; zeros where the disk does not give any. Nothing of anything else.
std::string Bytes(const std::string& path) {
  constexpr size_t kBlock = 4096;
  std::string out;
  auto fd = sys::Open(path, O_RDONLY | O_NONBLOCK);
  struct stat st;
  if (!fd.ok() || fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode)) return out;
  out.resize(static_cast<size_t>(std::min(st.st_size, kMostBytes)));
  for (size_t at = 0; at < out.size(); at += kBlock) {
    const size_t size = std::min(kBlock, out.size() - at);
    if (pread(fd->get(), &out[at], size, static_cast<off_t>(at)) < 0) std::fill_n(&out[at], size, '\0');
  }
  return out;
}

// The numbers of what was set aside before.
absl::StatusOr<std::set<int>> Numbers(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(DirectoryOf(path), O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir.get()));
  const std::string prefix = absl::StrCat(path.substr(path.rfind('/') + 1), kAside);
  std::set<int> numbers;
  for (const std::string& name : names) {
    absl::string_view rest = name;
    if (!absl::StartsWith(rest, prefix)) continue;
    rest.remove_prefix(prefix.size());
    int number = 0;
    if (absl::SimpleAtoi(rest.substr(0, rest.find('-')), &number) && number > 0) numbers.insert(number);
  }
  return numbers;
}

void Remove(const std::string& path) {
  for (const char* part : kParts) sys::RemoveTreeAt(AT_FDCWD, path + part).IgnoreError();
}

absl::StatusOr<std::string> SetAside(const std::string& path) {
  ASSIGN_OR_RETURN(std::set<int> numbers, Numbers(path));
  const int next = numbers.empty() ? 1 : *numbers.rbegin() + 1;
  const std::string to = absl::StrCat(path, kAside, next);
  // Before a new file comes there the logs must be gone, or SQLite would play them into it.
  for (const char* part : kParts) {
    absl::Status moved = Rename(path + part, to + part);
    if (!moved.ok() && ErrnoOf(moved) != ENOENT) return moved;
  }
  numbers.insert(next);
  for (; numbers.size() > size_t{kMostDamagedFiles}; numbers.erase(numbers.begin())) {
    Remove(absl::StrCat(path, kAside, *numbers.begin()));
  }
  return to;
}

absl::Status WriteDraft(const std::string& path, const std::vector<SalvagedRow>& rows) {
  Remove(path);
  ASSIGN_OR_RETURN(Database db, Database::Open(path));
  RETURN_IF_ERROR(db.Exec("PRAGMA synchronous=FULL; BEGIN"));
  ASSIGN_OR_RETURN(Statement put, db.Prepare("INSERT OR REPLACE INTO records VALUES (?, ?, ?)"));
  for (const SalvagedRow& row : rows) {
    if (!row.whole) continue;
    const std::string sealed = Seal(row.kind, row.id, row.data);
    sqlite3_bind_int(put.get(), 1, row.kind);
    BindText(put.get(), 2, row.id);
    BindBlob(put.get(), 3, sealed);
    RETURN_IF_ERROR(db.Run(put.get(), "salvage"));
  }
  put.reset();
  return db.Exec("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
}

}  // namespace

absl::Status FinishSalvage(const std::string& path) {
  struct stat st;
  if (lstat((path + kWhole).c_str(), &st) != 0) return absl::OkStatus();
  RETURN_IF_ERROR(SetAside(path));
  RETURN_IF_ERROR(Rename(path + kWhole, path));
  return SyncDirectory(path);
}

absl::StatusOr<std::vector<std::string>> Salvage(const std::string& path, absl::string_view why) {
  const std::vector<SalvagedRow> rows = SalvageRows(Bytes(path), Bytes(path + "-wal"));
  const std::string draft = path + kDraft, whole = path + kWhole;
  absl::Status written = WriteDraft(draft, rows);
  if (written.ok()) {
    // What the log held is in the file now.
    for (const char* part : {"-wal", "-shm"}) unlink((draft + part).c_str());
    written = Rename(draft, whole);
  }
  if (!written.ok()) {
    Remove(draft);
    return Annotate(written, absl::StrCat(why, "; saving what can be read of it"));
  }
  RETURN_IF_ERROR(SyncDirectory(path));
  ASSIGN_OR_RETURN(std::string aside, SetAside(path));
  RETURN_IF_ERROR(Rename(whole, path));
  RETURN_IF_ERROR(SyncDirectory(path));
  const auto saved = std::count_if(rows.begin(), rows.end(), [](const SalvagedRow& row) { return row.whole; });
  std::vector<std::string> report = {absl::StrCat(why, "; set aside as '", aside, "', ", saved, " records were saved")};
  for (const SalvagedRow& row : rows) {
    if (row.whole) continue;
    report.push_back(absl::StrCat("lost: the record of ", row.kind == 0 ? "pod" : "container", " '", row.id, "'"));
  }
  return report;
}

}  // namespace berth::state
