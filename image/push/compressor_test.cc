#include "image/push/compressor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "image/content/digest.h"
#include "image/pull/testing_image.h"
#include "image/push/known_blobs.h"
#include "image/unpack/decompressor.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

std::string Compress(Compression compression, absl::string_view plain, size_t piece) {
  Compressor compressor(compression);
  std::string out;
  auto add = [&](absl::string_view bytes) {
    out.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  for (size_t at = 0; at < plain.size(); at += piece) {
    EXPECT_TRUE(compressor.Write(plain.substr(at, piece), add).ok());
  }
  EXPECT_TRUE(compressor.Finish(add).ok());
  return out;
}

std::string Decompress(absl::string_view compressed) {
  Decompressor decompressor;
  std::string out;
  auto add = [&](absl::string_view bytes) {
    out.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  EXPECT_TRUE(decompressor.Write(compressed, add).ok());
  EXPECT_TRUE(decompressor.Finish(add).ok());
  return out;
}

// Parts that compress and parts that do not.
std::string Mixed(size_t size) {
  std::string out;
  for (unsigned i = 0; out.size() < size; ++i) {
    out += i % 2 ? testing_image::Noise(70'000, i) : std::string(90'000, static_cast<char>('a' + i % 20));
  }
  out.resize(size);
  return out;
}

TEST(CompressorTest, ComesBackAndDoesNotDependOnThePieces) {
  for (Compression compression : {Compression::kGzip, Compression::kZstd, Compression::kNone}) {
    for (size_t size : {size_t{0}, size_t{1}, size_t{256 << 10}, size_t{3'000'001}}) {
      std::string plain = Mixed(size);
      std::string whole = Compress(compression, plain, 1 << 20);
      EXPECT_EQ(Decompress(whole), plain) << CompressionName(compression) << " " << size;
      for (size_t piece : {size_t{4093}, size_t{131072}, size_t{10'000'000}}) {
        EXPECT_EQ(Sha256Digest(Compress(compression, plain, piece)), Sha256Digest(whole))
            << CompressionName(compression) << " of " << size << " in pieces of " << piece;
      }
    }
  }
}

TEST(CompressorTest, MakesThingsSmaller) {
  std::string plain(1 << 20, 'x');
  EXPECT_LT(Compress(Compression::kGzip, plain, 65536).size(), 20'000u);
  EXPECT_LT(Compress(Compression::kZstd, plain, 65536).size(), 20'000u);
}

TEST(CompressorTest, AnErrorOfTheOutputEndsIt) {
  Compressor compressor(Compression::kZstd);
  auto fail = [](absl::string_view) { return absl::CancelledError("enough"); };
  EXPECT_TRUE(absl::IsCancelled(compressor.Write(Mixed(3 << 20), fail)));
}

TEST(CompressorTest, NamesAreChecked) {
  EXPECT_EQ(*ParseCompression(""), Compression::kGzip);
  EXPECT_EQ(*ParseCompression("zstd"), Compression::kZstd);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseCompression("none").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseCompression("xz").status()));
}

TEST(KnownBlobsTest, RemembersWhatBelongsToALayerThatIsHere) {
  std::string root = absl::StrCat(::testing::TempDir(), "berth-known-", getpid());
  std::string layer = Sha256Digest("layer"), gone = Sha256Digest("gone");
  UploadedBlob blob{.digest = Sha256Digest("blob"), .size = 42};
  auto known = KnownBlobs::Open(root, {});
  ASSERT_TRUE(known.ok()) << known.status();
  EXPECT_FALSE((*known)->Find(layer, Compression::kGzip));
  ASSERT_TRUE((*known)->Remember(layer, Compression::kGzip, blob).ok());
  ASSERT_TRUE((*known)->Remember(gone, Compression::kZstd, blob).ok());
  known = KnownBlobs::Open(root, {layer});
  ASSERT_TRUE(known.ok()) << known.status();
  auto found = (*known)->Find(layer, Compression::kGzip);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->digest, blob.digest);
  EXPECT_EQ(found->size, 42u);
  EXPECT_FALSE((*known)->Find(layer, Compression::kZstd)) << "another compression";
  EXPECT_FALSE((*known)->Find(gone, Compression::kZstd)) << "its layer is gone";
  sys::RemoveTreeAt(AT_FDCWD, root).IgnoreError();
}

}  // namespace
}  // namespace berth::image
