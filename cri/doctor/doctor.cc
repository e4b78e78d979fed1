#include "cri/doctor/doctor.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>

#include "absl/time/clock.h"
#include "cri/doctor/judge.h"
#include "cri/doctor/machine.h"
#include "cri/doctor/records.h"
#include "cri/doctor/repairer.h"
#include "cri/doctor/world.h"
#include "cri/state/inspect.h"
#include "image/store.h"
#include "runtime/sys/file_lock.h"
#include "runtime/sys/unix_socket.h"

namespace berth::doctor {
namespace {

// From one look at what a daemon may be making or removing to the next.
constexpr absl::Duration kBetweenLooks = absl::Seconds(1);

std::string RealPath(const std::string& path) {
  std::unique_ptr<char, void (*)(void*)> real(realpath(path.c_str(), nullptr), free);
  return real ? real.get() : path;
}

// Who listens at the socket; none when nobody does.
std::optional<pid_t> Listener(const std::string& socket) {
  auto connection = sys::ConnectStream(socket);
  if (!connection.ok()) return std::nullopt;
  auto peer = sys::PeerCredentials(connection->get());
  return peer.ok() ? peer->pid : 0;
}

// The daemon of these directories. One that is older than the lock is known by its socket.
absl::StatusOr<std::optional<pid_t>> FindDaemon(const daemon::Config& config) {
  for (const std::string& directory : {config.root, config.state}) {
    ASSIGN_OR_RETURN(std::optional<pid_t> holder, sys::HolderOfLock(daemon::ClaimFile(directory)));
    if (holder && *holder != getpid()) return holder;
  }
  return Listener(config.socket);
}

void CheckDaemon(const daemon::Config& config, const Options& options, std::optional<pid_t> daemon,
                 std::vector<Finding>& out) {
  const char* check = "daemon";
  if (!daemon) {
    out.push_back({check, Severity::kOk, config.socket, "none runs on these directories", ""});
    struct stat st;
    if (lstat(config.socket.c_str(), &st) == 0 && S_ISSOCK(st.st_mode)) {
      out.push_back({check,
                     Severity::kWarning,
                     config.socket,
                     absl::StrCat(config.socket, ": a socket at which nobody listens"),
                     "remove it",
                     {{Act::kRemoveFile, config.socket, absl::StrCat("remove socket ", config.socket)}}});
    }
    return;
  }
  const std::string who = sys::DescribeProcess(*daemon);
  absl::Status answers = options.ask ? options.ask(config.socket) : absl::OkStatus();
  if (answers.ok()) {
    out.push_back({check, Severity::kOk, config.socket, absl::StrCat(who, " answers at ", config.socket), ""});
  } else {
    out.push_back({check, Severity::kProblem, config.socket,
                   absl::StrCat(who, " has these directories, but does not answer: ", answers.message()),
                   "look at its log; restart it: pods go on"});
  }
}

// Nobody but root may write into these, or anything with some of them.
void CheckPermissions(const daemon::Config& config, std::vector<Finding>& out) {
  const struct {
    std::string path;
    mode_t forbidden;
  } wanted[] = {{config.root, 0022},
                {config.state, 0022},
                {config.state + "/pods", 0022},
                {config.root + "/images", 0077},
                {config.root + "/state.db", 0022},
                {config.socket, 0077}};
  for (const auto& [path, forbidden] : wanted) {
    struct stat st;
    if (lstat(path.c_str(), &st) != 0) continue;
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", st.st_mode & 07777);
    if (st.st_uid != 0) {
      out.push_back({"permissions", Severity::kProblem, path, absl::StrCat(path, " belongs to uid ", st.st_uid),
                     "give it to root"});
    } else if ((st.st_mode & forbidden) != 0) {
      out.push_back(
          {"permissions",
           Severity::kProblem,
           path,
           absl::StrCat(path, " has mode ", mode, ": others may ", forbidden == 0022 ? "write" : "read or write"),
           "close it to others",
           {{forbidden == 0022 ? Act::kCloseToWriters : Act::kCloseToOthers, path,
             absl::StrCat("close ", path, " to others")}}});
    }
  }
  AddUntroubled("permissions", "root, state, images, state.db, socket", out);
}

absl::Status CheckImages(const daemon::Config& config, bool digests, std::vector<Finding>& out) {
  ASSIGN_OR_RETURN(image::Inspection found, image::Inspect(config.root + "/images", digests), "images");
  for (const std::string& damage : found.damage) {
    out.push_back({"images", Severity::kProblem, damage, damage, "remove and pull again the images that have it"});
  }
  AddUntroubled("images",
                absl::StrCat("layers: ", found.layers, ", documents: ", found.documents,
                             digests ? ", whole by their digests" : "; not read (--images)"),
                out);
  return absl::OkStatus();
}

// The cgroups in which recorded pods have theirs. Those that kubelet makes for one pod alone are ours to judge.
std::set<std::string> ParentsOf(const Records& records) {
  std::set<std::string> parents;
  for (const auto& [id, pod] : records.pods) {
    const std::string& path = pod.cgroup_path();
    if (const size_t slash = path.rfind('/'); slash != std::string::npos && slash > 0)
      parents.insert(path.substr(0, slash));
  }
  return parents;
}

class Examination {
 public:
  Examination(const daemon::Config& config, bool daemon)
      : config_(config), daemon_(daemon), state_db_(config.root + "/state.db") {}

  absl::StatusOr<std::vector<Finding>> Run() {
    ASSIGN_OR_RETURN(std::vector<Finding> findings, Look());
    const bool suspicion =
        std::any_of(findings.begin(), findings.end(), [](const Finding& f) { return f.severity != Severity::kOk; });
    if (!daemon_ || !suspicion) return Finish(std::move(findings));
    // What was being made or removed is another thing a moment later.
    absl::SleepFor(kBetweenLooks);
    ASSIGN_OR_RETURN(std::vector<Finding> again, Look());
    return Finish(SeenTwice(findings, again));
  }

 private:
  // The records before and after: whatever was there in between has one in either, unless it has none.
  absl::StatusOr<std::vector<Finding>> Look() {
    ASSIGN_OR_RETURN(state::Inspection before, state::InspectStateDb(state_db_, daemon_));
    Records records = ParseRecords(before);
    world_ = ReadWorld(config_, ParentsOf(records));
    if (daemon_) {
      ASSIGN_OR_RETURN(before, state::InspectStateDb(state_db_, daemon_));
      records = Union(ParseRecords(before), records);
    }
    std::vector<Finding> findings = JudgeRecords(before, records, state_db_, state::DamagedFilesBeside(state_db_));
    for (Finding& finding : JudgeWorld(records, world_, {.daemon = daemon_, .now = absl::Now()})) {
      findings.push_back(std::move(finding));
    }
    records_ = std::move(records);
    return findings;
  }

  std::vector<Finding> Finish(std::vector<Finding> findings) const {
    auto all_have = [](size_t n) { return n == 0 ? "none" : absl::StrCat(n, ", each with a record"); };
    AddUntroubled("records", absl::StrCat("pods: ", records_.pods.size(), ", containers: ", records_.containers.size()),
                  findings);
    AddUntroubled("pods", "those that are ready have a shim", findings);
    AddUntroubled("shims", all_have(world_.shims.size()), findings);
    AddUntroubled("directories", all_have(world_.directories.size()), findings);
    AddUntroubled("namespaces", all_have(world_.pins.size()), findings);
    AddUntroubled("cgroups", all_have(world_.cgroups.size()), findings);
    AddUntroubled("mounts", all_have(world_.mounts.size()), findings);
    AddUntroubled("network", "leases, links and CNI results: " + all_have(world_.network.size()), findings);
    AddUntroubled("layers", "writable layers: " + all_have(world_.snapshots.size()), findings);
    return findings;
  }

  const daemon::Config& config_;
  const bool daemon_;
  const std::string state_db_;
  Records records_;
  World world_;
};

}  // namespace

bool Diagnosis::healthy() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& f) { return f.severity == Severity::kProblem; });
}

daemon::Config WithRealPaths(daemon::Config config) {
  config.root = RealPath(config.root);
  config.state = RealPath(config.state);
  return config;
}

absl::StatusOr<Diagnosis> Diagnose(const daemon::Config& config, const Options& options) {
  Diagnosis out;
  ASSIGN_OR_RETURN(out.daemon, FindDaemon(config));
  out.findings = JudgeMachine(ReadMachine(config, out.daemon.value_or(0)), config);
  CheckDaemon(config, options, out.daemon, out.findings);
  CheckPermissions(config, out.findings);
  ASSIGN_OR_RETURN(std::vector<Finding> examined, Examination(config, out.daemon.has_value()).Run());
  for (Finding& finding : examined) out.findings.push_back(std::move(finding));
  RETURN_IF_ERROR(CheckImages(config, options.images, out.findings));
  if (out.daemon) {
    for (Finding& finding : out.findings) finding.steps.clear();
  }
  return out;
}

absl::StatusOr<Repair> Repair::Begin(const daemon::Config& config) {
  for (const std::string& directory : {config.root, config.state}) {
    struct stat st;
    if (stat(directory.c_str(), &st) != 0) return ErrnoError(errno, absl::StrCat("directory '", directory, "'"));
  }
  ASSIGN_OR_RETURN(daemon::Claim claim, daemon::ClaimDirectories(config));
  // A daemon that is older than the lock holds its socket.
  if (auto pid = Listener(config.socket)) {
    return absl::FailedPreconditionError(absl::StrCat(sys::DescribeProcess(*pid), " listens at ", config.socket));
  }
  return Repair(config, std::move(claim));
}

absl::Status Repair::Do(const std::vector<Step>& plan,
                        const std::function<void(const Step&, const absl::Status&)>& done) {
  ASSIGN_OR_RETURN(auto repairer, Repairer::Open(config_));
  absl::Status first;
  for (const Step& step : plan) {
    const absl::Status status = repairer->Do(step);
    done(step, status);
    first.Update(status);
  }
  return first;
}

}  // namespace berth::doctor
