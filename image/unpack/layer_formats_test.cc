// Both formats of layers show the same files, whatever an archive holds: the archives here are made of chance.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>

#include "image/erofs/erofs_mount.h"
#include "image/unpack/layer_builder.h"
#include "image/unpack/testing_archive.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

namespace fs = std::filesystem;
using namespace testing_archive;  // NOLINT: the vocabulary of this test

// What a container, and overlayfs, can see of one file.
std::string Describe(const std::string& path) {
  struct stat st;
  if (lstat(path.c_str(), &st) != 0) return "(gone)";
  std::string line = absl::StrCat(absl::Hex(st.st_mode), " ", st.st_uid, ":", st.st_gid, " ", st.st_mtim.tv_sec);
  const bool whiteout = S_ISCHR(st.st_mode) && st.st_rdev == 0;
  if (whiteout) return "whiteout";  // nobody sees its attributes
  if (!S_ISDIR(st.st_mode)) absl::StrAppend(&line, " rdev ", st.st_rdev, " links ", st.st_nlink, " size ", st.st_size);
  if (S_ISLNK(st.st_mode)) absl::StrAppend(&line, " -> ", fs::read_symlink(path).string());
  if (S_ISREG(st.st_mode)) absl::StrAppend(&line, " ", *sys::ReadFile(path));
  char value[16];
  if (lgetxattr(path.c_str(), "trusted.overlay.opaque", value, sizeof value) == 1) line += " opaque";
  ssize_t n = lgetxattr(path.c_str(), "user.x", value, sizeof value);
  if (n >= 0) absl::StrAppend(&line, " x=", absl::string_view(value, static_cast<size_t>(n)));
  return line;
}

std::map<std::string, std::string> Tree(int root) {
  const std::string top = absl::StrCat("/proc/self/fd/", root, "/.");
  std::map<std::string, std::string> lines = {{".", Describe(top)}};
  for (const auto& entry : fs::recursive_directory_iterator(top)) {
    const std::string path = entry.path();
    lines[path.substr(top.size() + 1)] = Describe(path);
  }
  return lines;
}

std::string Difference(const std::map<std::string, std::string>& erofs,
                       const std::map<std::string, std::string>& directory) {
  std::string out;
  for (const auto& [name, line] : erofs) {
    auto other = directory.find(name);
    if (other == directory.end()) absl::StrAppend(&out, name, ": erofs alone has ", line, "\n");
    if (other != directory.end() && other->second != line) {
      absl::StrAppend(&out, name, ": erofs ", line, ", directory ", other->second, "\n");
    }
  }
  for (const auto& [name, line] : directory) {
    if (!erofs.contains(name)) absl::StrAppend(&out, name, ": the directory alone has ", line, "\n");
  }
  return out;
}

struct Made {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string message;
  std::map<std::string, std::string> tree;
  std::vector<std::string> implied;
};

absl::Status Build(const std::string& path, const std::string& tar, bool erofs, Made& made) {
  fs::create_directory(path);
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(auto builder, erofs ? NewErofsBuilder(dir.get(), {}) : NewDirectoryBuilder(dir.get(), {}));
  TarParser parser(&builder->Visitor());
  RETURN_IF_ERROR(builder->Archive(tar));
  RETURN_IF_ERROR(parser.Write(tar));
  RETURN_IF_ERROR(parser.Finish());
  LayerInfo info;
  RETURN_IF_ERROR(builder->Finish(info));
  made.implied = info.implied_parents;
  sys::UniqueFd root;
  if (erofs) {
    ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenAt(dir.get(), kLayerFile, O_RDONLY));
    ASSIGN_OR_RETURN(root, MountErofs(file.get()));
  } else {
    ASSIGN_OR_RETURN(root, sys::OpenAt(dir.get(), kLayerRoot, O_RDONLY | O_DIRECTORY));
  }
  made.tree = Tree(root.get());
  return absl::OkStatus();
}

Made Make(const std::string& path, const std::string& tar, bool erofs) {
  Made made;
  const absl::Status status = Build(path, tar, erofs, made);
  made.code = status.code();
  made.message = std::string(status.message());
  return made;
}

// Few names, so that entries meet: each other, symlinks, whiteouts.
class Chance {
 public:
  explicit Chance(unsigned seed) : random_(seed) {}

  std::string Tar() {
    std::vector<Entry> entries;
    for (int left = 2 + Below(14); left > 0; --left) entries.push_back(Next());
    return testing_archive::Tar(entries);
  }

 private:
  int Below(int end) { return static_cast<int>(random_() % static_cast<unsigned>(end)); }
  std::string Name() {
    static constexpr const char* kNames[] = {"a", "b", "c", "d", "a/", "..", "./b", "long-name-of-a-file"};
    return kNames[Below(std::size(kNames))];
  }
  std::string Path() {
    std::string path = Name();
    for (int more = Below(4); more > 0; --more) absl::StrAppend(&path, "/", Name());
    return path;
  }
  std::string WhiteoutPath() {
    std::string path = Below(2) == 0 ? "" : absl::StrCat(Path(), "/");
    return path + (Below(4) == 0 ? ".wh..wh..opq" : absl::StrCat(".wh.", std::string(1, "abcd"[Below(4)])));
  }
  Entry Next() {
    Entry entry;
    switch (Below(20)) {
      default:
        entry = File(Path(), std::string(static_cast<size_t>(Below(3) * 5), static_cast<char>('f' + Below(3))));
        break;
      case 0:
      case 1:
      case 2:
      case 3:
        entry = Dir(Path());
        break;
      case 4:
      case 5:
        entry = Symlink(Path(), Below(2) == 0 ? Path() : absl::StrCat("/", Path()));
        break;
      case 6:
        entry = HardLink(Path(), Path());
        break;
      case 7:
      case 8:
        entry = File(WhiteoutPath());
        break;
      case 9:
      case 10:
        entry = Device(Path(), '3', static_cast<uint32_t>(Below(2)), 3);
    }
    static constexpr uint32_t kModes[] = {0644, 0755, 01777, 02770, 04711, 0};
    entry.mode = kModes[Below(std::size(kModes))];
    entry.uid = static_cast<uint32_t>(Below(2) * 1000);
    entry.gid = static_cast<uint32_t>(Below(3) * 50);
    entry.mtime = 1'600'000'000 + Below(5);
    if (Below(5) == 0) entry.pax["SCHILY.xattr.user.x"] = std::to_string(Below(9));
    return entry;
  }

  std::mt19937 random_;
};

TEST(LayerFormatsTest, AgreeOnArchivesOfChance) {
  if (std::string why = WhyNot(Format::kErofs, "/tmp"); !why.empty()) GTEST_SKIP() << why;
  char path[] = "/tmp/berth-formats-test-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  int whole = 0;
  for (unsigned seed = 0; seed < 400 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const std::string tar = Chance(seed).Tar();
    const Made erofs = Make(absl::StrCat(path, "/e", seed), tar, true);
    const Made directory = Make(absl::StrCat(path, "/d", seed), tar, false);
    EXPECT_EQ(erofs.code, directory.code) << erofs.message << "\n" << directory.message;
    EXPECT_EQ(Difference(erofs.tree, directory.tree), "");
    EXPECT_EQ(erofs.implied, directory.implied);
    whole += erofs.code == absl::StatusCode::kOk;
  }
  EXPECT_GT(whole, 50);
  fs::remove_all(path);
}

}  // namespace
}  // namespace berth::image
