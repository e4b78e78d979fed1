#include "tests/bench/process_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"

namespace berth::bench {
namespace {

namespace fs = std::filesystem;

// A directory with the files of a cgroup.
class ProcessTreeTest : public ::testing::Test {
 protected:
  ProcessTreeTest() {
    std::string pattern = (fs::temp_directory_path() / "process-tree.XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~ProcessTreeTest() override { fs::remove_all(directory_); }

  void Write(const std::string& name, const std::string& text) {
    fs::create_directories((directory_ / name).parent_path());
    std::ofstream(directory_ / name) << text;
  }

  fs::path directory_;
};

TEST_F(ProcessTreeTest, CpuOfVersion1IsInNanoseconds) {
  Write("cpuacct.usage", "1500000\n");
  auto tree = ProcessTree::OpenDirectory(directory_);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->Cpu().value(), absl::Microseconds(1500));
}

TEST_F(ProcessTreeTest, CpuOfVersion2IsInMicroseconds) {
  Write("cpu.stat", "usage_usec 42\nuser_usec 40\nsystem_usec 2\n");
  auto tree = ProcessTree::OpenDirectory(directory_);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->Cpu().value(), absl::Microseconds(42));
}

TEST_F(ProcessTreeTest, GarbageIsAnError) {
  Write("cpuacct.usage", "many\n");
  EXPECT_EQ(ProcessTree::OpenDirectory(directory_)->Cpu().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ProcessTreeTest, ADirectoryThatIsNoCgroupIsNotFound) {
  EXPECT_EQ(ProcessTree::OpenDirectory(directory_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ProcessTree::Open("/there/is/no/such/cgroup").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ProcessTreeTest, FindsProcessesAtEveryDepthAndSkipsThoseThatAreGone) {
  Write("cpuacct.usage", "0\n");
  Write("cgroup.procs", "");
  Write("daemon/cgroup.procs", "2147483647\n");  // above the kernel's largest pid
  Write("pods/one/cgroup.procs", std::to_string(getpid()) + "\n");
  auto found = ProcessTree::OpenDirectory(directory_)->Processes();
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ((*found)[0].pid, getpid());
  EXPECT_EQ((*found)[0].cgroup, "one");
  EXPECT_FALSE((*found)[0].name.empty());
  EXPECT_GT((*found)[0].pss_kib, 0);
}

TEST_F(ProcessTreeTest, AQuietTreeSettlesAtOnce) {
  Write("cpuacct.usage", "5\n");
  auto tree = ProcessTree::OpenDirectory(directory_);
  absl::Time begin = absl::Now();
  EXPECT_TRUE(tree->Settle(absl::Seconds(60)).ok());
  EXPECT_LT(absl::Now() - begin, absl::Seconds(30));
}

TEST(ParseKeyed, TakesTheWholeKeyOnly) {
  EXPECT_EQ(ParseKeyed("usage_usec_x 1\nusage_usec 2\n", "usage_usec").value(), 2);
  EXPECT_EQ(ParseKeyed("usage 1\n", "usage_usec").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ParseKeyed("", "usage_usec").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ParseKeyed("usage_usec\n", "usage_usec").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ParseKeyed("usage_usec x\n", "usage_usec").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ParsePss, IsNotOneOfItsParts) {
  EXPECT_EQ(ParsePss("00400000-7fff [rollup]\nRss:  900 kB\nPss:   123 kB\nPss_Anon:  7 kB\n").value(), 123);
  EXPECT_FALSE(ParsePss("Pss_Anon:  7 kB\n").ok());
}

}  // namespace
}  // namespace berth::bench
