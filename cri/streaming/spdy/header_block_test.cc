#include "cri/streaming/spdy/header_block.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include "absl/strings/escaping.h"
#include "cri/streaming/spdy/dictionary.h"
#include "cri/streaming/spdy/frame.h"

namespace berth::streaming::spdy {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr size_t kLimit = 16 * 1024, kPairs = 64;

// Compresses as other implementations do.
class Zlib {
 public:
  Zlib() {
    EXPECT_EQ(deflateInit(&z_, Z_BEST_COMPRESSION), Z_OK);
    EXPECT_EQ(deflateSetDictionary(&z_, reinterpret_cast<const Bytef*>(Dictionary().data()),
                                   static_cast<uInt>(Dictionary().size())),
              Z_OK);
  }
  ~Zlib() { deflateEnd(&z_); }
  std::string operator()(std::string block, int flush = Z_SYNC_FLUSH) {
    std::string out(deflateBound(&z_, block.size()) + 64, '\0');
    z_.next_in = reinterpret_cast<Bytef*>(block.data());
    z_.avail_in = static_cast<uInt>(block.size());
    z_.next_out = reinterpret_cast<Bytef*>(out.data());
    z_.avail_out = static_cast<uInt>(out.size());
    deflate(&z_, flush);
    out.resize(out.size() - z_.avail_out);
    return out;
  }

 private:
  z_stream z_{};
};

std::string String(const std::string& text) {
  std::string out;
  AppendU32(out, static_cast<uint32_t>(text.size()));
  return out + text;
}

std::string Block(uint32_t count, const std::vector<std::string>& strings) {
  std::string out;
  AppendU32(out, count);
  for (const std::string& text : strings) out += String(text);
  return out;
}

TEST(DictionaryTest, IsTheDrafts) {
  EXPECT_EQ(Dictionary().size(), 1423u);
  const auto* bytes = reinterpret_cast<const Bytef*>(Dictionary().data());
  EXPECT_EQ(adler32(adler32(0, nullptr, 0), bytes, static_cast<uInt>(Dictionary().size())), kDictionaryAdler32);
}

TEST(HeaderBlockTest, FormatsAndParses) {
  const Headers headers = {{"streamtype", "stdin"}, {"empty", ""}, {"many", std::string("a\0b", 3)}};
  EXPECT_EQ(*ParseHeaders(FormatHeaders(headers), kPairs), headers);
  EXPECT_EQ(*ParseHeaders(FormatHeaders({}), kPairs), Headers());
  EXPECT_EQ(absl::BytesToHexString(FormatHeaders({{"a", "bc"}})), "000000010000000161000000026263");
}

TEST(HeaderBlockTest, RefusesBadNamesAndValues) {
  const auto code = [](const std::vector<std::string>& strings) {
    return ParseHeaders(Block(static_cast<uint32_t>(strings.size() / 2), strings), kPairs).status().code();
  };
  const auto bad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code({"", "x"}), bad);
  EXPECT_EQ(code({"Port", "x"}), bad);
  EXPECT_EQ(code({"po\nrt", "x"}), bad);
  EXPECT_EQ(code({"p\xc3\xb6rt", "x"}), bad);
  EXPECT_EQ(code({"port", "1", "port", "2"}), bad);
  EXPECT_EQ(code({"port", std::string("\0x", 2)}), bad);
  EXPECT_EQ(code({"port", std::string("x\0", 2)}), bad);
  EXPECT_EQ(code({"port", std::string("x\0\0y", 4)}), bad);
  EXPECT_EQ(code({"port", std::string("\0", 1)}), bad);
  EXPECT_EQ(code({"port", "\xff any bytes \x01"}), absl::StatusCode::kOk);
}

TEST(HeaderBlockTest, RefusesTooManyPairs) {
  std::vector<std::string> strings;
  for (int i = 0; i < 65; ++i) strings.insert(strings.end(), {absl::StrCat("name", i), "value"});
  EXPECT_EQ(ParseHeaders(Block(65, strings), 65)->size(), 65u);
  EXPECT_TRUE(absl::IsResourceExhausted(ParseHeaders(Block(65, strings), 64).status()));
}

TEST(HeaderBlockTest, RefusesBlocksThatAreNotAsLongAsTheySay) {
  const std::string good = Block(2, {"a", "b", "c", "d"});
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(ParseHeaders(good.substr(0, size), kPairs).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseHeaders(good + "x", kPairs).status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseHeaders(Block(1, {"a", "b", "c", "d"}), kPairs).status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseHeaders(Block(0xffffffff, {"a", "b"}), kPairs).status()));
  EXPECT_TRUE(
      absl::IsDataLoss(ParseHeaders(absl::HexStringToBytes("00000001ffffffff6161616161616161"), kPairs).status()));
  // A bad name is no excuse for a bad length.
  EXPECT_TRUE(absl::IsDataLoss(ParseHeaders(Block(1, {"A", "b"}) + "x", kPairs).status()));
}

// Three blocks of one connection, as spdystream wrote them.
TEST(HeaderInflaterTest, ReadsWhatAnotherImplementationWrote) {
  HeaderInflater inflater;
  const auto read = [&inflater](absl::string_view hex) {
    const auto block = inflater.Inflate(absl::HexStringToBytes(hex), kLimit);
    return block.ok() ? *ParseHeaders(*block, kPairs) : Headers{{"error", block.status().ToString()}};
  };
  EXPECT_THAT(read("78f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff"),
              ElementsAre(Pair("streamtype", "error")));
  EXPECT_THAT(read("c22e555c92929907000000ffff"), ElementsAre(Pair("streamtype", "stdin")));
  EXPECT_THAT(read("824ab155e8e626e655828bf4bc548692f27c00000000ffff"),
              ElementsAre(Pair("x-many", std::string("one\0two", 7))));
  EXPECT_THAT(read("6260606000000000ffff"), ElementsAre());
}

TEST(HeaderInflaterTest, ReadsWithoutADictionaryToo) {
  z_stream z{};
  ASSERT_EQ(deflateInit(&z, 1), Z_OK);
  std::string block = FormatHeaders({{"a", "b"}}), out(100, '\0');
  z.next_in = reinterpret_cast<Bytef*>(block.data());
  z.avail_in = static_cast<uInt>(block.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_SYNC_FLUSH);
  out.resize(out.size() - z.avail_out);
  deflateEnd(&z);
  EXPECT_EQ(HeaderInflater().Inflate(out, kLimit).value_or("error"), block);
}

TEST(HeaderInflaterTest, StopsABombAtTheLimit) {
  Zlib zlib;
  HeaderInflater inflater;
  EXPECT_EQ(inflater.Inflate(zlib(std::string(kLimit, 'x')), kLimit)->size(), kLimit);
  EXPECT_TRUE(absl::IsResourceExhausted(inflater.Inflate(zlib(std::string(kLimit + 1, 'x')), kLimit).status()));
  // 64 MiB in 64 KiB. That it takes no time and no memory is what Inflate's buffer is for.
  Zlib bomb;
  HeaderInflater other;
  EXPECT_TRUE(absl::IsResourceExhausted(other.Inflate(bomb(std::string(64 << 20, 'x')), kLimit).status()));
}

TEST(HeaderInflaterTest, RefusesWhatIsNotZlibs) {
  EXPECT_TRUE(absl::IsDataLoss(HeaderInflater().Inflate("no zlib at all", kLimit).status()));
  std::string other_dictionary = HeaderDeflater().Deflate("block");
  other_dictionary[3] ^= 1;
  EXPECT_TRUE(absl::IsDataLoss(HeaderInflater().Inflate(other_dictionary, kLimit).status()));
  Zlib ended;
  EXPECT_TRUE(absl::IsDataLoss(HeaderInflater().Inflate(ended("block", Z_FINISH), kLimit).status()));
  HeaderInflater inflater;
  Zlib zlib;
  EXPECT_EQ(inflater.Inflate(zlib("good"), kLimit).value_or("error"), "good");
  EXPECT_TRUE(absl::IsDataLoss(inflater.Inflate("\xff\xff\xff\xff", kLimit).status()));
}

TEST(HeaderDeflaterTest, IsReadBack) {
  HeaderDeflater deflater;
  HeaderInflater inflater;
  for (const size_t size : {0, 1, 100, 65535, 65536, 200000, 3}) {
    const std::string block(size, 'x');
    EXPECT_EQ(inflater.Inflate(deflater.Deflate(block), 1 << 20).value_or("error"), block) << size;
  }
  EXPECT_EQ(absl::BytesToHexString(HeaderDeflater().Deflate("ab")), "7820e3c6a7c2000200fdff6162000000ffff");
}

}  // namespace
}  // namespace berth::streaming::spdy
