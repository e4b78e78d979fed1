#include "cri/daemon/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "runtime/sys/file.h"

namespace berth::daemon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Config, EveryKeyThatIsPrintedIsRead) {
  Config changed;
  changed.root = "/r\"x";
  changed.network.mode = NetworkMode::kEmbedded;
  changed.image.pinned = {"a", "b"};
  changed.image.parallel_layers = 9;
  changed.image.max_transfers = 3;
  changed.image.range_connections = 2;
  changed.image.progress_timeout = 5;
  changed.image.usage_interval = 30;
  changed.selinux = SelinuxMode::kOff;
  changed.image.copy_volumes = false;
  changed.image.policy = "/p.json";
  changed.image.verifiers.max = -1;
  changed.enable_unprivileged_icmp = false;
  changed.default_rlimits = "nofile=1";
  Config read;
  ASSERT_TRUE(ApplyToml(FormatConfig(changed), "f", read).ok());
  EXPECT_EQ(FormatConfig(read), FormatConfig(changed));
  EXPECT_EQ(read.root, "/r\"x");
  EXPECT_TRUE(read.enable_unprivileged_ports && !read.enable_unprivileged_icmp);
  EXPECT_THAT(read.image.pinned, ElementsAre("a", "b"));
  EXPECT_EQ(read.image.verifiers.max, -1);
}

struct Bad {
  const char* text;
  const char* message;
};

class BadConfig : public testing::TestWithParam<Bad> {};

TEST_P(BadConfig, NamesFileLineAndKey) {
  Config config;
  absl::Status s = ApplyToml(GetParam().text, "config.toml", config);
  EXPECT_EQ(s.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(s.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadConfig,
    testing::Values(Bad{"\n\nrooot = \"/x\"\n", "config.toml:3: unknown key 'rooot'"},
                    Bad{"[network]\nmod = 1\n", "config.toml:2: unknown key 'network.mod'"},
                    Bad{"[nets]\nmode = 1\n", "config.toml:1: unknown key 'nets'"},
                    Bad{"enable_unprivileged_icmp = \"no\"\n", "enable_unprivileged_icmp: expected true or false"},
                    Bad{"root = 5\n", "config.toml:1: root: expected a string"},
                    Bad{"root = \"rel\"\n", "config.toml:1: root: expected an absolute path"},
                    Bad{"network = 1\n", "config.toml:1: network: expected a table"},
                    Bad{"selinux = \"on\"\n", "config.toml:1: selinux: expected \"auto\" or \"off\""},
                    Bad{"[network]\nmode = \"bridge\"\n", "config.toml:2: network.mode: expected"},
                    Bad{"[image]\nparallel_layers = 0\n", "image.parallel_layers: expected an integer from 1 to 32"},
                    Bad{"[image]\nmax_transfers = 0\n", "image.max_transfers: expected an integer from 1 to 128"},
                    Bad{"[image]\nrange_connections = 17\n", "image.range_connections: expected an integer"},
                    Bad{"[image]\nprogress_timeout = \"1m\"\n", "image.progress_timeout: expected an integer"},
                    Bad{"[image]\nusage_interval = \"10s\"\n", "image.usage_interval: expected an integer from 1 to"},
                    Bad{"[image]\nvolumes = \"bind\"\n", "image.volumes: expected"},
                    Bad{"[image]\npolicy = \"p.json\"\n", "image.policy: expected an absolute path, or nothing"},
                    Bad{"[image.verifiers]\ntimeout = 0\n",
                        "image.verifiers.timeout: expected an integer from 1 to 600"},
                    Bad{"[image.verifiers]\ndirs = 0\n", "unknown key 'image.verifiers.dirs'"},
                    Bad{"[image]\npinned = [1]\n", "image.pinned: expected a list of strings"},
                    Bad{"cgroup_driver = \"runc\"\n", "cgroup_driver: expected"},
                    Bad{"pids_limit = -1\n", "pids_limit: expected an integer from 0"},
                    Bad{"max_container_log_line_size = 1048577\n",
                        "max_container_log_line_size: expected an integer from -1 to 1048576"},
                    Bad{"log_level = \"loud\"\n", "log_level: expected"}, Bad{"root = \n", "config.toml:1"}));

TEST(Config, DropInsComeLaterInLexicalOrder) {
  char path[] = "/tmp/berth-config-test-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  std::string dir = path;
  std::ofstream(dir + "/config.toml") << "root = \"/a\"\nstate = \"/s\"\n";
  ASSERT_TRUE(sys::MakeDirs(dir + "/config.d", 0755).ok());
  std::ofstream(dir + "/config.d/20.toml") << "root = \"/c\"\n";
  std::ofstream(dir + "/config.d/10.toml") << "root = \"/b\"\n";
  std::ofstream(dir + "/config.d/99.bak") << "root = 1\n";
  auto config = LoadConfig(dir + "/config.toml", true, dir + "/config.d");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->root, "/c");
  EXPECT_EQ(config->state, "/s");
  EXPECT_TRUE(LoadConfig(dir + "/none.toml", false, dir + "/none.d").ok());
  EXPECT_FALSE(LoadConfig(dir + "/none.toml", true, dir + "/none.d").ok());
  EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir).ok());
}

}  // namespace
}  // namespace berth::daemon
