#include "cri/doctor/doctor.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/strings/ascii.h"
#include "cli/commands/commands.h"
#include "cli/commands/doctor_report.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

constexpr absl::Duration kAnswerTime = absl::Seconds(5);

struct Options {
  daemon::Flags flags;
  bool images = false, repair = false, yes = false;
};

absl::StatusOr<doctor::Diagnosis> Look(const daemon::Config& config, const Options& options) {
  doctor::Options how;
  how.images = options.images;
  how.ask = [](const std::string& socket) -> absl::Status {
    ASSIGN_OR_RETURN(auto client, CriClient::Connect(socket, kAnswerTime));
    return client->Version().status();
  };
  return doctor::Diagnose(config, how);
}

bool IsConfirmed(Session& session) {
  session.io.err << "Do this? [y/N] " << std::flush;
  std::string answer;
  std::getline(session.io.in, answer);
  absl::AsciiStrToLower(&answer);
  return answer == "y" || answer == "yes";
}

void Print(const doctor::Diagnosis& diagnosis, const RepairLog* log, Session& session) {
  if (session.json()) {
    session.io.out << DumpJson(DoctorJson(diagnosis, log), 2) << "\n";
  } else {
    PrintDiagnosis(diagnosis, session.io.out_is_terminal, session.io.out);
  }
}

// Looks again when it holds the directories: what is done is what is there then.
absl::StatusOr<int> RepairAll(const daemon::Config& config, const Options& options, Session& session) {
  if (!session.io.in_is_terminal && !options.yes) {
    return absl::InvalidArgumentError("--repair asks before it acts: run it at a terminal, or with --yes");
  }
  auto repair = doctor::Repair::Begin(config);
  if (absl::IsFailedPrecondition(repair.status())) {
    return Annotate(repair.status(), "a daemon does this itself: stop it first, or restart it instead");
  }
  RETURN_IF_ERROR(repair);
  ASSIGN_OR_RETURN(doctor::Diagnosis before, Look(config, options));
  const std::vector<doctor::Step> plan = doctor::PlanOf(before.findings);
  RepairLog log;
  std::ostream& report = session.json() ? session.io.err : session.io.out;
  PrintDiagnosis(before, session.io.out_is_terminal && !session.json(), report);
  if (!plan.empty() && (options.yes || IsConfirmed(session))) {
    size_t number = 0;
    (void)repair->Do(plan, [&](const doctor::Step& step, const absl::Status& status) {
      log.push_back({step.words, status});
      report << ++number << ". " << Printable(step.words) << ": "
             << (status.ok() ? "done" : Printable(status.message())) << std::endl;
    });
    ASSIGN_OR_RETURN(doctor::Diagnosis after, Look(config, options));
    if (!session.json()) report << "\nAfterwards:\n";
    Print(after, &log, session);
    return after.healthy() ? kExitOk : kExitFailure;
  }
  if (session.json()) Print(before, &log, session);
  if (!plan.empty()) session.io.err << "berth: doctor: nothing was changed\n";
  return before.healthy() ? kExitOk : kExitFailure;
}

absl::StatusOr<int> Examine(const Options& options, Session& session) {
  if (geteuid() != 0) return absl::PermissionDeniedError("only root can see all of it");
  daemon::Flags flags = options.flags;
  if (session.options.socket != GlobalOptions().socket) flags.socket = session.options.socket;
  ASSIGN_OR_RETURN(daemon::Config config, daemon::Configure(flags), "configuration");
  config = doctor::WithRealPaths(std::move(config));
  if (options.repair) return RepairAll(config, options, session);
  ASSIGN_OR_RETURN(doctor::Diagnosis diagnosis, Look(config, options));
  Print(diagnosis, nullptr, session);
  return diagnosis.healthy() ? kExitOk : kExitFailure;
}

// Not 1, which says that something was found.
absl::StatusOr<int> Doctor(const Options& options, Session& session) {
  absl::StatusOr<int> code = Examine(options, session);
  if (code.ok()) return code;
  session.io.err << "berth: doctor: " << Printable(code.status().message(), true) << "\n";
  return kExitUsage;
}

}  // namespace

void AddDoctor(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("doctor", "Check this machine and what berth left on it, also without the daemon");
  auto options = std::make_shared<Options>();
  daemon::AddDirectoryFlags(*command, options->flags);
  command->add_flag("--images", options->images, "Also read every layer and document, and compare digests");
  command->add_flag("--repair", options->repair,
                    "Print a plan, ask, and remove what nothing owns; without a daemon only");
  command->add_flag("-y,--yes", options->yes, "With --repair: do not ask")->needs("--repair");
  command->footer(
      "Exit codes: 0 healthy, 1 problems found, 2 could not check.\n"
      "Examples:\n  berth doctor\n  berth doctor --images -o json\n  systemctl stop berthd && berth doctor --repair");
  command->callback([options, &action] { action = [options](Session& session) { return Doctor(*options, session); }; });
}

}  // namespace berth::cli
