#include "image/push/compressor.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"

namespace berth::image {
namespace {

constexpr size_t kPiece = 256 << 10;
constexpr size_t kOutput = 512 << 10;  // more than a piece can become: the library never stops in the middle of one
constexpr uint32_t kGzipLevel = 2;
constexpr int kZstdLevel = 3;

class Plain : public Compressor::Codec {
 public:
  absl::Status Write(absl::string_view plain, bool, Compressor::Output output) override {
    return plain.empty() ? absl::OkStatus() : output(plain);
  }
};

class Gzip : public Compressor::Codec {
 public:
  Gzip() : level_buffer_(ISAL_DEF_LVL2_DEFAULT), out_(kOutput) {
    isal_deflate_init(&state_);
    state_.level = kGzipLevel;
    state_.level_buf = level_buffer_.data();
    state_.level_buf_size = static_cast<uint32_t>(level_buffer_.size());
    state_.gzip_flag = IGZIP_GZIP;
  }

  absl::Status Write(absl::string_view plain, bool last, Compressor::Output output) override {
    state_.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(plain.data()));
    state_.avail_in = static_cast<uint32_t>(plain.size());
    state_.end_of_stream = last ? 1 : 0;
    do {
      state_.next_out = out_.data();
      state_.avail_out = static_cast<uint32_t>(out_.size());
      if (int rc = isal_deflate(&state_); rc != COMP_OK) {
        return absl::InternalError(absl::StrCat("gzip compression failed (code ", rc, ")"));
      }
      size_t n = out_.size() - state_.avail_out;
      if (n > 0) RETURN_IF_ERROR(output({reinterpret_cast<char*>(out_.data()), n}));
    } while (state_.avail_out == 0);
    return absl::OkStatus();
  }

 private:
  struct isal_zstream state_;
  std::vector<uint8_t> level_buffer_;
  std::vector<uint8_t> out_;
};

class Zstd : public Compressor::Codec {
 public:
  Zstd() : stream_(ZSTD_createCCtx()), out_(kOutput) {
    if (!stream_) return;
    ZSTD_CCtx_setParameter(stream_.get(), ZSTD_c_compressionLevel, kZstdLevel);
    ZSTD_CCtx_setParameter(stream_.get(), ZSTD_c_checksumFlag, 1);
  }

  absl::Status Write(absl::string_view plain, bool last, Compressor::Output output) override {
    if (!stream_) return absl::ResourceExhaustedError("no memory for zstd");
    ZSTD_inBuffer source = {plain.data(), plain.size(), 0};
    for (;;) {
      ZSTD_outBuffer target = {out_.data(), out_.size(), 0};
      size_t rc = ZSTD_compressStream2(stream_.get(), &target, &source, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(rc)) return absl::InternalError(absl::StrCat("zstd: ", ZSTD_getErrorName(rc)));
      if (target.pos > 0) RETURN_IF_ERROR(output({out_.data(), target.pos}));
      if (last ? rc == 0 : source.pos == source.size) return absl::OkStatus();
    }
  }

 private:
  struct Free {
    void operator()(ZSTD_CCtx* s) const { ZSTD_freeCCtx(s); }
  };
  std::unique_ptr<ZSTD_CCtx, Free> stream_;
  std::vector<char> out_;
};

std::unique_ptr<Compressor::Codec> MakeCodec(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return std::make_unique<Gzip>();
    case Compression::kZstd:
      return std::make_unique<Zstd>();
    case Compression::kNone:
      break;
  }
  return std::make_unique<Plain>();
}

}  // namespace

absl::StatusOr<Compression> ParseCompression(absl::string_view name) {
  if (name.empty() || name == "gzip") return Compression::kGzip;
  if (name == "zstd") return Compression::kZstd;
  return absl::InvalidArgumentError(
      absl::StrCat("compression '", absl::CHexEscape(name.substr(0, 50)), "' is neither gzip nor zstd"));
}

absl::string_view CompressionName(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
    case Compression::kNone:
      break;
  }
  return "none";
}

Compressor::Compressor(Compression compression) : codec_(MakeCodec(compression)) { piece_.reserve(kPiece); }
Compressor::~Compressor() = default;

absl::Status Compressor::Write(absl::string_view plain, Output output) {
  while (!plain.empty()) {
    size_t n = std::min(kPiece - piece_.size(), plain.size());
    piece_.append(plain.data(), n);
    plain.remove_prefix(n);
    if (piece_.size() < kPiece) break;
    RETURN_IF_ERROR(codec_->Write(piece_, /*last=*/false, output));
    piece_.clear();
  }
  return absl::OkStatus();
}

absl::Status Compressor::Finish(Output output) { return codec_->Write(piece_, /*last=*/true, output); }

}  // namespace berth::image
