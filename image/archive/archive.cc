#include "image/archive/archive.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "image/content/read_range.h"
#include "image/unpack/decompressor.h"
#include "image/unpack/disk_space.h"
#include "image/unpack/tar_parser.h"
#include "runtime/base/lexical_path.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr int kMaxLinks = 8;

std::string Quoted(absl::string_view name) { return absl::StrCat("'", absl::CHexEscape(name.substr(0, 200)), "'"); }

bool HasDotDot(absl::string_view path) {
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return true;
  }
  return false;
}

UnpackLimits WithMembers(UnpackLimits limits) {
  limits.max_entries = std::min(limits.max_entries, Archive::kMaxMembers);
  return limits;
}

absl::Status WriteAt(int fd, uint64_t at, absl::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "write of the archive's members");
    at += static_cast<uint64_t>(n);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace

// Puts the contents of an archive's files one behind the other into the spool file.
class ArchiveSpool : public TarVisitor {
 public:
  ArchiveSpool(Archive* archive, const UnpackLimits& limits)
      : archive_(archive), limits_(limits), space_(archive->file_.get(), limits) {}

  absl::Status OnEntry(const TarEntry& entry) override {
    current_ = nullptr;
    if (HasDotDot(entry.path)) {
      return absl::InvalidArgumentError(absl::StrCat("member ", Quoted(entry.path), " has '..' in its name"));
    }
    std::string name = CleanInRoot(entry.path);
    names_ += name.size() + entry.link.size();
    if (names_ > Archive::kMaxNames) return absl::ResourceExhaustedError("the archive's names are over 16 MiB");
    switch (entry.type) {
      case TarEntry::Type::kFile:
        return BeginFile(entry, std::move(name));
      case TarEntry::Type::kHardLink:
        return AddLink(std::move(name), CleanInRoot(entry.link));
      case TarEntry::Type::kSymlink:
        return AddLink(std::move(name), Target(name, entry.link));
      default:
        return absl::OkStatus();
    }
  }

  absl::Status OnData(uint64_t offset, uint64_t, absl::string_view bytes) override {
    if (current_ == nullptr) return absl::OkStatus();
    RETURN_IF_ERROR(space_.Claim(bytes.size()));
    return WriteAt(archive_->file_.get(), current_->at + offset, bytes);
  }

  absl::Status OnEntryEnd() override { return absl::OkStatus(); }

 private:
  absl::Status BeginFile(const TarEntry& entry, std::string name) {
    if (entry.sparse) return absl::InvalidArgumentError(absl::StrCat("member ", Quoted(name), " is sparse"));
    if (entry.size > limits_.max_bytes - end_) {
      return absl::ResourceExhaustedError(absl::StrCat("the archive has more than ", limits_.max_bytes, " bytes"));
    }
    RETURN_IF_ERROR(CheckNew(name));
    current_ = &archive_->members_[name];
    *current_ = {.name = name, .at = end_, .size = entry.size};
    end_ += entry.size;
    return absl::OkStatus();
  }

  absl::Status AddLink(std::string name, std::string target) {
    RETURN_IF_ERROR(CheckNew(name));
    archive_->links_[std::move(name)] = std::move(target);
    return absl::OkStatus();
  }

  // One that is there twice would mean one thing to us and another to the next reader.
  absl::Status CheckNew(const std::string& name) const {
    if (archive_->members_.count(name) == 0 && archive_->links_.count(name) == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("member ", Quoted(name), " is there twice"));
  }

  static std::string Target(const std::string& name, const std::string& link) {
    if (absl::StartsWith(link, "/")) return CleanInRoot(link);
    return CleanInRoot(absl::StrCat(name, "/../", link));
  }

  Archive* const archive_;
  const UnpackLimits limits_;
  DiskSpace space_;
  ArchiveMember* current_ = nullptr;
  uint64_t end_ = 0;
  size_t names_ = 0;
};

absl::StatusOr<std::unique_ptr<Archive>> Archive::Receive(
    const std::string& dir, const std::function<absl::StatusOr<absl::string_view>()>& input,
    const UnpackLimits& limits) {
  std::unique_ptr<Archive> archive(new Archive());
  ASSIGN_OR_RETURN(archive->file_, sys::Open(dir, O_TMPFILE | O_RDWR, 0600));
  ArchiveSpool spool(archive.get(), limits);
  TarParser parser(&spool, WithMembers(limits));
  Decompressor decompressor;
  uint64_t received = 0, plain = 0;
  auto take = [&](absl::string_view bytes) -> absl::Status {
    plain += bytes.size();
    if (plain > limits.max_bytes || (plain > limits.ratio_from && plain / limits.max_ratio > received)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the archive unpacks to more than ", plain, " bytes from ", received));
    }
    return parser.Write(bytes);
  };
  for (;;) {
    ASSIGN_OR_RETURN(absl::string_view bytes, input());
    if (bytes.empty()) break;
    received += bytes.size();
    RETURN_IF_ERROR(decompressor.Write(bytes, take), "archive");
  }
  if (received == 0) return absl::InvalidArgumentError("the archive is empty");
  RETURN_IF_ERROR(decompressor.Finish(take), "archive");
  RETURN_IF_ERROR(parser.Finish(), "archive");
  return archive;
}

absl::StatusOr<ArchiveMember> Archive::Find(absl::string_view name) const {
  std::string at = CleanInRoot(name);
  for (int hop = 0; hop <= kMaxLinks; ++hop) {
    if (auto member = members_.find(at); member != members_.end()) return member->second;
    auto link = links_.find(at);
    if (link == links_.end()) return absl::NotFoundError(absl::StrCat("the archive has no member ", Quoted(name)));
    at = link->second;
  }
  return absl::InvalidArgumentError(absl::StrCat("member ", Quoted(name), " is a link in a circle"));
}

absl::StatusOr<std::string> Archive::Read(const ArchiveMember& member, size_t limit) const {
  if (member.size > limit) {
    return absl::ResourceExhaustedError(absl::StrCat("member ", Quoted(member.name), " has ", member.size, " bytes"));
  }
  return Head(member, limit);
}

absl::StatusOr<std::string> Archive::Head(const ArchiveMember& member, size_t count) const {
  ArchiveMember head = member;
  head.size = std::min<uint64_t>(member.size, count);
  std::string out;
  RETURN_IF_ERROR(Copy(head, [&](absl::string_view bytes) {
    out.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  }));
  return out;
}

absl::Status Archive::Copy(const ArchiveMember& member,
                           absl::FunctionRef<absl::Status(absl::string_view)> output) const {
  return ReadRange(file_.get(), member.at, member.size, "the spooled archive", output);
}

}  // namespace berth::image
