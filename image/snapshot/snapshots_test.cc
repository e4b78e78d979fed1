#include "image/snapshot/snapshots.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "image/snapshot/layer_stack.h"
#include "image/snapshot/overlay_mounter.h"
#include "image/unpack/testing_archive.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"
#include "runtime/sys/older_kernel.h"
#include "runtime/sys/procfs.h"
#include "runtime/sys/user_namespace.h"

namespace berth::image {
namespace {

using namespace testing_archive;  // NOLINT: the vocabulary of this test
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

const ContainerId kId("c1");

class SnapshotsFixture : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = WhyNot(format(), "/tmp"); !why.empty()) GTEST_SKIP() << why;
    char path[] = "/tmp/berth-snapshot-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    root_ = path;
    store_ = *LayerStore::Open(root_, {.format = format()});
    Reopen();
  }
  void TearDown() override {
    snapshots_.reset();
    store_.reset();
    if (root_.empty()) return;
    EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, root_).ok());
  }
  virtual Format format() const { return Format::kDirectory; }
  void Reopen() { snapshots_ = *Snapshots::Open(root_, store_.get()); }
  std::string Layer(const std::vector<Entry>& entries) {
    auto id = AddLayer(*store_, entries);
    EXPECT_TRUE(id.ok()) << id.status();
    return id.value_or("");
  }
  sys::UniqueFd CreateAndMount(const std::vector<std::string>& layers, const ContainerId& id = kId) {
    absl::Status created = snapshots_->Create({id, layers, {}});
    EXPECT_TRUE(created.ok()) << created;
    auto mount = snapshots_->Mount(id);
    EXPECT_TRUE(mount.ok()) << mount.status();
    return mount.ok() ? *std::move(mount) : sys::UniqueFd();
  }
  static std::vector<std::string> Ls(int mount, absl::string_view path) {
    auto fd = sys::OpenBeneath(mount, path, O_RDONLY | O_DIRECTORY);
    return fd.ok() ? *sys::ListDir(fd->get()) : std::vector<std::string>{std::string(fd.status().message())};
  }
  static std::string Attributes(int mount, const std::string& path) {
    struct stat st;
    if (fstatat(mount, path.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) return "(none)";
    return absl::StrCat(absl::Hex(st.st_mode & 07777), " ", st.st_uid, ":", st.st_gid, " ", st.st_mtim.tv_sec);
  }
  static std::string Content(int mount, absl::string_view path) {
    auto text = sys::ReadFileAt(mount, path);
    return text.ok() ? *text : std::string(text.status().message());
  }
  static absl::Status Write(int mount, absl::string_view path, absl::string_view data) {
    ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenBeneath(mount, path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    return sys::WriteAll(fd.get(), data, path);
  }
  size_t Entries(absl::string_view dir) {
    return sys::ListDir(sys::Open(absl::StrCat(root_, "/", dir), O_RDONLY)->get())->size();
  }
  std::string root_;
  std::unique_ptr<LayerStore> store_;
  std::unique_ptr<Snapshots> snapshots_;
};

class SnapshotsTest : public SnapshotsFixture, public testing::WithParamInterface<Format> {
 protected:
  Format format() const override { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Formats, SnapshotsTest, testing::ValuesIn(kFormats),
                         [](const auto& info) { return FormatName(info.param); });

TEST_P(SnapshotsTest, WhiteoutsHideWhatIsBelow) {
  std::string base = Layer({Dir("d"), File("d/a", "1"), File("d/b", "1"), Dir("o"), File("o/old", "1"), Dir("r"),
                            File("r/old", "1"), Dir("w"), File("w/old", "1"), File("f", "1")});
  std::string top =
      Layer({Dir("d"), File("d/.wh.a"), Dir("o"), File("o/new", "2"), File("o/.wh..wh..opq"), File(".wh.r"), Dir("r"),
             File("r/new", "2"), File(".wh.w"), File("w/new", "2"), File(".wh.f"), File("g", "2")});
  sys::UniqueFd mount = CreateAndMount({base, top});
  EXPECT_THAT(Ls(mount.get(), ""), UnorderedElementsAre("d", "o", "r", "w", "g"));
  EXPECT_THAT(Ls(mount.get(), "d"), ElementsAre("b"));
  EXPECT_THAT(Ls(mount.get(), "o"), ElementsAre("new"));
  EXPECT_THAT(Ls(mount.get(), "r"), ElementsAre("new"));
  EXPECT_THAT(Ls(mount.get(), "w"), ElementsAre("new"));
}

TEST_P(SnapshotsTest, AUserNamespaceSeesItsOwnIds) {
  auto procfs = sys::OpenDetachedProcfs();
  ASSERT_TRUE(procfs.ok()) << procfs.status();
  const sys::IdRange range = {0, 100000, 65536};
  auto userns = sys::NewUserNamespace(procfs->get(), {&range, 1}, {&range, 1});
  ASSERT_TRUE(userns.ok()) << userns.status();
  if (absl::Status s = snapshots_->TryMapping(userns->get()); absl::IsFailedPrecondition(s)) GTEST_SKIP() << s;
  const size_t before = Entries("snapshots");
  EXPECT_TRUE(snapshots_->TryMapping(userns->get()).ok());
  EXPECT_EQ(Entries("snapshots"), before);
  std::string base = Layer({Dir("./", 0755, 0, 3), Dir("d", 0755, 5, 6), File("d/f", "1")});
  std::string top = Layer({File("d/g", "2")});  // takes a fix-up layer
  { sys::UniqueFd plain = CreateAndMount({base, top}, ContainerId("plain")); }
  EXPECT_THAT(Attributes(AT_FDCWD, root_ + "/snapshots/plain/upper"), ::testing::HasSubstr(" 0:3 "));

  ASSERT_TRUE(CreateAndMount({base, top}).valid());
  for (int i = 0; i < 2; ++i) {
    auto mount = snapshots_->Mount(kId, userns->get());
    ASSERT_TRUE(mount.ok()) << mount.status();
    EXPECT_THAT(Attributes(mount->get(), "."), ::testing::HasSubstr(" 100000:100003 "));
    EXPECT_THAT(Attributes(mount->get(), "d"), ::testing::HasSubstr(" 100005:100006 "));
    EXPECT_THAT(Attributes(mount->get(), "d/f"), ::testing::HasSubstr(" 100000:100000 "));
    EXPECT_THAT(Attributes(mount->get(), "d/g"), ::testing::HasSubstr(" 100000:100000 "));
  }
  EXPECT_THAT(Attributes(AT_FDCWD, root_ + "/snapshots/c1/upper"), ::testing::HasSubstr(" 100000:100003 "));
}

TEST_P(SnapshotsTest, AnOpaqueRootHidesAllBelow) {
  std::string base = Layer({File("old", "1"), Dir("./", 0711, 7)});
  std::string top = Layer({File(".wh..wh..opq"), File("new", "2")});
  sys::UniqueFd mount = CreateAndMount({base, top});
  EXPECT_THAT(Ls(mount.get(), ""), ElementsAre("new"));
}

TEST_P(SnapshotsTest, ImpliedDirectoriesKeepTheAttributesOfLowerLayers) {
  Entry secret = Dir("home/u", 0700, 1000, 1000);
  secret.pax = {{"SCHILY.xattr.user.note", "mine"}};
  std::string base = Layer(
      {Dir("./", 0751, 3, 4), Dir("tmp", 01777), Dir("home"), secret, File("home/u/old", "1"), Dir("opt/x", 0750)});
  std::string middle =
      Layer({File("tmp/a", "2"), File("home/u/sub/b", "2"), Dir("var", 0711), File("opt/x/.wh..wh..opq")});
  std::string top =
      Layer({File("tmp/c", "3"), File("var/d", "3"), Dir("home/u/sub", 0770, 9), File("new/deep/f", "3")});
  sys::UniqueFd mount = CreateAndMount({base, middle, top});
  int fd = mount.get();
  EXPECT_EQ(Attributes(fd, "tmp"), absl::StrCat(absl::Hex(01777), " 0:0 1600000000"));
  EXPECT_EQ(Attributes(fd, "home/u"), absl::StrCat(absl::Hex(0700), " 1000:1000 1600000000"));
  EXPECT_EQ(Attributes(fd, "home/u/sub"), absl::StrCat(absl::Hex(0770), " 9:0 1600000000"));
  EXPECT_EQ(Attributes(fd, "var"), absl::StrCat(absl::Hex(0711), " 0:0 1600000000"));
  EXPECT_EQ(Attributes(fd, "opt/x"), absl::StrCat(absl::Hex(0750), " 0:0 1600000000"));
  EXPECT_EQ(Attributes(fd, "new"), absl::StrCat(absl::Hex(0755), " 0:0 1600000000"));
  EXPECT_EQ(Attributes(fd, "."), absl::StrCat(absl::Hex(0751), " 3:4 1600000000"));
  char note[16] = {};
  EXPECT_EQ(getxattr(absl::StrCat("/proc/self/fd/", fd, "/home/u").c_str(), "user.note", note, sizeof note), 4);
  // The fix-up layer hides nothing.
  EXPECT_THAT(Ls(fd, "tmp"), UnorderedElementsAre("a", "c"));
  EXPECT_THAT(Ls(fd, "home/u"), UnorderedElementsAre("old", "sub"));
  EXPECT_EQ(Content(fd, "home/u/sub/b"), "2");
  EXPECT_THAT(Ls(fd, "opt/x"), IsEmpty());
}

TEST_P(SnapshotsTest, DirectoriesThatReplaceLowerOnesAreNotRepaired) {
  std::string base =
      Layer({Dir("a", 0700, 5), Dir("b", 0700, 5), Dir("b/c", 0700, 5), Dir("d", 0700, 5), Dir("e", 0700)});
  std::string middle = Layer({File(".wh.a"), Dir("b"), File("b/.wh..wh..opq"), File("d", "a file"), File(".wh.e")});
  std::string top = Layer({File("a/f", "x"), File("b/c/f", "x"), File("d2", "x")});
  sys::UniqueFd mount = CreateAndMount({base, middle, top});
  for (const char* path : {"a", "b/c"}) {
    EXPECT_EQ(Attributes(mount.get(), path), absl::StrCat(absl::Hex(0755), " 0:0 1600000000")) << path;
  }
  EXPECT_EQ(Content(mount.get(), "d"), "a file");
  EXPECT_EQ(Attributes(mount.get(), "e"), "(none)");
}

TEST_P(SnapshotsTest, FixupsAreSharedByAChainAndGoWithItsLayers) {
  std::string base = Layer({Dir("tmp", 01777)}), top = Layer({File("tmp/x", "1")}), other = Layer({File("y", "1")});
  { CreateAndMount({base, top}, ContainerId("one")); }
  { CreateAndMount({base, top}, ContainerId("two")); }
  { CreateAndMount({base, other}, ContainerId("three")); }
  EXPECT_EQ(Entries("fixups"), 2u);
  ASSERT_TRUE(snapshots_->PruneFixups().ok());
  EXPECT_EQ(Entries("fixups"), 2u);
  ASSERT_TRUE(store_->Remove(top).ok());
  ASSERT_TRUE(snapshots_->PruneFixups().ok());
  EXPECT_EQ(Entries("fixups"), 1u);
}

TEST_P(SnapshotsTest, ALayerThatOccursTwiceIsStackedOnce) {
  std::string empty = Layer({}), base = Layer({File("f", "1")}), without = Layer({File(".wh.f")});
  sys::UniqueFd mount = CreateAndMount({empty, base, empty, without, base, empty});
  EXPECT_EQ(Content(mount.get(), "f"), "1");
  EXPECT_THAT(WithoutRepeats({"a", "b", "a", "c", "b"}), ElementsAre("a", "c", "b"));
}

TEST_P(SnapshotsTest, WritesStayInTheSnapshot) {
  std::string base = Layer({Dir("d"), File("d/f", "lower"), File("gone", "x")});
  {
    sys::UniqueFd one = CreateAndMount({base}, ContainerId("one")), two = CreateAndMount({base}, ContainerId("two"));
    ASSERT_TRUE(Write(one.get(), "d/f", "upper").ok());
    ASSERT_TRUE(Write(one.get(), "big", std::string(1 << 20, 'x')).ok());
    ASSERT_EQ(unlinkat(one.get(), "gone", 0), 0);
    ASSERT_EQ(renameat(one.get(), "big", one.get(), "d/big"), 0);
    EXPECT_EQ(Content(two.get(), "d/f"), "lower");
    EXPECT_EQ(Content(two.get(), "gone"), "x");
  }
  auto usage = snapshots_->Usage(ContainerId("one"));
  ASSERT_TRUE(usage.ok()) << usage.status();
  EXPECT_GE(usage->bytes, 1u << 20);
  EXPECT_LT(usage->bytes, (1u << 20) + 100'000);
  EXPECT_EQ(usage->inodes, 5u);
  EXPECT_EQ(snapshots_->Usage(ContainerId("two"))->inodes, 1u);
  // Mounted again after the daemon came back: what was written is there.
  Reopen();
  auto again = snapshots_->Mount(ContainerId("one"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Content(again->get(), "d/f"), "upper");
  EXPECT_EQ(Ls(again->get(), "").size(), 1u);
}

TEST_P(SnapshotsTest, LifeOfASnapshot) {
  std::string base = Layer({File("f", "1")});
  EXPECT_EQ(snapshots_->Mount(kId).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(snapshots_->Usage(kId).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(snapshots_->Remove(kId).ok());
  ASSERT_TRUE(snapshots_->Create({kId, {base}, {}}).ok());
  EXPECT_EQ(snapshots_->Create({kId, {base}, {}}).code(), absl::StatusCode::kAlreadyExists);
  Reopen();
  auto list = snapshots_->List();
  ASSERT_THAT(*list, SizeIs(1));
  EXPECT_EQ((*list)[0].id, kId);
  EXPECT_THAT((*list)[0].layers, ElementsAre(base));
  { EXPECT_TRUE(snapshots_->Mount(kId).ok()); }
  ASSERT_TRUE(snapshots_->Remove(kId).ok());
  EXPECT_THAT(*snapshots_->List(), IsEmpty());
  EXPECT_EQ(Entries("snapshots"), 0u);
}

TEST_P(SnapshotsTest, LayersInUseAreThoseOfTheSnapshotsOnDisk) {
  std::string base = Layer({File("f", "1")}), top = Layer({File("g", "1")});
  ASSERT_TRUE(snapshots_->Create({.id = ContainerId("one"), .layers = {base, top}}).ok());
  ASSERT_TRUE(snapshots_->Create({.id = ContainerId("two"), .layers = {base}}).ok());
  for (int i = 0; i < 2; ++i, Reopen()) EXPECT_THAT(snapshots_->LayersInUse(), UnorderedElementsAre(base, top));
  EXPECT_THAT(snapshots_->LayersOf(ContainerId("one")), ElementsAre(base, top));
  ASSERT_TRUE(snapshots_->Remove(ContainerId("one")).ok());
  for (int i = 0; i < 2; ++i, Reopen()) EXPECT_THAT(snapshots_->LayersInUse(), UnorderedElementsAre(base));
  EXPECT_THAT(snapshots_->LayersOf(ContainerId("one")), IsEmpty());
}

TEST_P(SnapshotsTest, BadRequestsLeaveNothing) {
  std::string base = Layer({File("f", "1")});
  EXPECT_EQ(snapshots_->Create({kId, {base, "sha256:" + std::string(64, '0')}, {}}).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(snapshots_->Create({kId, {}, {}}).code(), absl::StatusCode::kInvalidArgument);
  for (const char* id : {"", "..", "../x", ".tmp-x", "a/b"}) {
    EXPECT_EQ(snapshots_->Create({ContainerId(id), {base}, {}}).code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(snapshots_->Remove(ContainerId(id)).code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(snapshots_->Mount(ContainerId(id)).status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
  EXPECT_EQ(Entries("snapshots"), 0u);
}

TEST_P(SnapshotsTest, ASnapshotOfAnEarlierBootIsNotMounted) {
  std::string base = Layer({File("f", "1")});
  ASSERT_TRUE(snapshots_->Create({kId, {base}, {}}).ok());
  std::ofstream(root_ + "/snapshots/c1/meta.json") << R"({"boot":"another","layers":[")" << base << "\"]}";
  Reopen();
  EXPECT_EQ(snapshots_->Mount(kId).status().code(), absl::StatusCode::kFailedPrecondition);
  std::ofstream(root_ + "/snapshots/c1/meta.json") << "{";
  Reopen();
  EXPECT_EQ(snapshots_->Mount(kId).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(*snapshots_->List(), SizeIs(1));
  EXPECT_TRUE(snapshots_->Remove(kId).ok());
}

TEST_P(SnapshotsTest, FixupsOfAnEarlierBootAreMadeAnew) {
  std::string base = Layer({Dir("tmp", 01777)}), top = Layer({File("tmp/x", "1")});
  ASSERT_TRUE(snapshots_->Create({kId, {base, top}, {}}).ok());
  for (const auto& entry : std::filesystem::directory_iterator(root_ + "/fixups")) {
    std::filesystem::permissions(entry.path() / "fs/tmp", std::filesystem::perms::none);  // torn
    std::ofstream(entry.path() / "meta.json") << R"({"boot":"another","layers":[]})";
  }
  Reopen();
  sys::UniqueFd mount = CreateAndMount({base, top}, ContainerId("two"));
  EXPECT_EQ(Attributes(mount.get(), "tmp"), absl::StrCat(absl::Hex(01777), " 0:0 1600000000"));
}

TEST_P(SnapshotsTest, ManyLayers) {
  std::vector<std::string> layers;
  for (int i = 0; i < 130; ++i)
    layers.push_back(Layer({File(absl::StrCat("f", i), "x"), File("same", std::to_string(i))}));
  sys::UniqueFd mount = CreateAndMount(layers);
  EXPECT_EQ(Content(mount.get(), "same"), "129");
  EXPECT_EQ(Ls(mount.get(), "").size(), 131u);
}

class OlderKernelTest : public SnapshotsFixture {
 protected:
  // What `body` finds with snapshots that are opened where `missing` is missing.
  std::string Without(const std::vector<sys::MissingCall>& missing, const std::function<std::string()>& body) {
    auto report = sys::OnOlderKernel(missing, [&] {
      snapshots_.release();  // its thread is not there in the child
      Reopen();
      const std::string before = Leavings();
      std::string found = body();
      std::string after = Leavings();
      // A thread can be joined a little before it is gone.
      for (int i = 0; i < 1000 && before != after; ++i, after = Leavings()) usleep(10000);
      return before == after ? found : absl::StrCat("before:\n", before, "after:\n", after);
    });
    return report.ok() ? *report : report.status().ToString();
  }
  // What a container finds in a snapshot of `count` layers.
  std::string MountedWithout(const std::vector<sys::MissingCall>& missing, int count = 2) {
    std::vector<std::string> layers;
    for (int i = 1; i <= count; ++i)
      layers.push_back(Layer({File("f", std::to_string(i)), File(absl::StrCat(i), "x")}));
    return Without(missing, [&] {
      sys::UniqueFd mount = CreateAndMount(layers);
      const std::string found = absl::StrCat(Content(mount.get(), "f"), " of ", Ls(mount.get(), "").size() - 1);
      return Write(mount.get(), "new", "x").ok() ? found : "it cannot be written";
    });
  }
  // What is mounted of the test's directory, and the threads and descriptors of this process but for the scratch
  // namespace and directories of layers, which are kept. Once it stays the same: the thread that unlinks what was
  // removed has descriptors of its own while it does.
  std::string Leavings() const {
    std::string last, now = LeavingsNow();
    for (int i = 0; i < 100 && now != last; ++i) {
      absl::SleepFor(absl::Milliseconds(20));
      last = std::exchange(now, LeavingsNow());
    }
    return now;
  }
  std::string LeavingsNow() const {
    std::string out;
    const std::string mounts = *sys::ReadFile("/proc/self/mountinfo");
    for (absl::string_view line : absl::StrSplit(mounts, '\n')) {
      if (absl::StrContains(line, root_)) absl::StrAppend(&out, line, "\n");
    }
    for (const char* of : {"/proc/self/task", "/proc/self/fd"}) {
      int count = 0;
      for (const auto& entry : std::filesystem::directory_iterator(of)) {
        std::error_code gone;
        const std::string to = std::filesystem::read_symlink(entry, gone);
        count += !absl::StartsWith(to, "mnt:[") && !absl::StartsWith(to, root_);
      }
      absl::StrAppend(&out, of, " ", count, "\n");
    }
    return out;
  }
  static sys::MissingCall DescriptorOptions() { return {SYS_fsconfig, EINVAL, 1, FSCONFIG_SET_FD}; }
  static sys::MissingCall OptionsFor(const char* key) { return {SYS_fsconfig, EINVAL, 2, {}, 0, key}; }
};

// FALLBACK(linux<6.13) of image/snapshot/overlay_mounter.cc
TEST_F(OlderKernelTest, TakesLowerDirectoriesByPath) { EXPECT_EQ(MountedWithout({DescriptorOptions()}), "2 of 2"); }

// FALLBACK(linux<6.8) of image/snapshot/overlay_mounter.cc
TEST_F(OlderKernelTest, TakesLowerDirectoriesAllAtOnce) {
  EXPECT_EQ(MountedWithout({DescriptorOptions(), OptionsFor("lowerdir+")}), "2 of 2");
}

// FALLBACK(linux<6.8) of image/snapshot/overlay_mounter.cc
TEST_F(OlderKernelTest, TakesMoreLowerDirectoriesThanAnOptionHolds) {
  EXPECT_EQ(MountedWithout({DescriptorOptions(), OptionsFor("lowerdir+")}, 60), "60 of 60");
}

// FALLBACK(linux<6.13) of image/snapshot/overlay_mounter.cc
TEST_F(OlderKernelTest, MapsIdsThroughMountsThatAreAttachedForAMoment) {
  auto procfs = sys::OpenDetachedProcfs();
  ASSERT_TRUE(procfs.ok()) << procfs.status();
  const sys::IdRange range = {0, 100000, 65536};
  auto userns = sys::NewUserNamespace(procfs->get(), {&range, 1}, {&range, 1});
  ASSERT_TRUE(userns.ok()) << userns.status();
  const std::vector<std::string> layers = {Layer({Dir("./", 0755, 0, 3), Dir("d", 0755, 5, 6), File("d/f", "1")}),
                                           Layer({File("d/g", "2")})};
  EXPECT_EQ(Without({DescriptorOptions()},
                    [&]() -> std::string {
                      if (absl::Status s = snapshots_->TryMapping(userns->get()); !s.ok()) return s.ToString();
                      if (absl::Status s = snapshots_->Create({kId, layers, {}}); !s.ok()) return s.ToString();
                      auto mount = snapshots_->Mount(kId, userns->get());
                      if (!mount.ok()) return mount.status().ToString();
                      std::string out;
                      for (const char* path : {".", "d", "d/f", "d/g"}) {
                        const std::string all = Attributes(mount->get(), path);
                        absl::StrAppend(&out, all.substr(0, all.rfind(' ')), "\n");
                      }
                      return out;
                    }),
            "1ed 100000:100003\n1ed 100005:100006\n1a4 100000:100000\n1a4 100000:100000\n");
}

// Each way in which a kernel wants its lower directories, on this one.
class LowerStyleTest : public SnapshotsFixture, public testing::WithParamInterface<LowerStyle> {};

TEST_P(LowerStyleTest, Mounts) {
  std::filesystem::create_directories(root_ + "/o/upper");
  std::filesystem::create_directories(root_ + "/o/work");
  std::vector<sys::UniqueFd> fds;
  std::vector<int> lowers;
  for (int i = 0; i < 15; ++i) {
    auto fd = store_->OpenLayer(Layer({File(absl::StrCat("f", i), "x"), File("same", std::to_string(i))}));
    ASSERT_TRUE(fd.ok());
    fds.push_back(*std::move(fd));
    lowers.push_back(fds.back().get());
  }
  auto parent = sys::Open(root_ + "/o", O_PATH | O_DIRECTORY), upper = sys::Open(root_ + "/o/upper", O_PATH),
       work = sys::Open(root_ + "/o/work", O_PATH);
  const Overlay overlay = {lowers, false, upper->get(), work->get(), parent->get(), ""};
  auto mount = GetParam() == LowerStyle::kAttached
                   ? OverlayMounter().MountAttached(overlay)
                   : sys::MountDetached("overlay", OverlayOptions(overlay, GetParam()), 0);
  if (IsUnknownStyle(ErrnoOf(mount.status())) && GetParam() < LowerStyle::kJoined) {
    GTEST_SKIP() << "this kernel takes no lower directories by descriptor";
  }
  ASSERT_TRUE(mount.ok()) << mount.status();
  EXPECT_EQ(Content(mount->get(), "same"), "0");
  EXPECT_EQ(Ls(mount->get(), "").size(), 16u);
  ASSERT_TRUE(Write(mount->get(), "new", "x").ok());
  EXPECT_EQ(Content(upper->get(), "new"), "x");
}

TEST_P(SnapshotsTest, OverlaysOfManyThreadsAreAttachedApart) {
  const std::vector<sys::UniqueFd> layers = [&] {
    std::vector<sys::UniqueFd> fds;
    for (int i = 0; i < 8; ++i) fds.push_back(*store_->OpenLayer(Layer({File("f", std::to_string(i))})));
    return fds;
  }();
  const sys::UniqueFd base = *store_->OpenLayer(Layer({File("f", "base")}));
  const OverlayMounter mounter;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < layers.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 20; ++n) {
        const int lowers[] = {layers[i].get(), base.get()};
        auto mount = mounter.MountAttached({.lowers = lowers});
        ASSERT_TRUE(mount.ok()) << mount.status();
        EXPECT_EQ(Content(mount->get(), "f"), std::to_string(i));
        EXPECT_EQ(ErrnoOf(Write(mount->get(), "new", "x")), EROFS);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(absl::StrContains(*sys::ReadFile("/proc/self/mountinfo"), root_));
}

TEST(LowerStyle, OptionsOfAttachedDirectories) {
  const int lowers[] = {7, 8, 9};
  EXPECT_EQ(sys::JoinOptions(AttachedOptions({lowers, true, 4, 5, 6, "u:r:t:s0:c1,c2"})),
            "lowerdir=0:1:2,upperdir=w/upper,workdir=w/work,index=off,metacopy=off,redirect_dir=nofollow,volatile,"
            "context=\"u:r:t:s0:c1,c2\"");
  EXPECT_THAT(AttachedOptions({.lowers = lowers}), SizeIs(4));
}

TEST(LowerStyle, KernelsThatDoNotKnowAStyleAreToldFromOtherFailures) {
  EXPECT_TRUE(IsUnknownStyle(EINVAL));
  EXPECT_TRUE(IsUnknownStyle(EOPNOTSUPP)) << "overlayfs before Linux 6.5";
  EXPECT_TRUE(IsUnknownStyle(EBADF)) << "descriptors that are not O_PATH only";
  for (int other : {0, ENOENT, EPERM, ESTALE}) EXPECT_FALSE(IsUnknownStyle(other)) << other;
}

INSTANTIATE_TEST_SUITE_P(Styles, LowerStyleTest,
                         testing::Values(LowerStyle::kDescriptors, LowerStyle::kPaths, LowerStyle::kJoined,
                                         LowerStyle::kAttached));

// -- what goes with a snapshot

class VolumesTest : public SnapshotsTest {
 protected:
  static constexpr char kImage[] = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
  absl::Status CreateWith(const std::vector<std::string>& of_volume) {
    return snapshots_->Create({kId, {Layer({Dir("d")})}, {{kImage, of_volume}}});
  }
  sys::UniqueFd MountImage(absl::string_view sub_path) {
    auto mount = snapshots_->MountImage(kId, ImageId(kImage), sub_path);
    EXPECT_TRUE(mount.ok()) << mount.status();
    return mount.ok() ? *std::move(mount) : sys::UniqueFd();
  }
  int MountError(absl::string_view sub_path) {
    return ErrnoOf(snapshots_->MountImage(kId, ImageId(kImage), sub_path).status());
  }
};
INSTANTIATE_TEST_SUITE_P(Formats, VolumesTest, testing::ValuesIn(kFormats),
                         [](const auto& info) { return FormatName(info.param); });

TEST_P(VolumesTest, AnImageOfOneLayerIsReadOnlyAndKeepsItsRootsAttributes) {
  ASSERT_TRUE(CreateWith({Layer({Dir("./", 0751, 3, 4), File("f", "1"), File(".wh.gone")})}).ok());
  sys::UniqueFd mount = MountImage("");
  EXPECT_THAT(Ls(mount.get(), ""), ElementsAre("f"));
  EXPECT_EQ(Attributes(mount.get(), ""), absl::StrCat(absl::Hex(0751), " 3:4 1600000000"));
  EXPECT_EQ(ErrnoOf(Write(mount.get(), "new", "x")), EROFS);
}

TEST_P(VolumesTest, AnImageOfManyLayersIsMountedManyTimes) {
  std::string base = Layer({Dir("d"), File("d/a", "1"), File("f", "1")});
  ASSERT_TRUE(CreateWith({base, Layer({Dir("d"), File("d/b", "2"), File(".wh.f")})}).ok());
  sys::UniqueFd one = MountImage(""), two = MountImage("d");
  EXPECT_THAT(Ls(one.get(), ""), ElementsAre("d"));
  EXPECT_THAT(Ls(one.get(), "d"), UnorderedElementsAre("a", "b"));
  EXPECT_THAT(Ls(two.get(), ""), UnorderedElementsAre("a", "b"));
  EXPECT_EQ(ErrnoOf(Write(two.get(), "new", "x")), EROFS);
}

TEST_P(VolumesTest, ASubPathStaysInTheImage) {
  ASSERT_TRUE(CreateWith({Layer({Dir("d"), Dir("d/e"), File("d/e/x", "1"), File("f", "1"), Symlink("up", "../../../d"),
                                 Symlink("out", "/etc"), Symlink("abs", "/d/e"), Symlink("loop", "loop")})})
                  .ok());
  EXPECT_THAT(Ls(MountImage("up").get(), ""), ElementsAre("e"));
  EXPECT_THAT(Ls(MountImage("abs").get(), ""), ElementsAre("x"));
  EXPECT_THAT(Ls(MountImage("../../d/e").get(), ""), ElementsAre("x"));
  EXPECT_EQ(MountError("out"), ENOENT);
  EXPECT_EQ(MountError("none"), ENOENT);
  EXPECT_EQ(MountError("f"), ENOTDIR);
  EXPECT_EQ(MountError("loop"), ELOOP);
}

// FALLBACK(linux<6.15) of image/snapshot/overlay_mounter.cc
TEST_P(VolumesTest, AnOlderKernelClonesWhatIsAttached) {
  ASSERT_TRUE(CreateWith({Layer({Dir("d"), File("d/x", "1")})}).ok());
  sys::UniqueFd mount = MountImage("");
  sys::UniqueFd found = *sys::OpenInRoot(mount.get(), "d", O_PATH | O_DIRECTORY);
  auto clone = OverlayMounter().CloneWhileAttached(mount.get(), found.get());
  ASSERT_TRUE(clone.ok()) << clone.status();
  EXPECT_THAT(Ls(clone->get(), ""), ElementsAre("x"));
  EXPECT_EQ(ErrnoOf(Write(clone->get(), "new", "x")), EROFS);
  EXPECT_FALSE(absl::StrContains(*sys::ReadFile("/proc/self/mountinfo"), root_));
}

TEST_P(VolumesTest, LayersOfVolumesAreInTheRecord) {
  std::string layer = Layer({Dir("d")});
  ASSERT_TRUE(CreateWith({layer, layer}).ok());
  Reopen();
  std::vector<SnapshotRecord> records = *snapshots_->List();
  ASSERT_THAT(records, SizeIs(1));
  EXPECT_THAT(records[0].volumes[kImage], ElementsAre(layer, layer));
  EXPECT_THAT(records[0].AllLayers(), SizeIs(3));
  EXPECT_TRUE(absl::IsFailedPrecondition(snapshots_->MountImage(kId, ImageId("sha256:2"), "").status()));
}

TEST_P(VolumesTest, AVolumeOfTheImageBeginsWithItsContent) {
  std::string base =
      Layer({Dir("./"), Dir("data", 0700, 999, 998), File("data/f", "1"), Symlink("link", "/data"), File("file", "1")});
  sys::UniqueFd rootfs = CreateAndMount({base});
  auto volume = snapshots_->CopyVolume(kId, rootfs.get(), "/link");
  ASSERT_TRUE(volume.ok()) << volume.status();
  EXPECT_EQ(volume->path, "/data");
  EXPECT_EQ(Content(volume->mount.get(), "f"), "1");
  EXPECT_EQ(Attributes(volume->mount.get(), ""), absl::StrCat(absl::Hex(0700), " 999:998 1600000000"));
  TreeUsage before = *snapshots_->Usage(kId);
  ASSERT_TRUE(Write(volume->mount.get(), "new", std::string(100000, 'x')).ok());
  EXPECT_GE(snapshots_->Usage(kId)->bytes, before.bytes + 100000);
  EXPECT_EQ(ErrnoOf(sys::OpenBeneath(rootfs.get(), "data/new", O_PATH).status()), ENOENT);

  auto missing = snapshots_->CopyVolume(kId, rootfs.get(), "/new/deep");
  ASSERT_TRUE(missing.ok()) << missing.status();
  EXPECT_EQ(missing->path, "/new/deep");
  EXPECT_THAT(Ls(missing->mount.get(), ""), IsEmpty());
  EXPECT_EQ(ErrnoOf(snapshots_->CopyVolume(kId, rootfs.get(), "/file").status()), ENOTDIR);
  volume->mount.Reset();
  missing->mount.Reset();
  rootfs.Reset();
  EXPECT_TRUE(snapshots_->Remove(kId).ok());
  EXPECT_EQ(Entries("snapshots"), 0u);
}

}  // namespace
}  // namespace berth::image
