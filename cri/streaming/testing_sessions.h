// For tests: sessions that are real but small, in the place of those that speak to a backend. What comes is sent back.
#pragma once

#include <string>
#include <vector>

#include "cri/streaming/session.h"

namespace berth::streaming::testing {

// What RunSpdy, RunCommand and Forward were called with: "spdy PROTOCOL", "command json in out", "forward 80".
std::vector<std::string> SessionsSeen();
// Waits until `count` sessions have been begun since the last call; false after five seconds.
bool AwaitSessions(size_t count);
// Sessions that live.
int LiveSessions();

// A context whose backend answers nothing and whose pool runs nothing.
SessionContext NoBackend();

}  // namespace berth::streaming::testing
