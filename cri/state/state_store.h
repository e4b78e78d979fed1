// Where the daemon keeps what cannot be asked again: one record for each pod and container.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::state {

// kDetach: a pod that is gone, whose network has still to be told; its data is the pod's record. Numbers are stored.
enum class Kind { kPod = 0, kContainer = 1, kDetach = 2 };

struct Record {
  Kind kind;
  std::string id;
  std::string data;
};

struct Loaded {
  std::vector<Record> records;
  // One line for each thing that could not be read and was set aside, told once, and for each row of a newer
  // daemon's; the rest is whole.
  std::vector<std::string> damage;
};

// Thread-safe. A Put or Delete that returned OK survives a kill of the daemon at any instant; after a power cut the
// last ones may be missing, which costs nothing, because no container survives that. One that failed changed nothing.
// ResourceExhausted: the disk is full.
class StateStore {
 public:
  virtual ~StateStore() = default;
  // A new record is refused before the disk is quite full, so that those that are there can be changed and deleted.
  virtual absl::Status Put(Kind kind, absl::string_view id, absl::string_view data) = 0;
  // OK when there is none.
  virtual absl::Status Delete(Kind kind, absl::string_view id) = 0;
  virtual absl::StatusOr<Loaded> Load() = 0;
  // Of a record that was loaded and means nothing: it is kept for whoever wants to look, and never loaded again. Of
  // those kept, only the last 100.
  virtual absl::Status SetAside(Kind kind, absl::string_view id, absl::string_view why) = 0;
};

// What `PRAGMA user_version` of the database says when this program wrote it.
inline constexpr int kStateDbVersion = 1;

// SQLite (WAL, synchronous=NORMAL) in the file `path`. One that is damaged, or is no database, is set aside as
// PATH.damaged-N, and what can be read of it is taken over; `Load` reports it. FailedPrecondition for a file of a newer
// version, or one that cannot be written.
absl::StatusOr<std::unique_ptr<StateStore>> OpenSqliteStateStore(absl::string_view path);

}  // namespace berth::state
