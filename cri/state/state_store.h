// Where the daemon keeps what cannot be asked again: one record for each pod and container.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::state {

enum class Kind { kPod, kContainer };

struct Record {
  Kind kind;
  std::string id;
  std::string data;
};

struct Loaded {
  std::vector<Record> records;
  // One line for each thing that could not be read and was set aside; the rest is whole.
  std::vector<std::string> damage;
};

// Thread-safe. A Put or Delete that returned OK survives a kill of the daemon at any instant; after a power cut the
// last ones may be missing, which costs nothing, because no container survives that.
class StateStore {
 public:
  virtual ~StateStore() = default;
  virtual absl::Status Put(Kind kind, absl::string_view id, absl::string_view data) = 0;
  // OK when there is none.
  virtual absl::Status Delete(Kind kind, absl::string_view id) = 0;
  virtual absl::StatusOr<Loaded> Load() = 0;
};

// What `PRAGMA user_version` of the database says when this program wrote it.
inline constexpr int kStateDbVersion = 1;

// SQLite (WAL, synchronous=NORMAL) in the file `path`. A file that is damaged, or no database, is set aside as
// PATH.damaged-N and an empty one is begun; `Load` reports it. FailedPrecondition for a file of a newer version.
absl::StatusOr<std::unique_ptr<StateStore>> OpenSqliteStateStore(absl::string_view path);

}  // namespace berth::state
