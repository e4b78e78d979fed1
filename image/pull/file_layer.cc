#include "image/pull/file_layer.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"

namespace berth::image {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kLongestName = 100;                        // of a header's own field
constexpr uint64_t kLargestSize = (uint64_t{1} << 33) - 1;  // in eleven octal digits

// The fields of a header block (POSIX.1-1988 ustar).
struct Header {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char link[100];
  char magic[6];
  char version[2];
  char rest[247];
};
static_assert(sizeof(Header) == kBlock);

std::string HeaderBlock(char type, absl::string_view name, uint64_t size) {
  Header header = {};
  memcpy(header.name, name.data(), std::min(name.size(), kLongestName));
  absl::SNPrintF(header.mode, sizeof header.mode, "%07o", 0644);
  absl::SNPrintF(header.uid, sizeof header.uid, "%07o", 0);
  absl::SNPrintF(header.gid, sizeof header.gid, "%07o", 0);
  absl::SNPrintF(header.size, sizeof header.size, "%011o", size);
  absl::SNPrintF(header.mtime, sizeof header.mtime, "%011o", 0);  // the same file is the same layer, whenever pulled
  memset(header.checksum, ' ', sizeof header.checksum);
  header.type = type;
  memcpy(header.magic, "ustar", sizeof header.magic);
  memcpy(header.version, "00", sizeof header.version);
  const auto* bytes = reinterpret_cast<const unsigned char*>(&header);
  unsigned sum = 0;
  for (size_t i = 0; i < kBlock; ++i) sum += bytes[i];
  absl::SNPrintF(header.checksum, sizeof header.checksum, "%06o", sum);
  return std::string(reinterpret_cast<const char*>(&header), kBlock);
}

std::string Padding(uint64_t size) { return std::string((kBlock - size % kBlock) % kBlock, '\0'); }

// "LENGTH key=value\n", where the length counts its own digits.
std::string PaxRecord(absl::string_view key, absl::string_view value) {
  const std::string rest = absl::StrCat(" ", key, "=", value, "\n");
  size_t length = rest.size() + 1;
  while (absl::StrCat(length).size() + rest.size() != length) length = absl::StrCat(length).size() + rest.size();
  return absl::StrCat(length, rest);
}

// All that stands before the file's first byte.
std::string Front(absl::string_view path, uint64_t size) {
  std::string pax;
  if (path.size() > kLongestName) pax += PaxRecord("path", path);
  if (size > kLargestSize) pax += PaxRecord("size", absl::StrCat(size));
  std::string out;
  if (!pax.empty()) absl::StrAppend(&out, HeaderBlock('x', "attributes", pax.size()), pax, Padding(pax.size()));
  absl::StrAppend(&out, HeaderBlock('0', path, size > kLargestSize ? 0 : size));
  return out;
}

}  // namespace

FileLayer::FileLayer(const LayerBlob& blob, std::string path, LayerSink* sink)
    : blob_(blob), path_(std::move(path)), sink_(sink), hasher_(blob.digest) {}

absl::Status FileLayer::Begin() {
  if (begun_) return absl::OkStatus();
  begun_ = true;
  return sink_->Write(Front(path_, blob_.size));
}

absl::Status FileLayer::Write(absl::string_view bytes) {
  RETURN_IF_ERROR(Begin());
  if (bytes.size() > blob_.size - received_) {
    return absl::DataLossError(absl::StrCat("blob ", blob_.digest, " is longer than ", blob_.size, " bytes"));
  }
  hasher_.Update(bytes);
  received_ += bytes.size();
  return sink_->Write(bytes);
}

absl::StatusOr<LayerResult> FileLayer::Finish() {
  RETURN_IF_ERROR(Begin());  // of an empty file nothing was written
  if (received_ != blob_.size) {
    return absl::DataLossError(
        absl::StrCat("blob ", blob_.digest, " ends after ", received_, " of ", blob_.size, " bytes"));
  }
  if (std::string digest = hasher_.Finish(); digest != blob_.digest) {
    return absl::DataLossError(absl::StrCat("blob ", blob_.digest, " has digest ", digest));
  }
  RETURN_IF_ERROR(sink_->Write(Padding(received_) + std::string(2 * kBlock, '\0')));
  ASSIGN_OR_RETURN(LayerResult result, sink_->Finish());
  result.blob_size = received_;
  return result;
}

}  // namespace berth::image
