// What a shim knows of one container, and of one exec in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/container/child_report.h"
#include "runtime/container/fd_list.h"
#include "runtime/container/log_file.h"
#include "runtime/container/spawn.h"
#include "runtime/shim/attachments.h"
#include "runtime/shim/output.h"
#include "runtime/shim/seccomp_listener.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"

namespace berth::shim {

// Whom to answer. `connection` may be gone by then.
struct PendingReply {
  uint64_t connection = 0;
  uint64_t seq = 0;
  bool waiting() const { return seq != 0; }
};

struct PodContainer {
  enum class State {
    kCreating,  // the child builds
    kCreated,   // and waits
    kStarting,  // released, not executed yet
    kRunning,
    kEnding,  // reaped; its output has not ended yet
    kExited,  // and its record is written
  };

  uint64_t serial = 0;  // of its events
  std::string id;
  State state = State::kCreating;
  pid_t pid = 0;
  sys::UniqueFd pidfd;
  sys::UniqueFd control;
  sys::UniqueFd stdin_fd;  // write end; invalid for a terminal
  OutputStream out, err;
  Attachments attachments;
  SeccompListener seccomp;
  container::LogFile log;
  size_t max_log_line = container::CriLogEncoder::kDefaultContent;
  std::vector<sys::UniqueFd> kept_fds;  // what `cgroup` names
  container::CgroupFds cgroup;
  bool own_pid_namespace = false;  // all its processes die with its first
  bool host_pid_namespace = false;
  bool terminal = false;
  bool input_open = false;  // clients may write to it
  bool stdin_once = false;  // the first client with input ends it
  bool remove_when_dead = false;
  int oom_score_adj = 0;
  uint64_t oom_kills_before = 0;
  int64_t created_at = 0;
  uint64_t clone_nanoseconds = 0;
  uint64_t record_deadline = 0;  // monotonic ns; in kEnding
  v1::ExitRecord record;
  absl::Status start_error;
  PendingReply create_reply, start_reply, remove_reply;

  // Reaped; kEnding begins when the control socket has ended too.
  std::optional<sys::ExitStatus> exit_status;
  bool reaped() const { return exit_status.has_value(); }
};

struct ExecProcess {
  uint64_t id = 0;          // and serial of its events
  uint64_t connection = 0;  // of the daemon that takes its output
  uint64_t container = 0;
  pid_t container_pid = 0;
  pid_t pid = 0;
  sys::UniqueFd pidfd;
  sys::UniqueFd control;
  sys::UniqueFd terminal;  // the master, until the daemon gets it
  SeccompListener seccomp;
  bool running = false;  // the program was executed
  bool timed_out = false;
  uint64_t deadline = 0;  // monotonic ns; 0 = none
  uint64_t kill_at = 0;   // of one that was asked to end; monotonic ns, 0 = never
  int oom_fd = -1;        // the container's
  uint64_t oom_kills_before = 0;
  std::optional<sys::ExitStatus> exit_status;  // reaped, but the control socket has not ended yet
  absl::Status error;
  PendingReply reply;
};

}  // namespace berth::shim
