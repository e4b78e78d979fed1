#include "image/unpack/decompressor.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"

namespace berth::image {
namespace {

// Large enough that most files of a layer arrive in one piece, small enough for the second-level cache.
constexpr size_t kChunk = 256 << 10;
constexpr size_t kLongestMagic = 6;

class Plain : public Decompressor::Codec {
 public:
  absl::Status Write(absl::string_view bytes, Decompressor::Output output) override { return output(bytes); }
  absl::Status Finish() override { return absl::OkStatus(); }
};

class Gzip : public Decompressor::Codec {
 public:
  Gzip() : out_(kChunk) {
    isal_inflate_init(&state_);
    state_.crc_flag = ISAL_GZIP;
  }

  absl::Status Write(absl::string_view in, Decompressor::Output output) override {
    state_.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(in.data()));
    state_.avail_in = static_cast<uint32_t>(in.size());
    for (;;) {
      if (state_.block_state == ISAL_BLOCK_FINISH) {
        if (state_.avail_in == 0) return absl::OkStatus();
        NextMember();
      }
      state_.next_out = out_.data();
      state_.avail_out = kChunk;
      in_member_ = true;
      int rc = isal_inflate(&state_);
      if (rc != ISAL_DECOMP_OK) return Describe(rc);
      if (size_t n = kChunk - state_.avail_out; n > 0) {
        RETURN_IF_ERROR(output(absl::string_view(reinterpret_cast<char*>(out_.data()), n)));
      }
      if (state_.block_state == ISAL_BLOCK_FINISH) {
        in_member_ = false;
      } else if (state_.avail_in == 0 && state_.avail_out > 0) {
        return absl::OkStatus();
      }
    }
  }

  absl::Status Finish() override {
    if (in_member_) return absl::DataLossError("gzip stream is truncated");
    return absl::OkStatus();
  }

 private:
  // A reset keeps what the caller set up of input, and forgets the format.
  void NextMember() {
    uint8_t* next_in = state_.next_in;
    uint32_t avail_in = state_.avail_in;
    isal_inflate_reset(&state_);
    state_.crc_flag = ISAL_GZIP;
    state_.next_in = next_in;
    state_.avail_in = avail_in;
  }

  static absl::Status Describe(int rc) {
    switch (rc) {
      case ISAL_INVALID_WRAPPER:
      case ISAL_UNSUPPORTED_METHOD:
        return absl::DataLossError("gzip header is malformed, or something else follows the gzip stream");
      case ISAL_INCORRECT_CHECKSUM:
        return absl::DataLossError("gzip checksum or length does not match");
      default:
        return absl::DataLossError(absl::StrCat("deflate stream is damaged (code ", rc, ")"));
    }
  }

  struct inflate_state state_;
  std::vector<uint8_t> out_;
  bool in_member_ = true;
};

class Zstd : public Decompressor::Codec {
 public:
  Zstd() : stream_(ZSTD_createDStream()), out_(kChunk) {}

  absl::Status Write(absl::string_view in, Decompressor::Output output) override {
    if (!stream_) return absl::ResourceExhaustedError("no memory for zstd");
    ZSTD_inBuffer source = {in.data(), in.size(), 0};
    for (;;) {
      ZSTD_outBuffer target = {out_.data(), out_.size(), 0};
      size_t rc = ZSTD_decompressStream(stream_.get(), &target, &source);
      if (ZSTD_isError(rc)) return absl::DataLossError(absl::StrCat("zstd: ", ZSTD_getErrorName(rc)));
      in_frame_ = rc != 0;
      if (target.pos > 0) RETURN_IF_ERROR(output(absl::string_view(out_.data(), target.pos)));
      if (source.pos == source.size && target.pos < target.size) return absl::OkStatus();
      // At a frame's end without input left, a further call would ask for a new frame and report it unfinished.
      if (source.pos == source.size && rc == 0) return absl::OkStatus();
    }
  }

  absl::Status Finish() override {
    if (in_frame_) return absl::DataLossError("zstd stream is truncated");
    return absl::OkStatus();
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* s) const { ZSTD_freeDStream(s); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  std::vector<char> out_;
  bool in_frame_ = true;
};

// zstd data frames begin 28 b5 2f fd, skippable ones 50..5f 2a 4d 18.
bool IsZstd(absl::string_view head) {
  return absl::StartsWith(head, "\x28\xb5\x2f\xfd") ||
         (head.size() >= 4 && (head[0] & 0xf0) == 0x50 && head.substr(1, 3) == "\x2a\x4d\x18");
}

}  // namespace

Decompressor::Decompressor() = default;
Decompressor::~Decompressor() = default;

absl::Status Decompressor::Choose(Output output) {
  if (absl::StartsWith(head_, "\x1f\x8b")) {
    codec_ = std::make_unique<Gzip>();
  } else if (IsZstd(head_)) {
    codec_ = std::make_unique<Zstd>();
  } else if (absl::StartsWith(head_, "BZh") || absl::StartsWith(head_, absl::string_view("\xfd"
                                                                                         "7zXZ\0",
                                                                                         6))) {
    return absl::UnimplementedError("the layer is compressed with bzip2 or xz; gzip, zstd and none are supported");
  } else {
    codec_ = std::make_unique<Plain>();
  }
  std::string head = std::move(head_);
  head_.clear();
  return head.empty() ? absl::OkStatus() : codec_->Write(head, output);
}

absl::Status Decompressor::Write(absl::string_view compressed, Output output) {
  if (!codec_) {
    size_t n = std::min(kLongestMagic - head_.size(), compressed.size());
    head_.append(compressed.data(), n);
    compressed.remove_prefix(n);
    if (head_.size() < kLongestMagic) return absl::OkStatus();
    RETURN_IF_ERROR(Choose(output));
  }
  return compressed.empty() ? absl::OkStatus() : codec_->Write(compressed, output);
}

absl::Status Decompressor::Finish(Output output) {
  if (!codec_) RETURN_IF_ERROR(Choose(output));
  return codec_->Finish();
}

}  // namespace berth::image
