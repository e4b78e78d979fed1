#include "image/pull/file_layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "image/pull/testing_image.h"
#include "image/unpack/tar_parser.h"

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// Keeps the archive that it is given.
class ArchiveKeeper : public LayerSink {
 public:
  absl::Status Write(absl::string_view bytes) override {
    absl::StrAppend(&archive, bytes);
    return absl::OkStatus();
  }
  absl::StatusOr<LayerResult> Finish() override { return LayerResult{.diff_id = Sha256Digest(archive)}; }

  std::string archive;
};

// The files of an archive, as the parser of layers reads it.
class FileList : public TarVisitor {
 public:
  absl::Status OnEntry(const TarEntry& entry) override {
    EXPECT_EQ(entry.type, TarEntry::Type::kFile);
    EXPECT_EQ(entry.mode, 0644u);
    EXPECT_EQ(entry.uid + entry.gid + static_cast<uint32_t>(entry.mtime.tv_sec), 0u);
    last_ = entry.path;
    sizes[last_] = entry.size;
    contents[last_];
    return absl::OkStatus();
  }
  absl::Status OnData(uint64_t, uint64_t, absl::string_view bytes) override {
    absl::StrAppend(&contents[last_], bytes);
    return absl::OkStatus();
  }
  absl::Status OnEntryEnd() override { return absl::OkStatus(); }

  std::map<std::string, std::string> contents;
  std::map<std::string, uint64_t> sizes;

 private:
  std::string last_;
};

LayerBlob BlobOf(absl::string_view content) { return {.digest = Sha256Digest(content), .size = content.size()}; }

std::map<std::string, std::string> Parsed(const std::string& archive) {
  FileList files;
  TarParser parser(&files);
  EXPECT_TRUE(parser.Write(archive).ok());
  EXPECT_TRUE(parser.Finish().ok());
  EXPECT_EQ(archive.size() % 512, 0u);
  return files.contents;
}

// Feeds `content` in pieces; the archive and the diffID that Finish told.
std::pair<std::string, std::string> Make(const std::string& path, absl::string_view content, size_t piece = 100) {
  ArchiveKeeper keeper;
  FileLayer layer(BlobOf(content), path, &keeper);
  for (size_t at = 0; at < content.size(); at += piece) EXPECT_TRUE(layer.Write(content.substr(at, piece)).ok());
  auto result = layer.Finish();
  EXPECT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result.ok() ? result->blob_size : 0, content.size());
  return {keeper.archive, result.ok() ? result->diff_id : ""};
}

TEST(FileLayer, FilesOfAllSizes) {
  for (size_t size : {0u, 1u, 511u, 512u, 513u, 100000u}) {
    const std::string content = testing_image::Noise(size, 7);
    EXPECT_THAT(Parsed(Make("dir/model.bin", content).first), ElementsAre(Pair("dir/model.bin", content))) << size;
  }
}

TEST(FileLayer, NamesThatAHeaderHasNoRoomFor) {
  for (size_t length : {99u, 100u, 101u, 255u, 1000u}) {
    const std::string path(length, 'n');
    EXPECT_THAT(Parsed(Make(path, "content").first), ElementsAre(Pair(path, "content"))) << length;
  }
  EXPECT_THAT(Parsed(Make("données/模型", "content").first), ElementsAre(Pair("données/模型", "content")));
}

// The record's length counts its own digits: where they become more, an off-by-one shows.
TEST(FileLayer, EveryLengthOfName) {
  for (size_t length = 80; length < 130; ++length) {
    EXPECT_THAT(Parsed(Make(std::string(length, 'n'), "x").first), ElementsAre(Pair(std::string(length, 'n'), "x")));
  }
}

TEST(FileLayer, SizesThatAHeaderHasNoRoomFor) {
  for (uint64_t size : {(uint64_t{1} << 33) - 1, uint64_t{1} << 33, uint64_t{100} << 30}) {
    ArchiveKeeper keeper;
    FileLayer layer({.digest = Sha256Digest(""), .size = size}, "big", &keeper);
    ASSERT_TRUE(layer.Write("x").ok());
    FileList files;
    TarParser parser(&files);
    ASSERT_TRUE(parser.Write(keeper.archive).ok());
    EXPECT_THAT(files.sizes, ElementsAre(Pair("big", size)));
  }
}

TEST(FileLayer, SameFileIsTheSameLayer) {
  EXPECT_EQ(Make("a", "content", 1).second, Make("a", "content", 100).second);
  EXPECT_NE(Make("a", "content").second, Make("b", "content").second);
  EXPECT_NE(Make("a", "content").second, Make("a", "contents").second);
}

// Without a title the file's first bytes would be looked at as compressed data, if the header did not stand before
// them.
TEST(FileLayer, CompressedFilesStayAsTheyAre) {
  const std::string gzip = testing_image::MakeImage({{{"f", "x"}}}).blobs.begin()->second;
  EXPECT_THAT(Parsed(Make("a.tar.gz", gzip).first), ElementsAre(Pair("a.tar.gz", gzip)));
}

TEST(FileLayer, ABlobThatIsNotAsPromised) {
  ArchiveKeeper keeper;
  FileLayer longer(BlobOf("content"), "f", &keeper);
  EXPECT_TRUE(absl::IsDataLoss(longer.Write("contents")));
  FileLayer shorter(BlobOf("content"), "f", &keeper);
  EXPECT_TRUE(shorter.Write("conten").ok());
  absl::Status status = shorter.Finish().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("ends after 6 of 7 bytes"));
  FileLayer other(BlobOf("content"), "f", &keeper);
  EXPECT_TRUE(other.Write("CONTENT").ok());
  status = other.Finish().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("has digest sha256:"));
}

}  // namespace
}  // namespace berth::image
