#include "cri/streaming/spdy/header_block.h"

#include <zlib.h>

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "cri/streaming/spdy/dictionary.h"
#include "cri/streaming/spdy/frame.h"

namespace berth::streaming::spdy {
namespace {

// A 32-bit length and as many bytes.
absl::StatusOr<absl::string_view> TakeString(absl::string_view& block) {
  if (block.size() < 4) return absl::DataLossError("a header block ends within a length");
  const uint32_t size = ReadU32(block.data());
  block.remove_prefix(4);
  if (block.size() < size) return absl::DataLossError("a header block ends within a string");
  const absl::string_view taken = block.substr(0, size);
  block.remove_prefix(size);
  return taken;
}

bool GoodName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isprint(c) && !absl::ascii_isupper(c);
  });
}

// Values that NUL separates: none is empty, unless it is the only one.
bool GoodValue(absl::string_view value) {
  if (value.empty()) return true;
  return value.front() != '\0' && value.back() != '\0' && value.find(absl::string_view("\0\0", 2)) == value.npos;
}

}  // namespace

absl::StatusOr<Headers> ParseHeaders(absl::string_view block, size_t max_pairs) {
  if (block.size() < 4) return absl::DataLossError("a header block without a count");
  const uint32_t count = ReadU32(block.data());
  block.remove_prefix(4);
  Headers headers;
  absl::flat_hash_set<absl::string_view> names;
  absl::Status fault;  // the first; what follows must still be as long as it says
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const absl::string_view name, TakeString(block));
    ASSIGN_OR_RETURN(const absl::string_view value, TakeString(block));
    if (!fault.ok()) continue;
    if (headers.size() == max_pairs) {
      fault = absl::ResourceExhaustedError(absl::StrCat("more than ", max_pairs, " headers"));
    } else if (!GoodName(name)) {
      fault = absl::InvalidArgumentError("a header's name is empty or not in lower case");
    } else if (!names.insert(name).second) {
      fault = absl::InvalidArgumentError("a header comes twice");
    } else if (!GoodValue(value)) {
      fault = absl::InvalidArgumentError("one of a header's values is empty");
    } else {
      headers.emplace_back(name, value);
    }
  }
  if (!block.empty()) return absl::DataLossError("bytes follow a header block");
  if (!fault.ok()) return fault;
  return headers;
}

std::string FormatHeaders(const Headers& headers) {
  std::string block;
  const auto append = [&block](const std::string& text) {
    AppendU32(block, static_cast<uint32_t>(text.size()));
    block += text;
  };
  AppendU32(block, static_cast<uint32_t>(headers.size()));
  for (const auto& [name, value] : headers) {
    append(name);
    append(value);
  }
  return block;
}

struct HeaderInflater::Stream {
  z_stream z{};
  bool ready = inflateInit(&z) == Z_OK;
  ~Stream() { inflateEnd(&z); }
};

HeaderInflater::HeaderInflater() = default;
HeaderInflater::~HeaderInflater() = default;

absl::StatusOr<std::string> HeaderInflater::Inflate(absl::string_view compressed, size_t limit) {
  if (stream_ == nullptr) stream_ = std::make_unique<Stream>();
  if (!stream_->ready) return absl::DataLossError("zlib cannot begin");
  z_stream& z = stream_->z;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  z.avail_in = static_cast<uInt>(compressed.size());
  std::string out;
  char part[4096];
  do {
    z.next_out = reinterpret_cast<Bytef*>(part);
    z.avail_out = static_cast<uInt>(std::min(sizeof part, limit + 1 - out.size()));
    int result = inflate(&z, Z_SYNC_FLUSH);
    if (result == Z_NEED_DICT) {
      const absl::string_view dictionary = Dictionary();
      result = inflateSetDictionary(&z, reinterpret_cast<const Bytef*>(dictionary.data()),
                                    static_cast<uInt>(dictionary.size()));
      if (result == Z_OK) continue;
    }
    // Z_BUF_ERROR: nothing was left to do. The end of the stream would leave nothing for the next block.
    if (result != Z_OK && result != Z_BUF_ERROR) return absl::DataLossError("a header block is not zlib's");
    out.append(part, reinterpret_cast<char*>(z.next_out) - part);
    if (out.size() > limit)
      return absl::ResourceExhaustedError(absl::StrCat("a header block of over ", limit, " bytes"));
  } while (z.avail_in != 0 || z.avail_out == 0);
  return out;
}

std::string HeaderDeflater::Deflate(absl::string_view block) {
  constexpr size_t kMaxStored = 0xffff;
  std::string out;
  if (!begun_) {
    out = "\x78\x20";  // deflate, windows of 32 KiB, a dictionary (RFC 1950)
    AppendU32(out, kDictionaryAdler32);
    begun_ = true;
  }
  // Stored blocks (RFC 1951, section 3.2.4). An empty one ends it, as zlib's Z_SYNC_FLUSH does: there are readers that
  // hand nothing on before they have seen it.
  for (bool last = false; !last; block.remove_prefix(std::min(block.size(), kMaxStored))) {
    last = block.empty();
    const auto size = static_cast<uint16_t>(std::min(block.size(), kMaxStored));
    const auto inverse = static_cast<uint16_t>(~size);
    out.append({'\0', static_cast<char>(size), static_cast<char>(size >> 8), static_cast<char>(inverse),
                static_cast<char>(inverse >> 8)});
    out.append(block.data(), size);
  }
  return out;
}

}  // namespace berth::streaming::spdy
