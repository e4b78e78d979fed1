// Running a foreign program (a CNI plugin, a hook) from a process with many threads and a large heap. posix_spawn(3)
// shares the address space with the child until exec, so its cost does not grow with the heap, and no lock of ours is
// copied in a locked state.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

struct SpawnRequest {
  std::string path;               // the program, used as given: no search in PATH
  std::vector<std::string> argv;  // argv[0] included
  std::vector<std::string> env;   // the whole environment but for BERTH_SPAWN, KEY=VALUE
  std::string input;              // what the program reads from its stdin
  std::string cwd = "/";
  size_t stdout_limit = 1 << 20;   // bytes; more is an error
  bool cut_stdout = false;         // it is none: what is beyond the limit is dropped
  size_t stderr_limit = 64 << 10;  // bytes; what is beyond it is dropped
  absl::Duration timeout = absl::Seconds(60);
  int cancel = -1;  // a descriptor: once it is readable, the program is not waited for any more
};

struct SpawnResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out, err;
  bool ok() const { return exit_code == 0; }
};

// Runs the program and waits for it. The child starts with default signal dispositions, no blocked signal, its own
// process group, umask and credentials of the caller, and no descriptor but 0, 1 and 2.
// Its environment has one entry more than was given, BERTH_SPAWN with a number of this call, by which what it started
// is found. An exit code other than 0 is a result, not an error, and what a child that ended left behind goes on.
// Errors, with the child and all that it started killed (family.h) and the child reaped: Cancelled; DeadlineExceeded
// after `timeout`; ResourceExhausted when stdout exceeds its limit (unless it is cut); the errno of a failed spawn
// (ENOENT, EACCES, ENOEXEC). A child that SIGKILL does not end within 2 s, because the kernel holds it, is left to a
// thread that reaps it later. Needs that nobody else reaps the process's children (waitpid(-1)). Thread-safe.
absl::StatusOr<SpawnResult> Spawn(const SpawnRequest& request);

// A child that waits and does nothing else: something that has a pid, for as long as one is needed. Its stdin is a pipe
// of ours, so a program that ends at the end of its input ends with this process too, however that ends.
class IdleChild {
 public:
  // Runs `path` with `argv` and an empty environment. The errno of a failed spawn. As with Spawn, nobody else may reap.
  static absl::StatusOr<IdleChild> Start(const std::string& path, const std::vector<std::string>& argv);

  IdleChild(IdleChild&& other) noexcept : pid_(other.pid_), input_(std::move(other.input_)) { other.pid_ = 0; }
  IdleChild& operator=(IdleChild&&) = delete;
  // Kills and reaps it.
  ~IdleChild();
  pid_t pid() const { return pid_; }

 private:
  IdleChild(pid_t pid, UniqueFd input) : pid_(pid), input_(std::move(input)) {}
  pid_t pid_;
  UniqueFd input_;
};

}  // namespace berth::sys
