// What can still be read of a database file that SQLite refuses: every page is looked at by itself, so that a damaged
// one costs the rows that lie on it and no others. Source: sqlite.org/fileformat2.html.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth::state {

// A row of the table `records`.
struct SalvagedRow {
  int kind;
  std::string id;
  std::string data;  // without its seal; empty unless whole
  bool whole;        // false: its id is known, its content is lost
};

// `db` and `wal` are the bytes of the two files, whatever they are by now; of the log what counts is the part up to the
// last transaction that is whole. One row for each kind and id. Any input is fit: this never fails, it finds less.
std::vector<SalvagedRow> SalvageRows(absl::string_view db, absl::string_view wal);

}  // namespace berth::state
