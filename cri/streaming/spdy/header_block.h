// Name/value blocks, decompressed, and their compression. Source: draft 3.1, section 2.6.10.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "cri/streaming/spdy/types.h"
#include "runtime/base/status.h"

namespace berth::streaming::spdy {

// Codes say whose error it is. InvalidArgument: the names and values break the draft's rules. ResourceExhausted: more
// than `max_pairs`. Both are one stream's alone. DataLoss: the block is not as long as it says, so that nothing that
// comes after it can be trusted.
absl::StatusOr<Headers> ParseHeaders(absl::string_view block, size_t max_pairs);
std::string FormatHeaders(const Headers& headers);

// Of one direction of one connection: every block has to pass through it, also those that nobody wants.
class HeaderInflater {
 public:
  HeaderInflater();
  ~HeaderInflater();
  HeaderInflater(const HeaderInflater&) = delete;
  HeaderInflater& operator=(const HeaderInflater&) = delete;

  // The block, which has to be whole. DataLoss when it is not zlib's, or not with SPDY's dictionary; ResourceExhausted
  // when it has more than `limit` bytes, no more of which were inflated. After an error it must not be called again.
  absl::StatusOr<std::string> Inflate(absl::string_view compressed, size_t limit);

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;  // about 40 KB once the first block has come
};

// Writes zlib's format without compressing: our blocks are a few dozen bytes, a compressor's state would be thousands
// on each idle connection, and what is not compressed tells nobody of secrets in it by its length.
class HeaderDeflater {
 public:
  std::string Deflate(absl::string_view block);

 private:
  bool begun_ = false;
};

}  // namespace berth::streaming::spdy
