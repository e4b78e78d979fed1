#include "image/trust/verifier_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "runtime/base/id.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kDigest = "sha256:" + std::string(64, 'a');

class VerifierDirTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = absl::StrCat(::testing::TempDir(), "berth-verifiers-", getpid(), "-", RandomHexId().substr(0, 8));
    ASSERT_TRUE(sys::MakeDirs(dir_ + "/bin", 0755).ok());
  }
  void TearDown() override { sys::RemoveTreeAt(AT_FDCWD, dir_).IgnoreError(); }

  // A shell script; $OUT is a directory for what it has to tell.
  void Add(const std::string& name, const std::string& script) {
    const std::string path = dir_ + "/bin/" + name;
    std::ofstream(path) << "#!/bin/sh\nOUT='" << dir_ << "'\n" << script << "\n";
    ASSERT_EQ(chmod(path.c_str(), 0755), 0);
  }
  absl::Status Ask(int most = 10, absl::Duration timeout = absl::Seconds(20)) {
    return AskVerifiers({dir_ + "/bin", most, timeout}, {"r.io/a:1", kDigest, "application/x", 123});
  }
  std::string Refusal() {
    absl::Status status = Ask();
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
    return std::string(status.message());
  }
  std::string Told(const std::string& name) {
    auto text = sys::ReadFile(dir_ + "/" + name);
    return text.ok() ? *text : std::string(text.status().message());
  }

  std::string dir_;
};

TEST_F(VerifierDirTest, NoneIsNoObjection) {
  EXPECT_TRUE(Ask().ok());
  EXPECT_TRUE(AskVerifiers({dir_ + "/none", 10, absl::Seconds(1)}, {}).ok());
}

TEST_F(VerifierDirTest, WhatAVerifierIsGiven) {
  setenv("BERTH_TEST_SECRET", "secret", 1);
  int leak = open("/dev/null", O_RDONLY);
  Add("v", "printf '%s\\n' \"$@\" >$OUT/args; cat >$OUT/stdin; env >$OUT/env; ls /proc/self/fd >$OUT/fds");
  absl::Status status = Ask();
  close(leak);
  unsetenv("BERTH_TEST_SECRET");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Told("args"), absl::StrCat("-name\nr.io/a:1\n-digest\n", kDigest,
                                       "\n-stdin-media-type\napplication/vnd.oci.descriptor.v1+json\n"));
  auto json = ParseJson(Told("stdin"));
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(*json, (Json{{"mediaType", "application/x"}, {"digest", kDigest}, {"size", 123}}));
  EXPECT_THAT(Told("env"), AllOf(HasSubstr("PATH=/usr/local/sbin"), Not(HasSubstr("secret"))));
  EXPECT_EQ(Told("fds"), "0\n1\n2\n3\n") << "3 is the directory that ls reads";
}

TEST_F(VerifierDirTest, AllMustAgree) {
  Add("1", "echo fine");
  Add("2", "echo ' not from here '; echo details >&2; exit 3");
  Add("3", "touch $OUT/third");
  EXPECT_THAT(Refusal(),
              AllOf(HasSubstr("image verifier 2 refused it (exit code 3): not from here"), Not(HasSubstr("details"))));
  EXPECT_NE(access((dir_ + "/third").c_str(), F_OK), 0) << "they run in order";
}

TEST_F(VerifierDirTest, OnlyTheFirstSoManyAreAsked) {
  Add("a", "exit 0");
  Add("b", "exit 1");
  EXPECT_TRUE(Ask(1).ok());
  EXPECT_TRUE(Ask(0).ok());
  EXPECT_FALSE(Ask(2).ok());
  EXPECT_FALSE(Ask(-1).ok());
}

TEST_F(VerifierDirTest, WhatCannotRunRefuses) {
  Add("v", "");
  ASSERT_EQ(chmod((dir_ + "/bin/v").c_str(), 0644), 0);
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("image verifier v"), HasSubstr("ermission denied")));
  Add("v", "kill -9 $$");
  EXPECT_THAT(Refusal(), HasSubstr("signal 9"));
  ASSERT_EQ(unlink((dir_ + "/bin/v").c_str()), 0);
  ASSERT_EQ(rmdir((dir_ + "/bin").c_str()), 0);
  std::ofstream(dir_ + "/bin") << "no directory";
  EXPECT_THAT(Refusal(), HasSubstr("the image verifiers are unknown"));
}

TEST_F(VerifierDirTest, LargeOutputIsCut) {
  Add("v", "head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2; exit 1");
  std::string why = Refusal();
  EXPECT_THAT(why, HasSubstr("exit code 1"));
  EXPECT_LT(why.size(), 2000u);
}

TEST_F(VerifierDirTest, ReasonsCannotForgeLogLines) {
  Add("v", "printf 'a\\nb\\033[2J'; exit 1");
  EXPECT_THAT(Refusal(), HasSubstr("a\\nb\\x1b[2J"));
}

// A shell that waits for a child: both must go, or a stuck verifier would leave something behind with each pull.
TEST_F(VerifierDirTest, ASlowOneIsKilledWithItsChildren) {
  Add("v", "sleep 1000 & echo $! >$OUT/child; wait");
  absl::Status status = Ask(10, absl::Seconds(2));
  ASSERT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("did not end within 2s"));
  int child = 0;
  std::string told = Told("child");
  ASSERT_TRUE(absl::SimpleAtoi(told, &child)) << told;
  // Killed; until somebody reaps it, it stays as a zombie.
  for (int i = 0; i < 500 && kill(child, 0) == 0; ++i) {
    auto stat = sys::ReadFile(absl::StrCat("/proc/", child, "/stat"));
    if (stat.ok() && absl::StrContains(*stat, ") Z ")) return;
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_NE(kill(child, 0), 0);
}

}  // namespace
}  // namespace berth::image
