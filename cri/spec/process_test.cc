#include "cri/spec/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace berth::spec {
namespace {

using state::v1::ContainerSpec;
using testing::Contains;
using testing::ElementsAre;
using testing::Not;

ContainerSpec Spec(std::vector<std::string> command, std::vector<std::string> args) {
  ContainerSpec spec;
  for (auto& c : command) spec.add_command(c);
  for (auto& a : args) spec.add_args(a);
  return spec;
}

TEST(MergeCommand, RequestReplacesTheImageByKubernetesRules) {
  image::ImageConfig image;
  image.entrypoint = {"entry", "-e"};
  image.cmd = {"cmd"};
  EXPECT_THAT(*MergeCommand(Spec({}, {}), image), ElementsAre("entry", "-e", "cmd"));
  EXPECT_THAT(*MergeCommand(Spec({}, {"a"}), image), ElementsAre("entry", "-e", "a"));
  EXPECT_THAT(*MergeCommand(Spec({"c"}, {}), image), ElementsAre("c"));
  EXPECT_THAT(*MergeCommand(Spec({"c"}, {"a"}), image), ElementsAre("c", "a"));
  EXPECT_EQ(MergeCommand(Spec({}, {}), {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(MergeCommand(Spec({""}, {"a"}), {}).ok());
  EXPECT_THAT(*MergeCommand(Spec({}, {"only", "args"}), {}), ElementsAre("only", "args"));
}

TEST(MergeEnv, LaterValuesReplaceEarlierOnes) {
  image::ImageConfig image;
  image.env = {"PATH=/image", "A=image", "EMPTY=", "BARE"};
  ContainerSpec spec;
  auto* e = spec.add_envs();
  e->set_key("A");
  e->set_value("request=\xff");
  EXPECT_THAT(MergeEnv(spec, image, "web", "/root"),
              ElementsAre("HOSTNAME=web", "PATH=/image", "A=request=\xff", "EMPTY=", "BARE=", "HOME=/root"));
}

TEST(MergeEnv, DefaultsOnlyWhereNobodySetThem) {
  ContainerSpec spec;
  spec.set_tty(true);
  EXPECT_THAT(MergeEnv(spec, {}, "h", "/"), Contains("TERM=xterm"));
  EXPECT_THAT(MergeEnv(spec, {}, "h", "/"), Contains(testing::StartsWith("PATH=/usr/local/sbin:")));
  auto* e = spec.add_envs();
  e->set_key("TERM");
  e->set_value("dumb");
  EXPECT_THAT(MergeEnv(spec, {}, "h", ""), Not(Contains("TERM=xterm")));
  EXPECT_THAT(MergeEnv(spec, {}, "h", ""), Not(Contains(testing::StartsWith("HOME="))));
}

TEST(WorkingDir, RequestThenImageThenRoot) {
  ContainerSpec spec;
  image::ImageConfig image;
  EXPECT_EQ(WorkingDir(spec, image), "/");
  image.working_dir = "/app";
  EXPECT_EQ(WorkingDir(spec, image), "/app");
  spec.set_working_dir("/w");
  EXPECT_EQ(WorkingDir(spec, image), "/w");
}

TEST(Signals, NamesAndNumbers) {
  EXPECT_EQ(*ParseSignal(""), SIGTERM);
  for (const char* s : {"SIGQUIT", "quit", "3", "sigquit"}) EXPECT_EQ(*ParseSignal(s), SIGQUIT) << s;
  EXPECT_EQ(*ParseSignal("SIGIOT"), SIGABRT);
  EXPECT_EQ(*ParseSignal("SIGPOLL"), SIGIO);
  EXPECT_EQ(*ParseSignal("SIGRTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(*ParseSignal("RTMAX-1"), SIGRTMAX - 1);
  for (const char* s : {"0", "-1", "999", "SIGNOPE", "SIG", "SIGRTMIN+99", "SIGRTMIN3", "9x"})
    EXPECT_FALSE(ParseSignal(s).ok()) << s;
  EXPECT_EQ(SignalName(SIGTERM), "SIGTERM");
  EXPECT_EQ(SignalName(SIGRTMIN + 3), "SIGRTMIN+3");
  EXPECT_EQ(SignalName(SIGRTMIN + 15), "SIGRTMIN+15");
  EXPECT_EQ(SignalName(SIGRTMIN + 16), "SIGRTMAX-14");
  EXPECT_EQ(SignalName(SIGRTMAX), "SIGRTMAX");
  for (int n = 1; n <= SIGRTMAX; ++n) {
    if (n >= 32 && n < SIGRTMIN) continue;  // the C library's own
    EXPECT_EQ(*ParseSignal(SignalName(n)), n);
  }
}

}  // namespace
}  // namespace berth::spec
