#include "image/archive/tar_writer.h"

#include <gtest/gtest.h>

#include "image/unpack/tar_parser.h"

namespace berth::image {
namespace {

struct Reader : TarVisitor {
  std::vector<TarEntry> entries;
  std::string data;
  absl::Status OnEntry(const TarEntry& entry) override {
    entries.push_back(entry);
    return absl::OkStatus();
  }
  absl::Status OnData(uint64_t, uint64_t, absl::string_view bytes) override {
    data.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  }
  absl::Status OnEntryEnd() override { return absl::OkStatus(); }
};

TarWriter Into(std::string* out) {
  return TarWriter([out](absl::string_view bytes) {
    out->append(bytes.data(), bytes.size());
    return absl::OkStatus();
  });
}

TEST(TarWriterTest, WhatIsWrittenIsRead) {
  std::string archive, long_name = "blobs/sha512/" + std::string(128, 'f');
  TarWriter tar = Into(&archive);
  ASSERT_TRUE(tar.Directory("blobs/").ok());
  ASSERT_TRUE(tar.File("a", "hello").ok());
  ASSERT_TRUE(tar.File(long_name, std::string(512, 'x')).ok());
  ASSERT_TRUE(tar.File("empty", "").ok());
  ASSERT_TRUE(tar.Finish().ok());
  EXPECT_EQ(archive.size() % 512, 0u);
  Reader reader;
  TarParser parser(&reader);
  ASSERT_TRUE(parser.Write(archive).ok());
  ASSERT_TRUE(parser.Finish().ok());
  ASSERT_EQ(reader.entries.size(), 4u);
  EXPECT_EQ(reader.entries[0].type, TarEntry::Type::kDirectory);
  EXPECT_EQ(reader.entries[1].path, "a");
  EXPECT_EQ(reader.entries[1].mtime.tv_sec, 0);
  EXPECT_EQ(reader.entries[1].mode, 0644u);
  EXPECT_EQ(reader.entries[2].path, long_name);
  EXPECT_EQ(reader.data, "hello" + std::string(512, 'x'));
}

TEST(TarWriterTest, ASizeThatDoesNotFitItsFieldIsInAPaxRecord) {
  std::string head;
  TarWriter tar = Into(&head);
  ASSERT_TRUE(tar.BeginFile("large", uint64_t{9} << 30).ok());
  Reader reader;
  TarParser parser(&reader);
  ASSERT_TRUE(parser.Write(head).ok());
  ASSERT_EQ(reader.entries.size(), 1u);
  EXPECT_EQ(reader.entries[0].size, uint64_t{9} << 30);
}

TEST(TarWriterTest, AMemberHasTheSizeThatItSaid) {
  std::string out;
  TarWriter tar = Into(&out);
  ASSERT_TRUE(tar.BeginFile("a", 3).ok());
  ASSERT_TRUE(tar.Data("ab").ok());
  EXPECT_FALSE(tar.EndFile().ok());
  EXPECT_FALSE(tar.Data("cd").ok());
}

}  // namespace
}  // namespace berth::image
