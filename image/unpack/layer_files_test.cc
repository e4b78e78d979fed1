// What the entries of an archive become, in each format of layers.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "image/erofs/erofs_mount.h"
#include "image/unpack/layer_builder.h"
#include "image/unpack/parent_dirs.h"
#include "image/unpack/testing_archive.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using namespace testing_archive;  // NOLINT: the vocabulary of this test
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LayerFilesTest : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    if (std::string why = WhyNot(GetParam(), "/tmp"); !why.empty()) GTEST_SKIP() << why;
    char path[] = "/tmp/berth-files-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    base_ = path;
    std::ofstream(base_ + "/host") << "untouched";
  }
  void TearDown() override {
    if (base_.empty()) return;
    EXPECT_EQ(*sys::ReadFile(base_ + "/host"), "untouched");
    root_.Reset();
    std::filesystem::remove_all(base_);
  }

  // A layer of its own, with root_ as its root.
  absl::Status Apply(const std::vector<Entry>& entries) {
    root_.Reset();
    std::string path = absl::StrCat(base_, "/", ++count_);
    std::filesystem::create_directory(path);
    ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY));
    const bool erofs = GetParam() == Format::kErofs;
    ASSIGN_OR_RETURN(auto builder, erofs ? NewErofsBuilder(dir.get(), {}) : NewDirectoryBuilder(dir.get(), {}));
    TarParser parser(&builder->Visitor());
    const std::string tar = Tar(entries);
    RETURN_IF_ERROR(builder->Archive(tar));
    RETURN_IF_ERROR(parser.Write(tar));
    RETURN_IF_ERROR(parser.Finish());
    LayerInfo info;
    RETURN_IF_ERROR(builder->Finish(info));
    implied_ = info.implied_parents;
    if (erofs) {
      ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenAt(dir.get(), kLayerFile, O_RDONLY));
      ASSIGN_OR_RETURN(root_, MountErofs(file.get()));
    } else {
      ASSIGN_OR_RETURN(root_, sys::OpenAt(dir.get(), kLayerRoot, O_RDONLY | O_DIRECTORY));
    }
    return absl::OkStatus();
  }
  std::string At(absl::string_view path) { return absl::StrCat("/proc/self/fd/", root_.get(), "/", path); }
  struct stat Stat(absl::string_view path) {
    struct stat st = {};
    EXPECT_EQ(lstat(At(path).c_str(), &st), 0) << path;
    return st;
  }
  bool Exists(absl::string_view path) {
    struct stat st;
    return root_ && lstat(At(path).c_str(), &st) == 0;
  }
  std::string Xattr(absl::string_view path, const char* name) {
    char value[256];
    ssize_t n = lgetxattr(At(path).c_str(), name, value, sizeof value);
    return n < 0 ? "(none)" : std::string(value, static_cast<size_t>(n));
  }
  bool IsOpaque(absl::string_view path) { return Xattr(path, "trusted.overlay.opaque") == "y"; }
  bool IsWhiteoutAt(absl::string_view path) { return IsWhiteout(Stat(path)); }
  std::string Content(absl::string_view path) { return *sys::ReadFile(At(path)); }
  size_t Count() {
    size_t n = 0;
    for ([[maybe_unused]] const auto& e : std::filesystem::recursive_directory_iterator(At(""))) ++n;
    return n;
  }

  std::string base_;
  int count_ = 0;
  sys::UniqueFd root_;
  std::vector<std::string> implied_;
};

INSTANTIATE_TEST_SUITE_P(Formats, LayerFilesTest, testing::ValuesIn(kFormats),
                         [](const auto& info) { return FormatName(info.param); });

TEST_P(LayerFilesTest, ModesOwnersAndTimes) {
  mode_t old = umask(077);
  Entry file = File("d/setuid", "x", 06755);
  file.uid = 1000;
  file.gid = 1001;
  file.pax["mtime"] = "1234567890.123456789";
  Entry capable = File("d/capable", "x", 0755);
  capable.uid = 5;
  std::string capability("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  capable.pax["SCHILY.xattr.security.capability"] = capability;
  Entry shared = Dir("shared", 02770, 3, 44);
  Entry link = Symlink("link", "/host");
  link.uid = 9;
  ASSERT_TRUE(Apply({Dir("d", 01777), file, capable, shared, File("shared/f"), Dir("shared/sub"), link,
                     Device("null", '3', 1, 3), Entry{.path = "fifo", .type = '6', .mode = 0604, .gid = 8}})
                  .ok());
  umask(old);
  EXPECT_EQ(Stat("d").st_mode, S_IFDIR | 01777u);
  EXPECT_EQ(Stat("d").st_mtim.tv_sec, 1'600'000'000);
  EXPECT_EQ(Stat("d/setuid").st_mode, S_IFREG | 06755u);
  EXPECT_EQ(Stat("d/setuid").st_uid, 1000u);
  EXPECT_EQ(Stat("d/setuid").st_gid, 1001u);
  EXPECT_EQ(Stat("d/setuid").st_mtim.tv_sec, 1234567890);
  EXPECT_EQ(Stat("d/setuid").st_mtim.tv_nsec, 123456789);
  EXPECT_EQ(Xattr("d/capable", "security.capability"), capability);
  // A parent's set-group-id bit must not give its group to what the archive says is of group 0.
  EXPECT_EQ(Stat("shared/f").st_gid, 0u);
  EXPECT_EQ(Stat("shared/sub").st_mode, S_IFDIR | 0755u);
  EXPECT_EQ(Stat("shared").st_mode, S_IFDIR | 02770u);
  EXPECT_EQ(Stat("link").st_uid, 9u);
  EXPECT_EQ(Stat("link").st_mtim.tv_sec, 1'600'000'000);
  EXPECT_EQ(Stat("null").st_rdev, makedev(1, 3));
  EXPECT_EQ(Stat("null").st_mode, S_IFCHR | 0640u);
  EXPECT_EQ(Stat("fifo").st_mode, S_IFIFO | 0604u);
  EXPECT_EQ(Stat("fifo").st_gid, 8u);
}

TEST_P(LayerFilesTest, OnlyHarmlessXattrsAreKept) {
  Entry file = File("f");
  file.pax = {{"SCHILY.xattr.user.mine", std::string("a\0b", 3)}, {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
              {"SCHILY.xattr.trusted.overlay.metacopy", ""},      {"SCHILY.xattr.security.selinux", "s0"},
              {"SCHILY.xattr.user.overlay.opaque", "y"},          {"SCHILY.xattr.trusted.other", "x"}};
  Entry dir = Dir("d");
  dir.pax = {{"SCHILY.xattr.trusted.overlay.opaque", "y"}, {"SCHILY.xattr.user.mine", "d"}};
  ASSERT_TRUE(Apply({file, dir}).ok());
  EXPECT_EQ(Xattr("f", "user.mine"), std::string("a\0b", 3));
  for (const char* name : {"trusted.overlay.redirect", "trusted.overlay.metacopy", "security.selinux",
                           "user.overlay.opaque", "trusted.other"}) {
    EXPECT_EQ(Xattr("f", name), "(none)") << name;
  }
  EXPECT_FALSE(IsOpaque("d"));
  EXPECT_EQ(Xattr("d", "user.mine"), "d");
}

// A length that wraps around in an index would make attributes of what the value holds.
TEST_P(LayerFilesTest, AValueIsNotReadAsMoreAttributes) {
  const std::string opaque = "overlay.opaque";
  std::string value = {static_cast<char>(opaque.size()), 4, 1, 0};  // an entry of EROFS: trusted., one byte of value
  value += opaque + "y";
  value.resize(65536, '\0');
  Entry dir = Dir("d");
  dir.pax["SCHILY.xattr.user.abcd"] = value;
  absl::Status applied = Apply({dir});
  if (GetParam() == LayerStoreOptions::Format::kErofs) {
    EXPECT_EQ(applied.code(), absl::StatusCode::kInvalidArgument) << applied;
  }
  EXPECT_TRUE(!applied.ok() || !IsOpaque("d"));
}

TEST_P(LayerFilesTest, ADefaultAclIsNotInheritedByWhatTheLayerPutsThere) {
  // Version 2; user::rwx, user 1234:rwx, group::r-x, mask::rwx, other::r-x.
  std::string acl(
      "\x02\x00\x00\x00"
      "\x01\x00\x07\x00\xff\xff\xff\xff"
      "\x02\x00\x07\x00\xd2\x04\x00\x00"
      "\x04\x00\x05\x00\xff\xff\xff\xff"
      "\x10\x00\x07\x00\xff\xff\xff\xff"
      "\x20\x00\x05\x00\xff\xff\xff\xff",
      44);
  Entry dir = Dir("d");
  dir.pax = {{"SCHILY.xattr.system.posix_acl_default", acl}};
  ASSERT_TRUE(Apply({dir, File("d/f", "x", 0644), Dir("d/sub")}).ok());
  EXPECT_EQ(Xattr("d", "system.posix_acl_default"), acl);
  EXPECT_EQ(Xattr("d/f", "system.posix_acl_access"), "(none)");
  EXPECT_EQ(Xattr("d/sub", "system.posix_acl_default"), "(none)");
  EXPECT_EQ(Stat("d").st_mtim.tv_sec, 1'600'000'000);
}

TEST_P(LayerFilesTest, LaterEntriesReplaceEarlierOnes) {
  ASSERT_TRUE(Apply({File("a", "1"), File("a", "2"), Dir("b/c"), File("b/c/f"), File("b", "now a file"),
                     Symlink("s", "a"), Dir("s"), File("s/in"), Dir("m", 0700), File("m/kept"), Dir("m", 0711),
                     File("l", "x"), Symlink("l", "target"), File("f", "x"), Device("f", '3', 1, 3)})
                  .ok());
  EXPECT_EQ(Content("a"), "2");
  EXPECT_EQ(Content("b"), "now a file");
  EXPECT_TRUE(S_ISDIR(Stat("s").st_mode));
  EXPECT_TRUE(Exists("s/in"));
  EXPECT_EQ(Stat("m").st_mode & 07777, 0711u);
  EXPECT_TRUE(Exists("m/kept"));
  EXPECT_TRUE(S_ISLNK(Stat("l").st_mode));
  EXPECT_TRUE(S_ISCHR(Stat("f").st_mode));
  // A directory in the place of something else of this layer begins empty, also over lower layers.
  EXPECT_TRUE(IsOpaque("s"));
  EXPECT_FALSE(IsOpaque("m"));
}

TEST_P(LayerFilesTest, HardLinksShareTheirFile) {
  ASSERT_TRUE(Apply({File("d/a", "x"), HardLink("d/b", "./d/a"), HardLink("c", "/d/a"), Symlink("s", "nowhere"),
                     HardLink("t", "s"), HardLink("d/a", "d/a"), File("r", "old"), HardLink("r", "d/a"),
                     HardLink("up", "../../d/a")})
                  .ok());
  EXPECT_EQ(Stat("d/a").st_nlink, 5u);
  EXPECT_EQ(Stat("r").st_ino, Stat("up").st_ino);
  EXPECT_TRUE(S_ISLNK(Stat("t").st_mode));
}

TEST_P(LayerFilesTest, HardLinksWithoutATargetInTheLayerAreRefused) {
  for (const char* target :
       {"missing", "d", "/", "", "d/f/x", "later", "hidden", "../host", "../../../../etc/passwd"}) {
    absl::Status status = Apply({Dir("d"), File("d/f"), File(".wh.hidden"), HardLink("h", target), File("later")});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << target;
    EXPECT_THAT(std::string(status.message()), HasSubstr("not a file of the same layer")) << target;
    EXPECT_FALSE(Exists("h"));
  }
}

TEST_P(LayerFilesTest, Whiteouts) {
  ASSERT_TRUE(Apply({Dir("d"), File("d/.wh.gone"), File("d/.wh.again"), File("d/again", "new"), File("d/stays", "x"),
                     File("d/.wh.stays"), File("d/.wh.dir"), Dir("d/dir"), Dir("d/first"), File("d/.wh.first"),
                     File("o/x"), File("o/.wh..wh..opq", "ignored data"), File(".wh..wh.plnk/1.2", "x"),
                     File(".wh..wh.aufs"), File(".wh.way"), File("way/f")})
                  .ok());
  EXPECT_TRUE(IsWhiteoutAt("d/gone"));
  EXPECT_EQ(Content("d/again"), "new");
  EXPECT_EQ(Content("d/stays"), "x");  // whiteouts are about lower layers
  EXPECT_TRUE(IsOpaque("d/dir"));
  EXPECT_TRUE(IsOpaque("d/first"));
  EXPECT_TRUE(IsOpaque("o"));
  EXPECT_TRUE(IsOpaque("way"));
  EXPECT_FALSE(IsOpaque("d"));
  EXPECT_THAT(implied_, ElementsAre("", "o"));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(At(""))) {
    EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr(".wh.")));
  }
}

TEST_P(LayerFilesTest, MalformedWhiteoutsAreRefused) {
  for (const char* path : {".wh.", "d/.wh..", "d/.wh...", ".wh.d/f"}) {
    EXPECT_EQ(Apply({File(path)}).code(), absl::StatusCode::kInvalidArgument) << path;
  }
}

TEST_P(LayerFilesTest, ImpliedParentsAreListedUntilDescribed) {
  ASSERT_TRUE(Apply({File("a/b/c/f"), Dir("a/b", 0700), Symlink("l", "/real/way"), File("l/deep/f"), Dir("x"),
                     File("x/f"), Dir("./", 0711, 3)})
                  .ok());
  EXPECT_THAT(implied_, ElementsAre("a", "a/b/c", "real", "real/way", "real/way/deep"));
  EXPECT_EQ(Stat("a").st_mode & 07777, 0755u);
  EXPECT_EQ(Stat("a").st_mtim.tv_sec, 1'600'000'000);
  EXPECT_TRUE(Exists("real/way/deep/f"));
  EXPECT_EQ(Stat(".").st_uid, 3u);
  EXPECT_EQ(Stat(".").st_mode & 07777, 0711u);
}

TEST_P(LayerFilesTest, NothingLeavesTheLayer) {
  std::filesystem::create_directories(base_ + "/outside");
  std::string outside = base_ + "/outside";
  ASSERT_TRUE(Apply({File("../up", "1"), File("/abs", "2"), File("a/../../../b", "3"), Symlink("out", outside),
                     File("out/f", "4"), Symlink("rel", "../../../../../../../../" + outside), File("rel/g", "5"),
                     Symlink("file", base_ + "/host"), File("file", "6"), Dir("out2"), Symlink("out2", outside),
                     File("out2/h", "7"), Symlink("dir", outside), Dir("dir", 0000)})
                  .ok());
  EXPECT_TRUE(std::filesystem::is_empty(outside));
  EXPECT_EQ(Content("up") + Content("abs") + Content("b"), "123");
  EXPECT_EQ(Content(outside + "/f") + Content(outside + "/g") + Content(outside + "/h"), "457");
  EXPECT_EQ(Content("file"), "6");
}

TEST_P(LayerFilesTest, HostileShapesAreErrorsWithTheNameOfTheEntry) {
  EXPECT_THAT(std::string(Apply({File("f"), File("f/x")}).message()), HasSubstr("'f/x'"));
  EXPECT_EQ(Apply({File("g"), File("g/x")}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Apply({Symlink("loop", "loop"), File("loop/x")}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Apply({Symlink("p", "q/x"), Symlink("q", "p"), File("p/x")}).ok(), false);
  EXPECT_EQ(Apply({Symlink("empty", "")}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Apply({File("./")}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Apply({File("..")}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Apply({File("x/" + std::string(90, 'c') + std::string(3, '/'), "ok")}).ok() && Exists("x/x"));
  Entry name = File("n");
  name.pax = {{"path", std::string(300, 'n')}};
  EXPECT_FALSE(Apply({name}).ok());
}

// A hole takes no room in an archive, but its place in an index does.
TEST_P(LayerFilesTest, HolesDoNotFillTheDisk) {
  if (GetParam() != LayerStoreOptions::Format::kErofs) GTEST_SKIP() << "a directory has no index";
  std::vector<Entry> entries;
  for (int i = 0; i < 300; ++i) {
    Entry sparse = File(absl::StrCat("f", i), "");
    sparse.pax = {{"GNU.sparse.major", "0"}, {"GNU.sparse.map", "0,0"}, {"GNU.sparse.size", "268435455"}};
    entries.push_back(sparse);
  }
  absl::Status applied = Apply(entries);
  EXPECT_EQ(applied.code(), absl::StatusCode::kResourceExhausted) << applied;
}

TEST_P(LayerFilesTest, MagicLinksOfProcfsAreNotFollowed) {
  ASSERT_TRUE(Apply({Symlink("p", "/proc/self/root"), File("p/escaped", "x")}).ok());
  EXPECT_EQ(Content("proc/self/root/escaped"), "x");
}

}  // namespace
}  // namespace berth::image
