#include "runtime/security/selinux.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "runtime/sys/file.h"

namespace berth::security {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kContexts[] = R"(process = "system_u:system_r:container_t:s0"
content = "system_u:object_r:virt_var_lib_t:s0"
# the files of a container
file = "system_u:object_r:container_file_t:s0"
ro_file="system_u:object_r:container_ro_file_t:s0"
)";

TEST(SelinuxContext, ThereAndBack) {
  for (const char* text : {"u:r:t:s0", "system_u:system_r:container_t:s0:c1,c2", "u:r:t:s0-s15:c0.c1023", "u:r:t"}) {
    auto context = ParseSelinuxContext(text);
    ASSERT_TRUE(context.ok()) << context.status();
    EXPECT_EQ(FormatSelinuxContext(*context), text);
  }
  EXPECT_EQ(ParseSelinuxContext("u:r:t:s0:c1,c2")->level, "s0:c1,c2");
}

TEST(SelinuxContext, MalformedOnesAreRefused) {
  for (const char* text : {"", "u:r", "u::t:s0", "u:r:t:", "u:r:t x:s0", "u:r:t:s0\n", "u:r:t:c1", "u:r:t:s0:c1024",
                           "u:r:t:s0:", "u:r:t:s0:c1,,c2", "u:r:t:s0-"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseSelinuxContext(text).status())) << text;
  }
}

TEST(SelinuxParts, AreCheckedEachUnderItsName) {
  EXPECT_TRUE(CheckSelinuxParts({}).ok());
  EXPECT_TRUE(CheckSelinuxParts({"u", "r", "spc_t", "s0:c1,c2"}).ok());
  EXPECT_THAT(std::string(CheckSelinuxParts({"a b", "", "", ""}).message()), HasSubstr("user"));
  EXPECT_THAT(std::string(CheckSelinuxParts({"", "r,context=x", "", ""}).message()), HasSubstr("role"));
  EXPECT_THAT(std::string(CheckSelinuxParts({"", "", "t:s0", ""}).message()), HasSubstr("type"));
  EXPECT_THAT(std::string(CheckSelinuxParts({"", "", "", "secret"}).message()), HasSubstr("level"));
}

using Both = std::pair<std::string, std::string>;

TEST(ComposeSelinuxLabels, RequestThenDefaults) {
  auto defaults = ParseContainerContexts(kContexts);
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  auto labels = [&](const SelinuxContext& request, absl::string_view level) {
    SelinuxLabels l = ComposeSelinuxLabels(*defaults, request, level);
    return Both(l.process, l.mount);
  };
  EXPECT_EQ(labels({}, "s0:c4,c9"),
            Both("system_u:system_r:container_t:s0:c4,c9", "system_u:object_r:container_file_t:s0:c4,c9"));
  // A level alone is a whole request.
  EXPECT_EQ(labels({"", "", "", "s0:c1,c2"}, "s0:c4,c9"),
            Both("system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"));
  EXPECT_EQ(labels({"user_u", "user_r", "spc_t", ""}, ""),
            Both("user_u:user_r:spc_t:s0", "system_u:object_r:container_file_t:s0"));
}

TEST(ContainerContexts, BothLabelsHaveToBeThere) {
  EXPECT_FALSE(ParseContainerContexts("").ok());
  EXPECT_FALSE(ParseContainerContexts("process = \"u:r:t:s0\"\n").ok());
  EXPECT_FALSE(ParseContainerContexts("process = \"u:r:t:s0\"\nfile = \"nonsense\"\n").ok());
}

TEST(CategoryPool, EveryPairOnce) {
  CategoryPool pool;
  std::set<std::string> seen;
  for (int i = 0; i < 2000; ++i) {
    auto level = pool.Reserve();
    ASSERT_TRUE(level.ok());
    EXPECT_THAT(*level, MatchesRegex("s0:c[0-9]+,c[0-9]+"));
    EXPECT_TRUE(seen.insert(*level).second) << *level;
  }
}

TEST(CategoryPool, WhatIsTakenIsNotGivenUntilReleasedAsOften) {
  CategoryPool pool;
  const std::string kept = "s0:c7,c8";
  for (uint32_t a = 0; a < CategoryPool::kCategories; ++a) {
    for (uint32_t b = a + 1; b < CategoryPool::kCategories; ++b) pool.Take(absl::StrCat("s0:c", a, ",c", b));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(pool.Reserve().status()));
  pool.Take("s0:c8,c7");  // the same pair
  pool.Take("s0");        // no pair
  pool.Release(kept);
  EXPECT_TRUE(absl::IsResourceExhausted(pool.Reserve().status()));
  pool.Release(kept);
  EXPECT_EQ(*pool.Reserve(), kept);
}

// A host as files. The kernel's check of a label is a file that takes everything.
class SelinuxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-selinux-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    Write("fs", "enforce", "1");
    Write("fs", "mls", "1");
    Write("fs", "context", "");
    Write("etc", "config", "# comment\nSELINUX=enforcing\nSELINUXTYPE=default\n");
    Write("etc/default/contexts", "lxc_contexts", kContexts);
  }
  void TearDown() override { (void)sys::RemoveTreeAt(AT_FDCWD, dir_); }
  void Write(const std::string& folder, absl::string_view name, absl::string_view text) {
    ASSERT_TRUE(sys::MakeDirs(dir_ + "/" + folder, 0755).ok());
    auto dir = sys::Open(dir_ + "/" + folder, O_PATH | O_DIRECTORY);
    ASSERT_TRUE(dir.ok() && sys::ReplaceFileAt(dir->get(), name, text, 0644).ok());
  }
  std::unique_ptr<Selinux> Probe(bool off = false) { return Selinux::Probe(off, {dir_ + "/fs", dir_ + "/etc"}); }
  std::string dir_;
};

TEST_F(SelinuxTest, APodHasALevelOfItsOwnAndItsContainersTheLabels) {
  auto selinux = Probe();
  ASSERT_TRUE(selinux->available()) << selinux->reason();
  auto level = selinux->ReserveLevel({});
  ASSERT_TRUE(level.ok()) << level.status();
  auto labels = selinux->Labels({}, *level);
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_EQ(labels->process, absl::StrCat("system_u:system_r:container_t:", *level));
  EXPECT_EQ(labels->mount, absl::StrCat("system_u:object_r:container_file_t:", *level));
  EXPECT_EQ(*selinux->ReserveLevel({"", "", "", "s0:c1"}), "s0:c1");
}

TEST_F(SelinuxTest, PolicyWithoutLevels) {
  Write("fs", "mls", "0");
  auto selinux = Probe();
  EXPECT_EQ(*selinux->ReserveLevel({}), "");
  EXPECT_EQ(selinux->Labels({}, "")->process, "system_u:system_r:container_t");
  EXPECT_TRUE(absl::IsInvalidArgument(selinux->Labels({"", "", "", "s0"}, "").status()));
}

TEST_F(SelinuxTest, WithoutItOptionsAreIgnored) {
  auto off = Probe(true);
  EXPECT_FALSE(off->available());
  EXPECT_EQ(*off->ReserveLevel({"", "", "", "s0:c1"}), "");
  EXPECT_EQ(off->Labels({"u", "r", "t", "s0"}, "")->process, "");
  EXPECT_THAT(off->reason(), HasSubstr("configuration"));
  ASSERT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_ + "/fs").ok());
  EXPECT_THAT(Probe()->reason(), HasSubstr("no SELinux"));
}

TEST_F(SelinuxTest, PolicyWithoutContainersIsNone) {
  ASSERT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_ + "/etc/default").ok());
  auto selinux = Probe();
  EXPECT_FALSE(selinux->available());
  EXPECT_THAT(selinux->reason(), HasSubstr("lxc_contexts"));
}

}  // namespace
}  // namespace berth::security
