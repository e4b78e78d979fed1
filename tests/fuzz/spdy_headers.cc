// Header blocks, compressed (the input is cut at "|||") and as they are.
#include "absl/strings/str_split.h"
#include "cri/streaming/spdy/header_block.h"
#include "tests/fuzz/require.h"

using namespace berth::streaming::spdy;

namespace {

void Parse(absl::string_view block) {
  constexpr size_t kPairs = 8;
  const auto headers = ParseHeaders(block, kPairs);
  if (!headers.ok()) return;
  REQUIRE(headers->size() <= kPairs);
  // There is but one way to write a good one.
  REQUIRE(FormatHeaders(*headers) == block);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kLimit = 4096;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  Parse(input);
  HeaderInflater inflater;
  for (const absl::string_view piece : absl::StrSplit(input, "|||")) {
    const auto block = inflater.Inflate(piece, kLimit);
    if (!block.ok()) break;
    REQUIRE(block->size() <= kLimit);
    Parse(*block);
  }
  HeaderDeflater deflater;
  HeaderInflater back;
  REQUIRE(back.Inflate(deflater.Deflate(input), size).value_or("?") == input || size == 0);
  return 0;
}
