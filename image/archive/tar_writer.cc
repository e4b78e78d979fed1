#include "image/archive/tar_writer.h"

#include <cstdio>
#include <cstring>
#include <string>

namespace berth::image {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kNameSize = 100;
constexpr uint64_t kMaxOctalSize = (uint64_t{1} << 33) - 1;  // eleven octal digits

uint64_t PaddingOf(uint64_t size) { return (kBlock - size % kBlock) % kBlock; }

void Octal(char* field, size_t digits, uint64_t value) {
  for (size_t i = digits; i > 0; --i, value /= 8) field[i - 1] = static_cast<char>('0' + value % 8);
}

std::string HeaderBlock(absl::string_view name, char type, uint64_t size) {
  std::string block(kBlock, '\0');
  name.substr(0, kNameSize).copy(block.data(), kNameSize);
  Octal(&block[100], 7, type == '5' ? 0755 : 0644);
  Octal(&block[108], 7, 0);  // uid
  Octal(&block[116], 7, 0);  // gid
  Octal(&block[124], 11, size > kMaxOctalSize ? 0 : size);
  Octal(&block[136], 11, 0);  // mtime
  block[156] = type;
  memcpy(&block[257], "ustar\00000", 8);
  memset(&block[148], ' ', 8);
  unsigned sum = 0;
  for (char c : block) sum += static_cast<unsigned char>(c);
  Octal(&block[148], 6, sum);
  block[154] = '\0';
  return block;
}

// "LENGTH key=value\n", where LENGTH counts itself.
std::string PaxRecord(absl::string_view key, absl::string_view value) {
  size_t rest = key.size() + value.size() + 3, length = rest;
  while (length != rest + absl::StrCat(length).size()) length = rest + absl::StrCat(length).size();
  return absl::StrCat(length, " ", key, "=", value, "\n");
}

}  // namespace

absl::Status TarWriter::Header(absl::string_view name, char type, uint64_t size) {
  std::string records;
  if (name.size() > kNameSize) records += PaxRecord("path", name);
  if (size > kMaxOctalSize) records += PaxRecord("size", absl::StrCat(size));
  if (!records.empty()) {
    RETURN_IF_ERROR(output_(HeaderBlock("pax", 'x', records.size())));
    records.append(PaddingOf(records.size()), '\0');
    RETURN_IF_ERROR(output_(records));
  }
  return output_(HeaderBlock(name, type, size));
}

absl::Status TarWriter::BeginFile(absl::string_view name, uint64_t size) {
  left_ = size;
  padding_ = PaddingOf(size);
  return Header(name, '0', size);
}

absl::Status TarWriter::Data(absl::string_view bytes) {
  if (bytes.size() > left_) return absl::InternalError("an archive member has more bytes than announced");
  left_ -= bytes.size();
  return bytes.empty() ? absl::OkStatus() : output_(bytes);
}

absl::Status TarWriter::EndFile() {
  if (left_ > 0) return absl::InternalError(absl::StrCat("an archive member lacks ", left_, " bytes"));
  return padding_ == 0 ? absl::OkStatus() : output_(std::string(padding_, '\0'));
}

absl::Status TarWriter::File(absl::string_view name, absl::string_view bytes) {
  RETURN_IF_ERROR(BeginFile(name, bytes.size()));
  RETURN_IF_ERROR(Data(bytes));
  return EndFile();
}

absl::Status TarWriter::Directory(absl::string_view name) { return Header(name, '5', 0); }

absl::Status TarWriter::Finish() { return output_(std::string(2 * kBlock, '\0')); }

}  // namespace berth::image
