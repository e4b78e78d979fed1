#include "runtime/security/apparmor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"

namespace berth::security {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(HoldsProfile, WholeNamesOnly) {
  const char* list = "berth-default (enforce)\n/usr/sbin/a b (complain)\nx//y (enforce)\nodd (name) (enforce)\n";
  for (const char* name : {"berth-default", "/usr/sbin/a b", "x//y", "odd (name)"}) {
    EXPECT_TRUE(HoldsProfile(list, name)) << name;
  }
  for (const char* name : {"", "berth", "default", "berth-default (enforce)", "odd", "x"}) {
    EXPECT_FALSE(HoldsProfile(list, name)) << name;
  }
}

TEST(DefaultAppArmorProfile, NamesTheDaemonsOwnProfileAsOneThatMaySignal) {
  EXPECT_THAT(FormatDefaultAppArmorProfile("unconfined"), Not(HasSubstr("peer=\"")));
  EXPECT_THAT(FormatDefaultAppArmorProfile(""), Not(HasSubstr("peer=\"")));
  EXPECT_THAT(FormatDefaultAppArmorProfile("/usr/bin/berthd (enforce)"),
              HasSubstr("signal (receive) peer=\"/usr/bin/berthd\",\n"));
}

// The parser takes it, whatever the running kernel has.
TEST(DefaultAppArmorProfile, IsOneForTheParser) {
  const char* features = "/etc/apparmor.d/abi/3.0";
  if (access("/usr/sbin/apparmor_parser", X_OK) != 0 || access(features, R_OK) != 0) {
    GTEST_SKIP() << "no apparmor_parser (Debian package apparmor)";
  }
  for (const char* daemon : {"unconfined", "some profile"}) {
    sys::SpawnRequest request;
    request.path = "/usr/sbin/apparmor_parser";
    request.argv = {"apparmor_parser", "--skip-kernel-load", "--skip-cache", "--warn=all", "-M", features};
    request.input = FormatDefaultAppArmorProfile(daemon);
    auto done = sys::Spawn(request);
    ASSERT_TRUE(done.ok()) << done.status();
    EXPECT_EQ(done->exit_code, 0) << done->err;
  }
}

// A host as files, and a parser that notes what it gets.
class AppArmorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-apparmor-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    ASSERT_TRUE(sys::MakeDirs(dir_ + "/fs/apparmor", 0755).ok());
    Write("/enabled", "Y\n");
    Write("/fs/apparmor/profiles", "cups (enforce)\n");
  }
  void TearDown() override { (void)sys::RemoveTreeAt(AT_FDCWD, dir_); }
  void Write(const std::string& name, absl::string_view text, mode_t mode = 0644) {
    auto dir = sys::Open(dir_ + name.substr(0, name.rfind('/')), O_PATH | O_DIRECTORY);
    ASSERT_TRUE(dir.ok()) << dir.status();
    ASSERT_TRUE(sys::ReplaceFileAt(dir->get(), name.substr(name.rfind('/') + 1), text, mode).ok());
  }
  void MakeParser(absl::string_view then) {
    Write("/parser", absl::StrCat("#!/bin/sh\ncat > ", dir_, "/text; echo \"$@\" >> ", dir_, "/arguments\n", then),
          0755);
  }
  std::string Loads() const {
    return absl::StrCat("echo 'berth-default (enforce)' >> ", dir_, "/fs/apparmor/profiles\n");
  }
  std::unique_ptr<AppArmor> Probe() {
    return AppArmor::Probe({dir_ + "/fs", dir_ + "/enabled", {dir_ + "/none", dir_ + "/parser"}});
  }
  std::string dir_;
};

TEST_F(AppArmorTest, DefaultIsLoadedAtStartAndAgainWhenItWasRemoved) {
  MakeParser(Loads());
  auto apparmor = Probe();
  EXPECT_TRUE(apparmor->available());
  EXPECT_THAT(*sys::ReadFile(dir_ + "/text"), HasSubstr("profile berth-default "));
  EXPECT_EQ(*apparmor->DefaultProfile(), "berth-default");
  EXPECT_EQ(*sys::ReadFile(dir_ + "/arguments"), "--replace --skip-cache\n") << "loaded once";
  Write("/fs/apparmor/profiles", "");
  EXPECT_EQ(*apparmor->DefaultProfile(), "berth-default");
  EXPECT_TRUE(apparmor->RequireLoaded("berth-default").ok());
}

TEST_F(AppArmorTest, WithoutAParserThereIsNoDefault) {
  auto apparmor = Probe();
  EXPECT_TRUE(apparmor->available());
  EXPECT_TRUE(absl::IsFailedPrecondition(apparmor->DefaultProfile().status()));
  EXPECT_THAT(std::string(apparmor->DefaultProfile().status().message()), HasSubstr("no apparmor_parser"));
  EXPECT_TRUE(apparmor->RequireLoaded("cups").ok());
}

TEST_F(AppArmorTest, WhatTheParserSaysIsTheReason) {
  MakeParser("echo 'no such keyword' >&2; exit 1\n");
  const absl::Status status = Probe()->DefaultProfile().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no such keyword"));
}

TEST_F(AppArmorTest, HostWithoutIt) {
  MakeParser(Loads());
  Write("/enabled", "N\n");
  auto apparmor = Probe();
  EXPECT_FALSE(apparmor->available());
  EXPECT_TRUE(absl::IsFailedPrecondition(apparmor->DefaultProfile().status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(apparmor->RequireLoaded("cups")));
  EXPECT_NE(access((dir_ + "/text").c_str(), F_OK), 0) << "nothing was loaded";
}

TEST_F(AppArmorTest, ProfilesThatAreNotLoadedAreNamed) {
  const absl::Status status = Probe()->RequireLoaded("nginx");
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'nginx'"));
}

}  // namespace
}  // namespace berth::security
