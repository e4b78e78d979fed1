// How a container ended, on disk: the one thing of it that outlives both its shim and the daemon.
#pragma once

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "shim/v1/shim.pb.h"

namespace berth::shim {

// Takes the room for a record in `dir`, so that it can be written when the disk, or the memory that /run is made of, is
// full. ResourceExhausted when it is full now: such a container is not begun.
absl::Status ReserveExitRecord(int dir, absl::string_view id);
// The record is there as a whole, or not at all. A message that is too long for the room is cut.
absl::Status WriteExitRecord(int dir, v1::ExitRecord record);
// The record, and the room for it.
void RemoveExitRecord(int dir, absl::string_view id);

}  // namespace berth::shim
