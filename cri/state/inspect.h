// state.db as one finds it, for whoever looks at it without the daemon: nothing is repaired, nothing is changed.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::state {

// A row, whatever its kind.
struct RawRecord {
  int kind = 0;
  std::string id;
  std::string data;   // without its seal
  bool whole = true;  // it is what was stored
};

struct Inspection {
  bool exists = false;
  int version = 0;     // of the schema
  bool newer = false;  // than this program knows: nothing was read
  std::vector<RawRecord> records;
  // What the database says is wrong with itself; the records are then not all there are.
  std::vector<std::string> damage;
};

// Of the database at `path`. With `in_use` by a daemon it is read in place, beside it; else a copy is read, for SQLite
// cannot read a journal that was left without working on it. Errors are those of the files and of a database that is
// locked; damage is none.
absl::StatusOr<Inspection> InspectStateDb(const std::string& path, bool in_use);

// The files that were once set aside: PATH.damaged-N.
std::vector<std::string> DamagedFilesBeside(const std::string& path);

}  // namespace berth::state
