// Looks at berth from outside: works while the daemon is down, and beside it without its noticing. First everything is
// looked at, then a plan is made; what it says is done only by Repair, and only where no daemon is.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cri/daemon/command_line.h"
#include "cri/daemon/config.h"
#include "cri/daemon/parts.h"
#include "cri/doctor/finding.h"
#include "runtime/base/status.h"

namespace berth::doctor {

struct Options {
  bool images = false;  // also read every document and layer of the image store to its end
  // Asks the daemon at a socket for anything; OK when it answered. Empty: it is not asked.
  std::function<absl::Status(const std::string& socket)> ask;
};

struct Diagnosis {
  std::optional<pid_t> daemon;    // that runs on these directories; 0: one that does not tell its pid
  std::vector<Finding> findings;  // every check says something

  bool healthy() const;  // no problem; there may be warnings
};

// `root` and `state` as the kernel names them, without links on the way: so that they can be compared with what it
// says.
daemon::Config WithRealPaths(daemon::Config config);

// Changes nothing. Takes the rights of root. Errors: what must be readable is not, and nothing can be said.
absl::StatusOr<Diagnosis> Diagnose(const daemon::Config& config, const Options& options);

// While one lives, no daemon starts on these directories.
class Repair {
 public:
  // FailedPrecondition names the process that has them.
  static absl::StatusOr<Repair> Begin(const daemon::Config& config);
  // Does the steps, all of them whatever becomes of one, and tells of each. Each is idempotent. The first error.
  absl::Status Do(const std::vector<Step>& plan, const std::function<void(const Step&, const absl::Status&)>& done);

 private:
  Repair(const daemon::Config& config, daemon::Claim claim) : config_(config), claim_(std::move(claim)) {}
  daemon::Config config_;
  daemon::Claim claim_;
};

}  // namespace berth::doctor
