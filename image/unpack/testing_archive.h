// Archives for tests: tar entries written block by block, so that malformed ones can be made too, and compressed blobs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/unpack/layer_sink.h"
#include "image/unpack/layer_store.h"

namespace berth::image::testing_archive {

struct Entry {
  std::string path;
  char type = '0';
  std::string data;
  std::string link;
  uint32_t mode = 0644;
  uint32_t uid = 0, gid = 0;
  int64_t mtime = 1'600'000'000;
  uint32_t major = 0, minor = 0;
  std::map<std::string, std::string> pax;  // records of an extended header in front of it
};

Entry Dir(absl::string_view path, uint32_t mode = 0755, uint32_t uid = 0, uint32_t gid = 0);
Entry File(absl::string_view path, absl::string_view data = "", uint32_t mode = 0644);
Entry Symlink(absl::string_view path, absl::string_view target);
Entry HardLink(absl::string_view path, absl::string_view target);
Entry Device(absl::string_view path, char type, uint32_t major, uint32_t minor);

// A 512-byte ustar header with its checksum.
std::string Header(const Entry& entry, uint64_t size);
// Puts the right checksum into a header that was changed.
void FixChecksum(std::string* header);
std::string PaxRecords(const std::map<std::string, std::string>& records);
// Header and contents, padded, without the end of the archive.
std::string TarEntryBytes(const Entry& entry);
std::string Tar(const std::vector<Entry>& entries);

std::string Gzip(absl::string_view bytes);
std::string Zstd(absl::string_view bytes);

// What a manifest and a config would say of `compressed`, which unpacks to `tar`.
LayerBlob Promise(absl::string_view compressed, absl::string_view tar);

// Both formats of layers, for tests with them as a parameter, and what each is called.
using Format = LayerStoreOptions::Format;
inline constexpr Format kFormats[] = {Format::kErofs, Format::kDirectory};
std::string FormatName(Format format);
// Why layers of the format cannot be had in the directory `path`; empty when they can.
std::string WhyNot(Format format, const std::string& path);

// Feeds `compressed` to a new sink in chunks of `chunk` bytes and finishes it.
absl::StatusOr<std::unique_ptr<LayerSink>> Receive(LayerStore& store, const LayerBlob& blob,
                                                   absl::string_view compressed, size_t chunk = 65536);
// Unpacks and commits; the diffID.
absl::StatusOr<std::string> AddLayer(LayerStore& store, const std::vector<Entry>& entries);

}  // namespace berth::image::testing_archive
