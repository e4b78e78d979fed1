#include "cri/cdi/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace berth::cdi {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class RegistryTest : public testing::Test {
 protected:
  RegistryTest() {
    char path[] = "/tmp/berth-cdi-test-XXXXXX";
    top_ = mkdtemp(path);
    std::filesystem::create_directory(top_ + "/low");
    std::filesystem::create_directory(top_ + "/high");
  }
  ~RegistryTest() override { std::filesystem::remove_all(top_); }

  void Write(const std::string& name, const std::string& text) { std::ofstream(top_ + "/" + name) << text; }
  static std::string Spec(absl::string_view device, absl::string_view env) {
    return absl::StrCat("cdiVersion: \"0.5.0\"\nkind: v.com/c\ncontainerEdits: {env: [SPEC=", env,
                        "]}\ndevices:\n- {name: ", device, ", containerEdits: {env: [DEVICE=", env, "]}}\n");
  }

  std::string top_;
  Registry registry_{{std::string("/no/such/dir")}};
};

TEST_F(RegistryTest, EditsOfAFileComeOnceAndDevicesOnce) {
  Write("low/a.yaml",
        "cdiVersion: \"0.5.0\"\nkind: v.com/c\ncontainerEdits: {env: [SPEC=1]}\ndevices:\n"
        "- {name: a, containerEdits: {env: [A=1]}}\n- {name: b, containerEdits: {env: [B=1]}}\n");
  Registry registry({top_ + "/low"});
  const std::vector<std::string> names = {"v.com/c=b", "v.com/c=a", "v.com/c=b"};
  auto edits = registry.Resolve(names);
  ASSERT_TRUE(edits.ok()) << edits.status();
  EXPECT_THAT(edits->env, ElementsAre("SPEC=1", "B=1", "A=1"));
  EXPECT_TRUE(registry.Resolve({})->empty());
}

TEST_F(RegistryTest, ALaterDirectoryHidesAnEarlierOne) {
  Write("low/a.yaml", Spec("x", "low"));
  Write("high/z.yaml", Spec("x", "high"));
  Registry registry({top_ + "/low", top_ + "/missing", top_ + "/high"});
  const std::vector<std::string> names = {"v.com/c=x"};
  EXPECT_THAT(registry.Resolve(names)->env, ElementsAre("SPEC=high", "DEVICE=high"));
}

TEST_F(RegistryTest, TwoOfOneNameInOneDirectoryContradictEachOther) {
  Write("low/a.yaml", Spec("x", "1"));
  Write("low/b.yaml", Spec("x", "2"));
  Write("low/c.yaml", Spec("y", "3"));
  Registry registry({top_ + "/low", top_ + "/high"});
  const std::vector<std::string> x = {"v.com/c=x"}, y = {"v.com/c=y"};
  auto edits = registry.Resolve(x);
  EXPECT_EQ(edits.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(edits.status().message()), HasSubstr(top_ + "/low/a.yaml"));
  EXPECT_THAT(registry.Resolve(y)->env, ElementsAre("SPEC=3", "DEVICE=3"));
  // And a later directory settles it.
  Write("high/a.yaml", Spec("x", "4"));
  EXPECT_THAT(registry.Resolve(x)->env, ElementsAre("SPEC=4", "DEVICE=4"));
}

TEST_F(RegistryTest, ABrokenFileDoesNotBreakOthersAndIsReported) {
  Write("low/broken.json", "{\"cdiVersion\": ");
  Write("low/big.yaml", std::string((4 << 20) + 1, '#'));
  Write("low/notes.txt", "not looked at");
  Write("low/good.yaml", Spec("x", "1"));
  ASSERT_EQ(mkfifo((top_ + "/low/fifo.yaml").c_str(), 0600), 0);
  std::filesystem::create_directory(top_ + "/low/dir.json");
  std::filesystem::create_symlink("/no/such/file", top_ + "/low/dangling.yaml");
  Registry registry({top_ + "/low"});
  const std::vector<std::string> x = {"v.com/c=x"}, other = {"v.com/c=other"};
  EXPECT_TRUE(registry.Resolve(x).ok());
  EXPECT_THAT(std::string(registry.Resolve(other).status().message()), HasSubstr("broken.json: invalid JSON"));
  const std::string told = registry.Describe();
  for (const char* name : {"broken.json", "big.yaml", "fifo.yaml", "dir.json", "dangling.yaml", "v.com/c=x"}) {
    EXPECT_THAT(told, HasSubstr(name));
  }
  EXPECT_THAT(told, Not(HasSubstr("notes.txt")));
}

TEST_F(RegistryTest, ChangesAreSeenByTheNextCall) {
  Registry registry({top_ + "/low"});
  const std::vector<std::string> x = {"v.com/c=x"};
  EXPECT_EQ(registry.Resolve(x).status().code(), absl::StatusCode::kNotFound);
  Write("low/a.yaml", Spec("x", "1"));
  EXPECT_THAT(registry.Resolve(x)->env, ElementsAre("SPEC=1", "DEVICE=1"));
  // Of the same length, and by rename, as those who write such files do it.
  Write("low/new", Spec("x", "2"));
  std::filesystem::rename(top_ + "/low/new", top_ + "/low/a.yaml");
  EXPECT_THAT(registry.Resolve(x)->env, ElementsAre("SPEC=2", "DEVICE=2"));
  std::filesystem::remove(top_ + "/low/a.yaml");
  EXPECT_EQ(registry.Resolve(x).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegistryTest, WhatCannotBeDoneIsRefusedByFile) {
  Write(
      "low/h.yaml",
      "cdiVersion: \"0.5.0\"\nkind: v.com/c\ndevices:\n- {name: x, containerEdits: {hooks: [{hookName: prestart, path: "
      "/bin/x}]}}\n- {name: y, containerEdits: {env: [Y=1]}}\n");
  Registry registry({top_ + "/low"});
  const std::vector<std::string> both = {"v.com/c=y", "v.com/c=x"}, y = {"v.com/c=y"};
  auto edits = registry.Resolve(both);
  EXPECT_EQ(edits.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(edits.status().message()), HasSubstr("h.yaml' asks for hooks"));
  EXPECT_TRUE(registry.Resolve(y).ok());
}

TEST_F(RegistryTest, NamesThatAreNoneAreInvalid) {
  const std::vector<std::string> bad = {"v.com/c"};
  EXPECT_EQ(registry_.Resolve(bad).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace berth::cdi
