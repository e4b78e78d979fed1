// What a command is given: the global options, where to read and write, and the daemon.
#pragma once

#include <unistd.h>

#include <atomic>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cli/client/cri_client.h"
#include "runtime/base/status.h"

namespace berth::cli {

struct GlobalOptions {
  std::string socket = "/run/berth/berth.sock";
  std::optional<absl::Duration> timeout;
  std::string output = "table";  // table, wide, json
};

struct TerminalSize {
  size_t columns = 80, rows = 24;
};

struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;
  bool in_is_terminal = false;
  std::function<TerminalSize()> err_size = [] { return TerminalSize(); };  // when err is a terminal; now
  // The same, for what is passed on as it comes; nothing is read ahead from `in`.
  int in_fd = STDIN_FILENO, out_fd = STDOUT_FILENO, err_fd = STDERR_FILENO;
  bool out_is_terminal = false;
};

class Session {
 public:
  Session(Streams streams, std::function<const char*(const char*)> getenv) : io(streams), getenv_(std::move(getenv)) {}

  // Connects on the first call.
  absl::StatusOr<CriClient*> Client();
  // The variable, or `fallback` when it is not set or empty.
  std::string Env(const char* name, absl::string_view fallback = "") const;
  bool json() const { return options.output == "json"; }
  bool wide() const { return options.output == "wide"; }

  // From here on a signal does not end the program but interrupts it, because the command has
  // things to undo.
  void UndoOnSignal() { undo_on_signal_ = true; }
  bool undo_on_signal() const { return undo_on_signal_; }
  // What such a signal does, from another thread: calls end with Cancelled, and so do later ones
  // until Resume().
  void Interrupt();
  void Resume();

  // From here on signals do what `handle` does, and nothing else; only SIGTSTP still stops the program afterwards. It
  // runs in another thread, and may be running for a little while after it was replaced. nullptr: as before.
  void HandleSignals(std::function<void(int)> handle);
  // False when none handles it.
  bool Signal(int signal);

  GlobalOptions options;
  Streams io;

 private:
  std::function<const char*(const char*)> getenv_;
  std::atomic<bool> undo_on_signal_ = false;
  absl::Mutex mu_;
  bool interrupted_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<CriClient> client_ ABSL_GUARDED_BY(mu_);
  std::function<void(int)> handle_ ABSL_GUARDED_BY(mu_);
};

// An exit code, or the error that main prints. Errors of UsageError end with code 2, others with 1.
using Action = std::function<absl::StatusOr<int>(Session&)>;

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

absl::Status UsageError(absl::string_view message);
int ExitCodeOf(const absl::Status& status);

}  // namespace berth::cli
