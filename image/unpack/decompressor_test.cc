#include "image/unpack/decompressor.h"

#include <gtest/gtest.h>

#include <random>

#include "image/unpack/testing_archive.h"

namespace berth::image {
namespace {

using testing_archive::Gzip;
using testing_archive::Zstd;

std::string Sample(size_t size) {
  std::mt19937 random(7);
  std::string text;
  while (text.size() < size) absl::StrAppend(&text, random() % 1000, " berth ", text.size() % 77, "\n");
  text.resize(size);
  return text;
}

absl::StatusOr<std::string> Inflate(absl::string_view in, size_t chunk = 100'000) {
  Decompressor decompressor;
  std::string out;
  auto sink = [&](absl::string_view bytes) {
    out.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  for (size_t at = 0; at < in.size(); at += chunk) RETURN_IF_ERROR(decompressor.Write(in.substr(at, chunk), sink));
  RETURN_IF_ERROR(decompressor.Finish(sink));
  return out;
}

TEST(Decompressor, EveryFormatInEveryChunking) {
  std::string a = Sample(700'000), b = Sample(33);
  std::string skippable("\x50\x2a\x4d\x18\x05\x00\x00\x00hello", 13);
  const std::pair<std::string, std::string> kCases[] = {
      {a, a},
      {"", ""},
      {"abc", "abc"},
      {Gzip(a), a},
      {Gzip(""), ""},
      {Gzip(a) + Gzip(b) + Gzip("") + Gzip(a), a + b + a},
      {Zstd(a), a},
      {Zstd(a) + Zstd(b), a + b},
      {skippable + Zstd(b) + skippable + Zstd(a) + skippable, b + a},
      {Zstd(""), ""},
  };
  for (const auto& [in, expected] : kCases) {
    for (size_t chunk : {size_t{1}, size_t{7}, size_t{4096}, size_t{1} << 30}) {
      if (chunk == 1 && in.size() > 100'000) continue;
      auto out = Inflate(in, chunk);
      ASSERT_TRUE(out.ok()) << out.status() << " chunk " << chunk;
      EXPECT_TRUE(*out == expected) << "chunk " << chunk;
    }
  }
}

TEST(Decompressor, EveryTruncationIsNoticed) {
  for (const std::string& whole :
       {Gzip(Sample(3000)), Zstd(Sample(3000)), Gzip("x") + Gzip("y"), Zstd("x") + Zstd("y")}) {
    size_t first_end = whole.size() < 100 ? whole.size() / 2 : 0;  // two equal members: the first one is complete there
    for (size_t n = 2; n < whole.size(); ++n) {
      auto out = Inflate(absl::string_view(whole).substr(0, n), 64);
      // Three bytes of zstd's four-byte magic are no zstd yet.
      if (n == first_end || (n < 4 && whole[0] == '\x28')) {
        EXPECT_TRUE(out.ok()) << n;
      } else {
        EXPECT_EQ(out.status().code(), absl::StatusCode::kDataLoss) << n << " of " << whole.size();
      }
    }
  }
}

TEST(Decompressor, DamageAndTrailingBytesAreNoticed) {
  std::string gzip = Gzip(Sample(3000));
  for (size_t from_end : {1, 4, 5, 8}) {  // length, CRC
    std::string bad = gzip;
    bad[bad.size() - from_end] ^= 1;
    EXPECT_EQ(Inflate(bad).status().code(), absl::StatusCode::kDataLoss) << from_end;
  }
  std::string body = gzip;
  body[body.size() / 2] ^= 0x55;
  EXPECT_EQ(Inflate(body).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Inflate(gzip + "trailing garbage").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Inflate(gzip + std::string(512, '\0')).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Inflate(Zstd(Sample(3000)) + "trailing").status().code(), absl::StatusCode::kDataLoss);
}

TEST(Decompressor, OtherCompressionsAreNamed) {
  EXPECT_EQ(Inflate("BZh91AY&SY").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(Inflate(absl::string_view("\xfd"
                                      "7zXZ\0\0\0",
                                      8))
                .status()
                .code(),
            absl::StatusCode::kUnimplemented);
}

TEST(Decompressor, AnErrorOfTheReceiverEndsIt) {
  Decompressor decompressor;
  int calls = 0;
  auto refuse = [&](absl::string_view) {
    ++calls;
    return absl::CancelledError("enough");
  };
  std::string blob = Gzip(Sample(2'000'000));
  EXPECT_EQ(decompressor.Write(blob, refuse).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace berth::image
