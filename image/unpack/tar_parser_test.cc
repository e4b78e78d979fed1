#include "image/unpack/tar_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "image/unpack/testing_archive.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing_archive::Dir;
using testing_archive::Entry;
using testing_archive::File;
using testing_archive::FixChecksum;
using testing_archive::Header;
using testing_archive::Tar;
using testing_archive::TarEntryBytes;

struct Seen {
  TarEntry entry;
  std::string data;
};

class Recorder : public TarVisitor {
 public:
  explicit Recorder(absl::string_view archive) : archive_(archive) {}
  absl::Status OnEntry(const TarEntry& entry) override {
    EXPECT_FALSE(open_);
    open_ = true;
    seen.push_back({entry, entry.size < (1 << 24) ? std::string(entry.size, '\0') : ""});
    return absl::OkStatus();
  }
  absl::Status OnData(uint64_t offset, uint64_t stored, absl::string_view bytes) override {
    EXPECT_TRUE(open_);
    EXPECT_EQ(archive_.substr(stored, bytes.size()), bytes);
    EXPECT_LE(offset + bytes.size(), seen.back().entry.size);
    if (!seen.back().data.empty()) seen.back().data.replace(offset, bytes.size(), bytes.data(), bytes.size());
    return absl::OkStatus();
  }
  absl::Status OnEntryEnd() override {
    EXPECT_TRUE(open_);
    open_ = false;
    return absl::OkStatus();
  }
  std::vector<Seen> seen;

 private:
  const absl::string_view archive_;
  bool open_ = false;
};

absl::StatusOr<std::vector<Seen>> Parse(absl::string_view archive, size_t chunk = size_t{1} << 20,
                                        UnpackLimits limits = {}) {
  Recorder recorder(archive);
  TarParser parser(&recorder, limits);
  for (size_t at = 0; at < archive.size(); at += chunk) RETURN_IF_ERROR(parser.Write(archive.substr(at, chunk)));
  RETURN_IF_ERROR(parser.Finish());
  return recorder.seen;
}

absl::StatusCode Code(absl::string_view archive) { return Parse(archive).status().code(); }

// One entry whose header was changed.
std::string Patched(Entry entry, size_t offset, absl::string_view bytes) {
  std::string header = Header(entry, entry.data.size());
  header.replace(offset, bytes.size(), bytes.data(), bytes.size());
  FixChecksum(&header);
  return header + std::string(1024, '\0');
}

TEST(TarParser, AllTypesAndFields) {
  Entry file = File("d/f", "hello", 04755);
  file.uid = 1000;
  file.gid = 50;
  file.mtime = 1234567;
  std::string archive =
      Tar({Dir("d/", 01777), file, testing_archive::Symlink("s", "d/f"), testing_archive::HardLink("h", "d/f"),
           testing_archive::Device("c", '3', 1, 3), testing_archive::Device("b", '4', 259, 70000),
           Entry{.path = "p", .type = '6'}, Entry{.path = "7", .type = '7', .data = "x"}});
  for (size_t chunk : {size_t{1}, size_t{511}, size_t{513}, archive.size()}) {
    auto seen = Parse(archive, chunk);
    ASSERT_TRUE(seen.ok()) << seen.status();
    ASSERT_THAT(*seen, SizeIs(8));
    EXPECT_EQ((*seen)[0].entry.type, TarEntry::Type::kDirectory);
    EXPECT_EQ((*seen)[0].entry.mode, 01777u);
    const TarEntry& f = (*seen)[1].entry;
    EXPECT_EQ(f.path, "d/f");
    EXPECT_EQ(f.mode, 04755u);
    EXPECT_EQ(f.uid, 1000u);
    EXPECT_EQ(f.gid, 50u);
    EXPECT_EQ(f.mtime.tv_sec, 1234567);
    EXPECT_EQ((*seen)[1].data, "hello");
    EXPECT_EQ((*seen)[2].entry.link, "d/f");
    EXPECT_EQ((*seen)[3].entry.type, TarEntry::Type::kHardLink);
    EXPECT_EQ((*seen)[4].entry.type, TarEntry::Type::kCharDevice);
    EXPECT_EQ((*seen)[5].entry.dev_major, 259u);
    EXPECT_EQ((*seen)[5].entry.dev_minor, 70000u);
    EXPECT_EQ((*seen)[6].entry.type, TarEntry::Type::kFifo);
    EXPECT_EQ((*seen)[7].data, "x");
  }
}

TEST(TarParser, ExtendedHeaders) {
  Entry file = File("short", "data");
  std::string value("\0\n=x 12 y\n\xff", 11);
  file.pax = {{"path", "a/" + std::string(300, 'p')},
              {"uid", "4000000000"},
              {"gid", "7"},
              {"mtime", "-1.5"},
              {"uname", "ignored"},
              {"SCHILY.xattr.user.b", value},
              {"SCHILY.xattr.security.capability", std::string("\1\0\0\2", 4)}};
  Entry link = testing_archive::Symlink("l", "x");
  link.pax = {{"linkpath", "\xff\xfe"}, {"path", ""}};  // an empty value takes the record back
  auto seen = Parse(Tar({file, link, File("after")}), 100);
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_THAT((*seen)[0].entry.path, SizeIs(302));
  EXPECT_EQ((*seen)[0].entry.uid, 4000000000u);
  EXPECT_EQ((*seen)[0].entry.gid, 7u);
  EXPECT_EQ((*seen)[0].entry.mtime.tv_sec, -2);
  EXPECT_EQ((*seen)[0].entry.xattrs.at("user.b"), value);
  EXPECT_THAT((*seen)[0].entry.xattrs, SizeIs(2));
  EXPECT_EQ((*seen)[1].entry.link, "\xff\xfe");
  EXPECT_EQ((*seen)[1].entry.path, "l");
  EXPECT_THAT((*seen)[2].entry.xattrs, SizeIs(0));
  EXPECT_EQ((*seen)[2].entry.uid, 0u);
}

TEST(TarParser, GlobalHeadersGiveDefaults) {
  std::string records = testing_archive::PaxRecords({{"gid", "42"}, {"comment", "c"}, {"path", "evil"}});
  Entry global = {.path = "g", .type = 'g', .data = records};
  Entry own = File("own");
  own.pax = {{"gid", "43"}};
  auto seen = Parse(Tar({global, File("f"), own}));
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ((*seen)[0].entry.gid, 42u);
  EXPECT_EQ((*seen)[0].entry.path, "f");
  EXPECT_EQ((*seen)[1].entry.gid, 43u);
}

TEST(TarParser, GnuLongNamesUstarPrefixAndV7) {
  std::string name(200, 'n'), target(150, 't');
  std::string archive = TarEntryBytes({.path = "././@LongLink", .type = 'L', .data = name + '\0'}) +
                        TarEntryBytes({.path = "././@LongLink", .type = 'K', .data = target + '\0'}) +
                        Tar({testing_archive::Symlink("cut", "cut")});
  auto seen = Parse(archive, 3);
  ASSERT_TRUE(seen.ok());
  EXPECT_EQ((*seen)[0].entry.path, name);
  EXPECT_EQ((*seen)[0].entry.link, target);
  seen = Parse(Patched(File("f"), 345, "pre/fix"));
  EXPECT_EQ((*seen)[0].entry.path, "pre/fix/f");
  // GNU archives have other things where the prefix is.
  std::string gnu = Header(File("f"), 0);
  gnu.replace(257, 8, absl::string_view("ustar  \0", 8).data(), 8);
  gnu.replace(345, 11, "14000000000");
  FixChecksum(&gnu);
  EXPECT_EQ((*Parse(gnu))[0].entry.path, "f");
  std::string v7 = Header({.path = "dir/", .type = '\0'}, 0).substr(0, 257) + std::string(255, '\0');
  FixChecksum(&v7);
  EXPECT_EQ((*Parse(v7))[0].entry.type, TarEntry::Type::kDirectory);
}

TEST(TarParser, TheEndOfAnArchive) {
  std::string body = TarEntryBytes(File("f", "x"));
  EXPECT_TRUE(Parse(body).ok());
  EXPECT_TRUE(Parse("").ok());
  EXPECT_TRUE(Parse(std::string(10240, '\0')).ok());
  EXPECT_TRUE(Parse(body + std::string(512, '\0')).ok());
  EXPECT_THAT(*Parse(body + std::string(1024, '\0') + "anything at all"), SizeIs(1));
  EXPECT_EQ(Code(body + std::string(512, '\0') + body), absl::StatusCode::kInvalidArgument);
  for (size_t n : {1, 100, 511, 512}) EXPECT_EQ(Code(body.substr(0, n)), absl::StatusCode::kDataLoss) << n;
  Entry pax = File("f");
  pax.pax = {{"path", "g"}};
  std::string extended = TarEntryBytes(pax);
  for (size_t n : {512, 600, 1024, 1100}) {
    EXPECT_EQ(Code(extended.substr(0, n)), absl::StatusCode::kDataLoss) << n;
  }
}

TEST(TarParser, MalformedHeadersAreRefused) {
  std::string bad_sum = Header(File("f"), 0);
  bad_sum[0] ^= 1;
  EXPECT_EQ(Code(bad_sum), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(std::string(512, 'x')), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(Patched(File("f"), 124, "9999999")), absl::StatusCode::kInvalidArgument);                // size
  EXPECT_EQ(Code(Patched(File("f"), 124, std::string(12, '\xff'))), absl::StatusCode::kInvalidArgument);  // -1
  EXPECT_EQ(Code(Patched(File("f"), 108, "zzz")), absl::StatusCode::kInvalidArgument);                    // uid
  EXPECT_EQ(Code(Patched(File("f"), 108, std::string(8, '\xff'))), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(Patched(File("f"), 136, "8")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code(Patched(testing_archive::Device("c", '3', 0, 0), 329, "0010000")), absl::StatusCode::kInvalidArgument);
  for (absl::string_view type : {"V", "M", "D", "Z", "S "}) {
    auto code = Code(Patched(File("f"), 156, type.substr(0, 1)));
    EXPECT_NE(code, absl::StatusCode::kOk) << type;
  }
}

TEST(TarParser, MalformedExtendedHeadersAreRefused) {
  for (absl::string_view records :
       {"11 path=abc", "99 path=abc\n", "0 path=abc\n", "12 pathabcd\n", "x path=abc\n", "4 =\n", "-12 path=a\n",
        "99999999999999999999999 a=b\n", "13 path=abcd\n12 ", "nonsense"}) {
    Entry pax = {.path = "x", .type = 'x', .data = std::string(records)};
    EXPECT_EQ(Code(Tar({pax, File("f")})), absl::StatusCode::kInvalidArgument) << records;
  }
  const std::pair<const char*, std::string> kValues[] = {{"size", "-1"},
                                                         {"size", "99999999999999999999"},
                                                         {"uid", "x"},
                                                         {"gid", "4294967295"},
                                                         {"mtime", "soon"},
                                                         {"path", std::string("a\0b", 3)},
                                                         {"SCHILY.xattr.user.big", std::string(70'000, 'x')}};
  for (const auto& [key, value] : kValues) {
    Entry file = File("f");
    file.pax = {{key, value}};
    EXPECT_EQ(Code(Tar({file})), absl::StatusCode::kInvalidArgument) << key;
  }
}

TEST(TarParser, LimitsHold) {
  EXPECT_EQ(Code(Header({.path = "x", .type = 'x'}, (1 << 20) + 1)), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Code(Header({.path = "x", .type = 'L'}, 5000)), absl::StatusCode::kResourceExhausted);
  Entry longest = File("f");
  longest.pax = {{"path", std::string(4097, 'p')}};
  EXPECT_EQ(Code(Tar({longest})), absl::StatusCode::kInvalidArgument);
  UnpackLimits limits;
  limits.max_entries = 2;
  EXPECT_TRUE(Parse(Tar({File("a"), File("b")}), 512, limits).ok());
  EXPECT_EQ(Parse(Tar({File("a"), File("b"), File("c")}), 512, limits).status().code(),
            absl::StatusCode::kResourceExhausted);
  limits.max_bytes = 1 << 20;
  EXPECT_EQ(Parse(Header(File("f"), (1 << 20) + 1), 512, limits).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(TarParser, SizesOfEntriesWithoutContentsMeanNothing) {
  std::string link = Header(testing_archive::HardLink("h", "f"), 5000);
  auto seen = Parse(link + Tar({File("f", "x")}));
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ((*seen)[1].data, "x");
}

// GNU tar writes the archives here: each sparse format it knows.
class SparseTest : public testing::TestWithParam<std::string> {};

TEST_P(SparseTest, HolesComeBackWhereTheyWere) {
  char path[] = "/tmp/berth-sparse-test-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  std::string dir = path;
  {
    std::ofstream file(dir + "/sparse", std::ios::binary);
    for (int i = 0; i < 40; ++i) {
      file.seekp(i * 100'000);
      file << "block " << i;
    }
  }
  std::filesystem::resize_file(dir + "/sparse", 5'000'000);
  std::string command = "cd " + dir + " && tar -cSf out.tar " + GetParam() + " sparse 2>err";
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::string archive = *sys::ReadFile(dir + "/out.tar", 64 << 20);
  EXPECT_LT(archive.size(), 500'000u);
  std::string content = *sys::ReadFile(dir + "/sparse", 64 << 20);
  for (size_t chunk : {size_t{37}, size_t{1} << 20}) {
    auto seen = Parse(archive, chunk);
    ASSERT_TRUE(seen.ok()) << seen.status();
    ASSERT_THAT(*seen, SizeIs(1));
    EXPECT_EQ((*seen)[0].entry.path, "sparse");
    EXPECT_TRUE((*seen)[0].entry.sparse);
    EXPECT_TRUE((*seen)[0].data == content);
  }
  for (size_t cut = 512; cut < archive.size() - 11000; cut += 5000) {
    EXPECT_EQ(Code(absl::string_view(archive).substr(0, cut)), absl::StatusCode::kDataLoss) << cut;
  }
  std::filesystem::remove_all(dir);
}

INSTANTIATE_TEST_SUITE_P(Formats, SparseTest,
                         testing::Values("--format=gnu", "--format=posix --sparse-version=0.0",
                                         "--format=posix --sparse-version=0.1", "--format=posix --sparse-version=1.0"));

TEST(TarParser, HostileSparseMapsAreRefused) {
  auto with_map = [](absl::string_view map, absl::string_view size, absl::string_view data) {
    Entry file = File("f", data);
    file.pax = {{"GNU.sparse.map", std::string(map)}, {"GNU.sparse.size", std::string(size)}};
    return Tar({file});
  };
  EXPECT_TRUE(Parse(with_map("0,1,9,1", "10", "ab")).ok());
  for (absl::string_view map : {"0,1", "9,1,0,1", "0,2,1,0", "0,1,10,1", "0,1,18446744073709551615,1", "0,1,9", "x,1",
                                "0,18446744073709551615", "1,18446744073709551615,5,2"}) {
    EXPECT_EQ(Code(with_map(map, "10", "ab")), absl::StatusCode::kInvalidArgument) << map;
  }
  EXPECT_EQ(Code(with_map("0,1,9,1", "-10", "ab")), absl::StatusCode::kInvalidArgument);
  std::string many;
  for (int i = 0; i < 70'000; ++i) absl::StrAppend(&many, i, ",0,");
  EXPECT_EQ(Code(with_map(many, "99999999", "")), absl::StatusCode::kResourceExhausted);
  Entry in_data = File("f", "1000000\n0\n");
  in_data.pax = {{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "10"}};
  EXPECT_EQ(Code(Tar({in_data})), absl::StatusCode::kInvalidArgument);
  in_data.data = "";
  EXPECT_EQ(Code(Tar({in_data})), absl::StatusCode::kInvalidArgument);
  in_data.pax["GNU.sparse.major"] = "2";
  EXPECT_EQ(Code(Tar({in_data})), absl::StatusCode::kUnimplemented);
}

TEST(TarParser, RandomDamageNeverBreaksIt) {
  Entry sparse = File("s", "ab");
  sparse.pax = {{"GNU.sparse.map", "0,1,9,1"}, {"GNU.sparse.size", "10"}};
  Entry file = File("f", std::string(1000, 'x'));
  file.pax = {{"SCHILY.xattr.user.a", "b"}, {"mtime", "1.5"}};
  const std::string archive = Tar({Dir("d"), sparse, file, testing_archive::Symlink("l", "d")});
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bad = archive;
    for (unsigned n = random() % 4 + 1; n > 0; --n) bad[random() % bad.size()] = static_cast<char>(random());
    for (size_t at = 0; at + 512 <= bad.size() && i % 2 == 0; at += 512) {
      if (bad.compare(at + 257, 5, "ustar") != 0) continue;
      std::string header = bad.substr(at, 512);
      FixChecksum(&header);
      bad.replace(at, 512, header);
    }
    refused += !Parse(bad, random() % 600 + 1).ok();
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace berth::image
