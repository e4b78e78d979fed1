#include "cli/logs/log_parts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli {
namespace {

constexpr absl::string_view kCompressed = ".gz";

std::optional<LogPart> PartAt(const std::string& path) {
  struct stat st;
  if (stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  return LogPart{path, {st.st_dev, st.st_ino}, absl::TimeFromTimespec(st.st_mtim)};
}

// Of a name in the log's directory: the time of the rotation as the kubelet writes it; empty for other files.
absl::string_view RotationTime(absl::string_view name, absl::string_view log) {
  if (!absl::StartsWith(name, log) || absl::EndsWith(name, ".tmp")) return "";
  absl::string_view time = name.substr(log.size());
  if (time.size() < 16 || time[0] != '.' || time[9] != '-') return "";
  time.remove_prefix(1);
  for (size_t i : {0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14}) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(time[i]))) return "";
  }
  return absl::StripSuffix(time, kCompressed);
}

std::vector<LogPart> ListRotated(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = path.substr(0, slash + 1), log = path.substr(slash + 1);
  auto dir = sys::Open(directory.empty() ? "." : directory, O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return {};
  auto names = sys::ListDir(dir->get());
  if (!names.ok()) return {};
  std::map<std::string, std::string> by_time;
  for (const std::string& name : *names) {
    const absl::string_view time = RotationTime(name, log);
    if (time.empty()) continue;
    // While it is compressed both are there.
    std::string& known = by_time[std::string(time)];
    if (known.empty() || absl::EndsWith(known, kCompressed)) known = name;
  }
  std::vector<LogPart> parts;
  for (const auto& [time, name] : by_time) {
    if (auto part = PartAt(directory + name)) parts.push_back(*std::move(part));
  }
  return parts;
}

absl::Status ReadGzip(const std::string& path, const std::function<void(absl::string_view)>& sink) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NOCTTY));
  gzFile file = gzdopen(fd.get(), "rb");
  if (file == nullptr) return absl::ResourceExhaustedError(path);
  static_cast<void>(fd.Release());  // gzclose closes it
  gzbuffer(file, 64 << 10);
  std::string block(64 << 10, '\0');
  int n;
  while ((n = gzread(file, block.data(), static_cast<unsigned>(block.size()))) > 0) {
    sink(absl::string_view(block).substr(0, static_cast<size_t>(n)));
  }
  int error = Z_OK;
  const std::string why = gzerror(file, &error);
  gzclose_r(file);
  if (error != Z_OK && error != Z_STREAM_END) return absl::DataLossError(absl::StrCat(path, ": ", why));
  return absl::OkStatus();
}

absl::Status ReadWhole(const LogPart& part, const std::function<void(absl::string_view)>& sink) {
  absl::Status read = ReadGzip(part.path, sink);  // reads what is not compressed, too
  if (ErrnoOf(read) == ENOENT && !absl::EndsWith(part.path, kCompressed)) {
    read = ReadGzip(absl::StrCat(part.path, kCompressed), sink);
  }
  return ErrnoOf(read) == ENOENT ? absl::OkStatus() : read;
}

}  // namespace

absl::StatusOr<FileIdentity> IdentityOf(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) return ErrnoError(errno, "stat log");
  return FileIdentity{st.st_dev, st.st_ino};
}

std::vector<LogPart> ListParts(const std::string& path) {
  // The name still means the same file after the directory was read: so nothing was rotated meanwhile.
  for (int tries = 0;; ++tries) {
    const auto before = PartAt(path);
    std::vector<LogPart> parts = ListRotated(path);
    const auto after = PartAt(path);
    const bool same = before.has_value() == after.has_value() && (!before || before->identity == after->identity);
    if (!same && tries < 10) continue;
    if (after) parts.push_back(*after);
    return parts;
  }
}

absl::Status ReadPart(const LogPart& part, LogReader& reader) {
  RETURN_IF_ERROR(ReadWhole(part, [&](absl::string_view bytes) { reader.Feed(bytes); }));
  reader.EndOfFile();
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CountLines(const LogPart& part) {
  int64_t lines = 0;
  LogReader reader([&](const LogLine& line) { lines += line.ends ? 1 : 0; });
  RETURN_IF_ERROR(ReadPart(part, reader));
  return lines;
}

}  // namespace berth::cli
