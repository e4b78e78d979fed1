// A checksum in a record, for a disk that gives back something else than was written: SQLite has none of its own.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace berth::state {

// The record as it is stored: the CRC-32 of kind, id and data, in front of the data in the guise of a protobuf field
// that no message has (number 1000, fixed32). A daemon that knows nothing of seals therefore reads the record; when it
// writes the record again the field goes to the end, where it counts for nothing.
std::string Seal(int kind, absl::string_view id, absl::string_view data);

struct Unsealed {
  std::string data;
  bool whole;
};
// A record without a seal is one of a former daemon if it begins as all of those do: with its id, as field 1.
Unsealed Unseal(int kind, absl::string_view id, absl::string_view stored);

}  // namespace berth::state
