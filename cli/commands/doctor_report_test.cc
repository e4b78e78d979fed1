#include "cli/commands/doctor_report.h"

#include <filesystem>
#include <sstream>

#include "cli/testing/app_fixture.h"

namespace berth::cli {
namespace {

using doctor::Act;
using doctor::Severity;
using ::testing::HasSubstr;
using ::testing::Not;

doctor::Diagnosis Sick() {
  doctor::Diagnosis d;
  d.daemon = 812;
  d.findings = {{"kernel", Severity::kOk, "6.1", "Linux 6.1"},
                {"state.db", Severity::kWarning, "/x", "set aside in /x", "remove it"},
                {"layers",
                 Severity::kProblem,
                 "abc",
                 "writable layer abc\033[2J",
                 "remove it",
                 {{Act::kRemoveSnapshot, "abc", "remove layer abc"}}},
                {"shims", Severity::kProblem, "def", "shim 7", "remove it", {{Act::kEndShim, "def", "end shim 7"}}}};
  return d;
}

std::string Printed(const doctor::Diagnosis& d, bool colour = false) {
  std::ostringstream out;
  PrintDiagnosis(d, colour, out);
  return out.str();
}

TEST(DoctorReportTest, ATableItsSumAndThePlanInItsOrder) {
  EXPECT_EQ(Printed(Sick()),
            "ok       kernel    Linux 6.1\n"
            "warning  state.db  set aside in /x\n"
            "                   -> remove it\n"
            "PROBLEM  layers    writable layer abc?[2J\n"
            "                   -> remove it\n"
            "PROBLEM  shims     shim 7\n"
            "                   -> remove it\n"
            "\n2 problems, 1 warning\n"
            "\nWhat berth doctor --repair does:\n"
            "  1. end shim 7\n"
            "  2. remove layer abc\n");
  EXPECT_THAT(Printed(Sick(), true), HasSubstr("\033[1;31mPROBLEM\033[0m  shims"));
  doctor::Diagnosis well = Sick();
  well.findings.resize(2);
  EXPECT_THAT(Printed(well), HasSubstr("\nhealthy, 1 warning\n"));
  EXPECT_THAT(Printed(well), Not(HasSubstr("--repair")));
}

TEST(DoctorReportTest, Json) {
  const RepairLog log = {{"end shim 7", absl::OkStatus()}, {"remove layer abc", absl::InternalError("busy")}};
  const berth::Json json = DoctorJson(Sick(), &log);
  EXPECT_EQ(json["healthy"], false);
  EXPECT_EQ(json["daemonPid"], 812);
  EXPECT_EQ(json["findings"][2]["severity"], "problem");
  EXPECT_EQ(json["plan"], (berth::Json{"end shim 7", "remove layer abc"}));
  EXPECT_EQ(json["done"][0]["error"], nullptr);
  EXPECT_EQ(json["done"][1]["error"], "busy");
  EXPECT_FALSE(DoctorJson(Sick(), nullptr).contains("done"));
}

TEST_F(AppTest, DoctorTellsWhetherTheDaemonAnswers) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string config = Write(
      "config.toml", absl::StrCat("root = '", directory_, "/r'\nstate = '", directory_, "/s'\ncgroup_parent = '/none-",
                                  getpid(), "'\nnetwork.mode = 'embedded'\nnetwork.bridge = 'none0'\n"));
  Run({"doctor", "--config", config});
  EXPECT_THAT(out_, HasSubstr(absl::StrCat(") answers at ", fake_.socket()))) << err_;
  fake_.failures["Version"] = {14, "asleep", 0};
  EXPECT_EQ(Run({"doctor", "--config", config}), 1);
  EXPECT_THAT(out_, HasSubstr("does not answer: "));
  EXPECT_EQ(Run({"doctor", "--config", config, "--repair", "--yes"}), 2);
  EXPECT_EQ(Run({"doctor", "--config", directory_ + "/missing.toml"}), 2);
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/r")) << "a look made it";
}

}  // namespace
}  // namespace berth::cli
