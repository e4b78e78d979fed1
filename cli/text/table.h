// A table for people: columns as wide as their widest cell, two spaces apart, the last column not
// padded.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth::cli {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  // Missing cells are empty, surplus ones are dropped.
  void Add(std::vector<std::string> row);
  // The header is printed also when there are no rows.
  void Print(std::ostream& out) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// `text` with control characters (escape sequences for terminals among them) replaced by '?'. Line
// breaks are kept only if `keep_newlines`. Everything that a server or a file says goes through
// here before it meets a terminal.
std::string Printable(absl::string_view text, bool keep_newlines = false);

// Columns that `text` takes on a terminal, counting one for every UTF-8 character.
size_t DisplayWidth(absl::string_view text);

}  // namespace berth::cli
