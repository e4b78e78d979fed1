#include "cri/state/damaged_file.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cri/state/seal.h"

namespace berth::state {
namespace {

// All databases of berth have this page size, which the file's own header is not asked for: it may be what is damaged.
constexpr size_t kPage = 4096;
// Pages of a b-tree without row ids, which is what `records` is: the inner ones hold rows too.
constexpr unsigned kInner = 0x02, kLeaf = 0x0a;
// How much of a cell is on its page, for such b-trees: "Cell Payload Overflow Pages" of the format.
constexpr size_t kMostLocal = (kPage - 12) * 64 / 255 - 23, kLeastLocal = (kPage - 12) * 32 / 255 - 23;

// A position in bytes; once it ran over the end everything read is 0, and ok() is false.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  absl::string_view Take(size_t n) {
    if (n > bytes_.size()) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    const absl::string_view out = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return out;
  }
  // Big-endian.
  uint64_t Number(size_t n) {
    uint64_t value = 0;
    for (const char c : Take(n)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int i = 0; i < 9; ++i) {
      const uint64_t byte = Number(1);
      if (i == 8) return value << 8 | byte;
      value = value << 7 | (byte & 0x7f);
      if (byte < 0x80) break;
    }
    return value;
  }

 private:
  absl::string_view bytes_;
  bool ok_ = true;
};

using Pages = std::map<uint64_t, absl::string_view>;  // by number, from 1

// The checksum that runs through a write-ahead log: over pairs of words, in the byte order that its magic number names.
class LogSum {
 public:
  explicit LogSum(bool big_endian) : big_endian_(big_endian) {}
  void Add(absl::string_view bytes) {
    for (size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      first_ += Word(bytes.substr(at, 4)) + second_;
      second_ += Word(bytes.substr(at + 4, 4)) + first_;
    }
  }
  bool Is(uint64_t both) const { return both == (uint64_t{first_} << 32 | second_); }

 private:
  uint32_t Word(absl::string_view four) const {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) {
      const auto byte = static_cast<unsigned char>(four[big_endian_ ? i : 3 - i]);
      value = value << 8 | byte;
    }
    return value;
  }
  const bool big_endian_;
  uint32_t first_ = 0, second_ = 0;
};

// Lays the log's pages over those of the file.
void ReadLog(absl::string_view wal, Pages& pages) {
  Reader r(wal);
  const absl::string_view header = r.Take(24);
  const uint64_t header_sum = r.Number(8);
  Reader fields(header);
  const uint64_t magic = fields.Number(4);
  fields.Take(4);
  if (!r.ok() || (magic & ~uint64_t{1}) != 0x377f0682 || fields.Number(4) != kPage) return;
  fields.Take(4);
  const uint64_t salt = fields.Number(8);
  LogSum sum((magic & 1) != 0);
  sum.Add(header);
  if (!sum.Is(header_sum)) return;
  Pages transaction;
  for (;;) {
    const absl::string_view frame = r.Take(16);
    const uint64_t frame_sum = r.Number(8);
    const absl::string_view page = r.Take(kPage);
    if (!r.ok()) return;
    Reader of_frame(frame);
    const uint64_t number = of_frame.Number(4), size_after_commit = of_frame.Number(4);
    sum.Add(frame.substr(0, 8));
    sum.Add(page);
    if (of_frame.Number(8) != salt || !sum.Is(frame_sum)) return;
    transaction[number] = page;
    if (size_after_commit == 0) continue;
    for (const auto& [n, bytes] : transaction) pages[n] = bytes;
    pages.erase(pages.upper_bound(size_after_commit), pages.end());
    transaction.clear();
  }
}

// As much as there is of `size` bytes, of which the first lie in the cell and the rest in a chain of pages.
std::string Payload(const Pages& pages, uint64_t size, Reader cell) {
  if (size <= kMostLocal) return std::string(cell.Take(size));
  const size_t fitting = kLeastLocal + (size - kLeastLocal) % (kPage - 4);
  std::string out(cell.Take(fitting <= kMostLocal ? fitting : kLeastLocal));
  uint64_t next = cell.Number(4);
  while (out.size() < size) {
    auto page = pages.find(next);
    if (page == pages.end()) break;
    Reader r(page->second);
    next = r.Number(4);
    absl::StrAppend(&out, r.Take(std::min<size_t>(size - out.size(), kPage - 4)));
  }
  return out;
}

// Bytes of a column by its serial type, if it is a number; text and blobs are odd and even from 12 on.
size_t NumberBytes(uint64_t type) { return type <= 4 ? type : type == 5 ? 6 : type == 6 ? 8 : 0; }

// `cell` is at a payload of `size` bytes. Nothing, when that is no row of ours.
std::optional<SalvagedRow> ReadRow(const Pages& pages, uint64_t size, Reader cell) {
  Reader r = cell;  // the header is short enough to be in the cell itself
  const uint64_t header_size = r.Varint();
  const uint64_t kind_type = r.Varint(), id_type = r.Varint(), data_type = r.Varint();
  const auto varint_bytes = [](uint64_t n) { return n < 0x80 ? 1u : n < 0x4000 ? 2u : n < 0x200000 ? 3u : 4u; };
  const uint64_t want = 1 + varint_bytes(kind_type) + varint_bytes(id_type) + varint_bytes(data_type);
  if (!r.ok() || header_size != want || (kind_type > 6 && kind_type != 8 && kind_type != 9)) return std::nullopt;
  if (id_type < 13 || id_type % 2 == 0 || data_type < 12 || data_type % 2 != 0) return std::nullopt;
  const uint64_t id_bytes = (id_type - 13) / 2, data_bytes = (data_type - 12) / 2;
  if (header_size + NumberBytes(kind_type) + id_bytes + data_bytes != size) return std::nullopt;
  const std::string payload = Payload(pages, size, cell);
  r = Reader(payload);
  r.Take(header_size);
  const auto number = static_cast<int>(r.Number(NumberBytes(kind_type)));
  const int kind = kind_type >= 8 ? static_cast<int>(kind_type - 8) : number;
  std::string id(r.Take(id_bytes));
  if (!r.ok() || id.empty()) return std::nullopt;
  const absl::string_view stored = r.Take(data_bytes);
  if (!r.ok()) return SalvagedRow{kind, std::move(id), "", false};
  Unsealed record = Unseal(kind, id, stored);
  if (!record.whole) return SalvagedRow{kind, std::move(id), "", false};
  return SalvagedRow{kind, std::move(id), std::move(record.data), true};
}

void ReadPage(const Pages& pages, absl::string_view page, std::vector<SalvagedRow>& rows) {
  Reader header(page);
  const uint64_t type = header.Number(1);
  if (type != kInner && type != kLeaf) return;
  header.Take(2);
  const uint64_t cells = header.Number(2);
  header.Take(type == kInner ? 7 : 3);
  for (uint64_t i = 0; i < cells; ++i) {
    const uint64_t at = header.Number(2);
    if (!header.ok()) return;
    if (at >= page.size()) continue;
    Reader cell(page.substr(at));
    if (type == kInner) cell.Take(4);  // the page of the lesser rows
    const uint64_t size = cell.Varint();
    if (!cell.ok() || size > pages.size() * kPage) continue;
    if (auto row = ReadRow(pages, size, cell)) rows.push_back(*std::move(row));
  }
}

}  // namespace

std::vector<SalvagedRow> SalvageRows(absl::string_view db, absl::string_view wal) {
  Pages pages;
  for (size_t at = 0; at + kPage <= db.size(); at += kPage) pages[at / kPage + 1] = db.substr(at, kPage);
  ReadLog(wal, pages);
  std::vector<SalvagedRow> rows;
  for (const auto& [number, page] : pages) ReadPage(pages, page, rows);
  const auto key = [](const SalvagedRow& r) { return std::pair(r.kind, r.id); };
  std::stable_sort(rows.begin(), rows.end(), [&](const SalvagedRow& a, const SalvagedRow& b) {
    return key(a) != key(b) ? key(a) < key(b) : a.whole > b.whole;
  });
  rows.erase(std::unique(rows.begin(), rows.end(), [&](const auto& a, const auto& b) { return key(a) == key(b); }),
             rows.end());
  return rows;
}

}  // namespace berth::state
