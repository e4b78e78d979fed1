#include "image/unpack/testing_archive.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "image/content/digest.h"
#include "image/erofs/erofs_mount.h"
#include "runtime/sys/file.h"

namespace berth::image::testing_archive {
namespace {

void PutOctal(std::string* header, size_t offset, size_t size, uint64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%0*lo", static_cast<int>(size - 1), static_cast<unsigned long>(value));
  memcpy(header->data() + offset, text, size);
}

void PutText(std::string* header, size_t offset, size_t size, absl::string_view text) {
  memcpy(header->data() + offset, text.data(), std::min(size, text.size()));
}

std::string Padded(absl::string_view data) {
  return absl::StrCat(data, std::string((512 - data.size() % 512) % 512, '\0'));
}

}  // namespace

Entry Dir(absl::string_view path, uint32_t mode, uint32_t uid, uint32_t gid) {
  return {.path = std::string(path), .type = '5', .mode = mode, .uid = uid, .gid = gid};
}
Entry File(absl::string_view path, absl::string_view data, uint32_t mode) {
  return {.path = std::string(path), .data = std::string(data), .mode = mode};
}
Entry Symlink(absl::string_view path, absl::string_view target) {
  return {.path = std::string(path), .type = '2', .link = std::string(target), .mode = 0777};
}
Entry HardLink(absl::string_view path, absl::string_view target) {
  return {.path = std::string(path), .type = '1', .link = std::string(target)};
}
Entry Device(absl::string_view path, char type, uint32_t major, uint32_t minor) {
  return {.path = std::string(path), .type = type, .mode = 0640, .major = major, .minor = minor};
}

void FixChecksum(std::string* header) {
  memset(header->data() + 148, ' ', 8);
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>((*header)[i]);
  char text[8];
  snprintf(text, sizeof text, "%06o", sum);
  memcpy(header->data() + 148, text, 7);
}

std::string Header(const Entry& entry, uint64_t size) {
  std::string header(512, '\0');
  PutText(&header, 0, 100, entry.path);
  PutOctal(&header, 100, 8, entry.mode);
  PutOctal(&header, 108, 8, entry.uid);
  PutOctal(&header, 116, 8, entry.gid);
  PutOctal(&header, 124, 12, size);
  PutOctal(&header, 136, 12, static_cast<uint64_t>(entry.mtime));
  header[156] = entry.type;
  PutText(&header, 157, 100, entry.link);
  memcpy(header.data() + 257, "ustar\00000", 8);
  PutOctal(&header, 329, 8, entry.major);
  PutOctal(&header, 337, 8, entry.minor);
  FixChecksum(&header);
  return header;
}

std::string PaxRecords(const std::map<std::string, std::string>& records) {
  std::string text;
  for (const auto& [key, value] : records) {
    size_t rest = key.size() + value.size() + 3;  // space, '=', newline
    size_t length = rest;
    while (length != rest + std::to_string(length).size()) length = rest + std::to_string(length).size();
    absl::StrAppend(&text, length, " ", key, "=", value, "\n");
  }
  return text;
}

std::string TarEntryBytes(const Entry& entry) {
  std::string bytes;
  if (!entry.pax.empty()) {
    std::string records = PaxRecords(entry.pax);
    Entry header = {.path = "PaxHeaders/x", .type = 'x'};
    bytes = absl::StrCat(Header(header, records.size()), Padded(records));
  }
  return absl::StrCat(bytes, Header(entry, entry.data.size()), Padded(entry.data));
}

std::string Tar(const std::vector<Entry>& entries) {
  std::string bytes;
  for (const Entry& entry : entries) bytes += TarEntryBytes(entry);
  return bytes + std::string(1024, '\0');
}

std::string Gzip(absl::string_view bytes) {
  struct isal_zstream stream;
  isal_deflate_stateless_init(&stream);
  std::string in(bytes), out(bytes.size() + bytes.size() / 8 + 1024, '\0');
  stream.gzip_flag = IGZIP_GZIP;
  stream.end_of_stream = 1;
  stream.next_in = reinterpret_cast<uint8_t*>(in.data());
  stream.avail_in = static_cast<uint32_t>(in.size());
  stream.next_out = reinterpret_cast<uint8_t*>(out.data());
  stream.avail_out = static_cast<uint32_t>(out.size());
  if (isal_deflate_stateless(&stream) != COMP_OK) abort();
  out.resize(stream.total_out);
  return out;
}

std::string Zstd(absl::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}

LayerBlob Promise(absl::string_view compressed, absl::string_view tar) {
  return {Sha256Digest(compressed), compressed.size(), Sha256Digest(tar)};
}

std::string FormatName(Format format) { return format == Format::kErofs ? "Erofs" : "Directory"; }

std::string WhyNot(Format format, const std::string& path) {
  if (geteuid() != 0) return "making layers sets owners and mounts, which needs root";
  if (format == Format::kDirectory) return "";
  auto dir = sys::Open(path, O_RDONLY | O_DIRECTORY);
  absl::Status works = dir.ok() ? TryErofs(dir->get()) : dir.status();
  return works.ok() ? "" : absl::StrCat("EROFS layers do not work here: ", works.message());
}

absl::StatusOr<std::unique_ptr<LayerSink>> Receive(LayerStore& store, const LayerBlob& blob,
                                                   absl::string_view compressed, size_t chunk) {
  ASSIGN_OR_RETURN(std::unique_ptr<LayerSink> sink, store.NewSink(blob));
  for (size_t at = 0; at < compressed.size(); at += chunk) RETURN_IF_ERROR(sink->Write(compressed.substr(at, chunk)));
  RETURN_IF_ERROR(sink->Finish());
  return sink;
}

absl::StatusOr<std::string> AddLayer(LayerStore& store, const std::vector<Entry>& entries) {
  std::string tar = Tar(entries), blob = Gzip(tar);
  LayerBlob promise = Promise(blob, tar);
  std::vector<std::unique_ptr<LayerSink>> sinks(1);
  ASSIGN_OR_RETURN(sinks[0], Receive(store, promise, blob));
  RETURN_IF_ERROR(store.Commit(std::move(sinks)));
  return promise.diff_id;
}

}  // namespace berth::image::testing_archive
