// The same archives unpacked by berth, by GNU tar and by umoci must give the same trees.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <tuple>

#include "image/unpack/testing_archive.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

namespace fs = std::filesystem;
using testing_archive::Format;
using testing_archive::FormatName;
using testing_archive::Promise;
using testing_archive::Receive;
using testing_archive::WhyNot;

std::string Xattrs(const std::string& path) {
  char names[4096], value[65536];
  std::string all;
  ssize_t size = llistxattr(path.c_str(), names, sizeof names);
  std::map<std::string, std::string> sorted;
  for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(strlen(names + at)) + 1) {
    ssize_t n = lgetxattr(path.c_str(), names + at, value, sizeof value);
    sorted[names + at] = std::string(value, n < 0 ? 0 : static_cast<size_t>(n));
  }
  for (const auto& [k, v] : sorted) absl::StrAppend(&all, " ", k, "=", v);
  return all;
}

// One line for each file: everything of it that a container could notice.
std::map<std::string, std::string> Describe(const std::string& root) {
  std::map<std::string, std::string> lines;
  std::map<ino_t, std::string> first_names;
  auto add = [&](const std::string& path) {
    struct stat st;
    ASSERT_EQ(lstat(path.c_str(), &st), 0) << path;
    std::string name = path.size() > root.size() ? path.substr(root.size() + 1) : ".";
    std::string line = absl::StrCat(absl::Hex(st.st_mode), " ", st.st_uid, ":", st.st_gid, " ", st.st_mtim.tv_sec, ".",
                                    st.st_mtim.tv_nsec, " rdev ", st.st_rdev);
    if (!S_ISDIR(st.st_mode)) absl::StrAppend(&line, " links ", st.st_nlink, " size ", st.st_size);
    if (S_ISLNK(st.st_mode)) absl::StrAppend(&line, " -> ", fs::read_symlink(path).string());
    if (S_ISREG(st.st_mode)) absl::StrAppend(&line, " ", std::hash<std::string>()(*sys::ReadFile(path, 1 << 30)));
    lines[name] = line + Xattrs(path);
    lines[name] +=
        absl::StrCat(" same as ", S_ISDIR(st.st_mode) ? name : first_names.try_emplace(st.st_ino, name).first->second);
  };
  add(root);
  std::vector<std::string> paths;  // in order, so that the first of several names is the same one
  for (const auto& entry : fs::recursive_directory_iterator(root)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) add(path);
  return lines;
}

class TreeCompareTest : public testing::TestWithParam<std::tuple<std::string, Format>> {
 protected:
  void SetUp() override {
    if (std::string why = WhyNot(std::get<1>(GetParam()), "/tmp"); !why.empty()) GTEST_SKIP() << why;
    char path[] = "/tmp/berth-compare-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  void Shell(const std::string& command) {
    ASSERT_EQ(std::system(("cd " + dir_ + " && exec >log 2>&1; set -e; " + command).c_str()), 0)
        << *sys::ReadFile(dir_ + "/log");
  }
  std::string dir_;
};

constexpr char kMakeTree[] = R"sh(
mkdir -p src/usr/bin src/etc/deep/er/est src/tmp src/var/spool 'src/odd name'
chmod 1777 src/tmp; chmod 2775 src/var/spool; chown 3:44 src/var/spool
head -c 3000000 /dev/urandom > src/usr/bin/big; head -c 70001 /dev/zero > src/usr/bin/zeros
for i in $(seq 200); do echo "file $i" > src/etc/deep/f$i; done
cp /bin/true src/usr/bin/su; chmod 4755 src/usr/bin/su; chown 1000:1000 src/etc/deep/f7; chmod 0 src/etc/deep/f8
ln src/usr/bin/su src/usr/bin/su-link; ln src/usr/bin/su src/etc/another; ln -s ../usr/bin/su src/etc/sym
ln -s nowhere src/etc/dangling; ln src/etc/dangling src/etc/dangling-link
mkfifo -m 0620 src/tmp/fifo; mknod -m 0666 src/tmp/null c 1 3; mknod src/tmp/block b 7 200
touch "src/odd name/$(printf 'new\nline')" "src/odd name/$(printf '\377\376')" src/etc/deep/er/$(printf '%0200d' 1)
mkdir -p src/$(printf '%090d/' 1 2 3); echo x > src/$(printf '%090d/' 1 2 3)/f
truncate -s 10M src/var/hole; echo tail >> src/var/hole
touch -d '1969-12-31 23:59:58.5 UTC' src/etc/deep/f3; touch -d '2040-01-02 03:04:05.678 UTC' src/etc/deep/f4
touch -h -d @5 src/etc/sym; touch -d '2001-02-03 04:05:06.789 UTC' src/etc src/tmp src/usr
)sh";

TEST_P(TreeCompareTest, LikeGnuTarAndUmoci) {
  Shell(kMakeTree);
  const std::tuple<const char*, const char*, std::string> kXattrs[] = {
      {"etc/deep/f1", "user.note", "a b"},
      {"etc/deep/f2", "user.bin", std::string("\0\xff\n", 3)},
      {"etc/deep", "user.dir", "d"},
      {"usr/bin/su-link", "security.capability", std::string("\1\0\0\2\0\x20\0\0", 8) + std::string(12, '\0')}};
  for (const auto& [file, name, value] : kXattrs) {
    std::string path = dir_ + "/src/" + file;
    ASSERT_EQ(setxattr(path.c_str(), name, value.data(), value.size(), 0), 0) << name << ": " << strerror(errno);
  }
  Shell("tar -C src " + std::get<0>(GetParam()) +
        " -cf layer.tar . && mkdir gnu && tar -C gnu --numeric-owner --xattrs --xattrs-include='*' -xpf layer.tar");
  std::vector<std::string> others = {"gnu"};
  // umoci does not read sparse files as GNU tar's own format has them.
  if (std::get<0>(GetParam()).find("--format=gnu -S") == std::string::npos) {
    others.push_back("umoci/rootfs");
    Shell(
        "umoci init --layout image; umoci new --image image:t; umoci raw add-layer --image image:t layer.tar;"
        "umoci unpack --image image:t umoci");
  }
  std::string tar = *sys::ReadFile(dir_ + "/layer.tar", 1 << 30);
  std::string blob = testing_archive::Gzip(tar);
  auto store = *LayerStore::Open(dir_ + "/store", {.format = std::get<1>(GetParam())});
  std::vector<std::unique_ptr<LayerSink>> sinks(1);
  auto sink = Receive(*store, Promise(blob, tar), blob, 16384);
  ASSERT_TRUE(sink.ok()) << sink.status();
  sinks[0] = *std::move(sink);
  ASSERT_TRUE(store->Commit(std::move(sinks)).ok());
  std::string diff_id = store->List()[0];
  sys::UniqueFd layer = *store->OpenLayer(diff_id);
  auto ours = Describe(absl::StrCat("/proc/self/fd/", layer.get(), "/."));
  for (const std::string& other : others) {
    SCOPED_TRACE(other);
    auto theirs = Describe(absl::StrCat(dir_, "/", other));
    EXPECT_GT(theirs.size(), 225u);
    for (const auto& [name, line] : theirs) EXPECT_EQ(ours[name], line) << name;
    EXPECT_EQ(ours.size(), theirs.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, TreeCompareTest,
                         testing::Combine(testing::Values("--format=posix --xattrs --xattrs-include='*'",
                                                          "--format=gnu",
                                                          "--format=posix --xattrs --xattrs-include='*' -S",
                                                          "--format=gnu -S --numeric-owner", "--format=oldgnu"),
                                          testing::ValuesIn(testing_archive::kFormats)));

}  // namespace
}  // namespace berth::image
