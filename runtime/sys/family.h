// Ending a program with all that it started, also where that went its own way: into a session of its own, or away from
// a parent that ended.
#pragma once

#include <sys/types.h>

#include "absl/strings/string_view.h"

namespace berth::sys {

// Sends SIGKILL to `leader` (0: there is none), to its process group, to their descendants, and to every process whose
// environment holds the entry `mark` (KEY=VALUE, unique to this program) with its descendants. They are stopped first,
// so that none of them starts another meanwhile. Reaps nothing. What has emptied its environment, left the group and
// lost its parent is not found; neither is what starts others faster than they can be counted. Reads all of /proc: not
// for a hot path.
void KillFamily(pid_t leader, absl::string_view mark);

}  // namespace berth::sys
