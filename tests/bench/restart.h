// A daemon that is killed while many pods run, and started again: how long nobody can ask it anything.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "tests/bench/side.h"

namespace berth::bench {

struct Restarted {
  std::string endpoint;
  // A program that becomes the daemon and writes its pid to SCRIPT.pid before.
  std::string script;
};

// Runs `count` pods of one container each on the side, several at the same time.
absl::Status RunMany(Side& side, int count);

// Kills the daemon (SIGKILL) and starts it again. Adds restart: from the start of the new process until both lists, of
// pods and of containers, are what they were before, all pods ready and all containers running; restart_answer: until
// it answers anything; restart_cpu: what the new process has used by then; restart_memory: its PSS then.
// DeadlineExceeded after two minutes, with what the lists lack.
absl::Status RunRestart(Side& side, const Restarted& restarted, int count);

}  // namespace berth::bench
