#include "runtime/security/users.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::security {
namespace {

using sys::UniqueFd;

constexpr size_t kMaxFile = 10 << 20;
constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();

struct PasswdEntry {
  absl::string_view name;
  uint32_t uid = 0;
  uint32_t gid = 0;
  absl::string_view home;
};
struct GroupEntry {
  absl::string_view name;
  uint32_t gid = 0;
  absl::string_view members;  // "a,b"
};

bool AllDigits(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c); });
}

absl::StatusOr<uint32_t> CheckId(int64_t id, absl::string_view what) {
  if (id < 0 || id > kMaxId) {
    return absl::InvalidArgumentError(absl::StrCat(what, " ", id, " is not within 0 and ", kMaxId));
  }
  return static_cast<uint32_t>(id);
}

// For text of digits only.
absl::StatusOr<uint32_t> ParseId(absl::string_view text, absl::string_view what) {
  int64_t id = 0;
  if (!absl::SimpleAtoi(text, &id)) {
    return absl::InvalidArgumentError(absl::StrCat(what, " '", text, "' is not within 0 and ", kMaxId));
  }
  return CheckId(id, what);
}

// A number in a file of the image; what is none makes its line be ignored.
std::optional<uint32_t> FileId(absl::string_view text) {
  uint32_t id = 0;
  if (!AllDigits(text) || !absl::SimpleAtoi(text, &id)) return std::nullopt;
  return id;
}

// name:password:uid:gid:comment:home:shell
std::optional<PasswdEntry> ParsePasswd(absl::string_view line) {
  const std::vector<absl::string_view> f = absl::StrSplit(line, ':');
  if (f.size() < 4 || f[0].empty()) return std::nullopt;
  const auto uid = FileId(f[2]), gid = FileId(f[3]);
  if (!uid || !gid) return std::nullopt;
  return PasswdEntry{f[0], *uid, *gid, f.size() > 5 ? f[5] : ""};
}

// name:password:gid:members
std::optional<GroupEntry> ParseGroup(absl::string_view line) {
  const std::vector<absl::string_view> f = absl::StrSplit(line, ':');
  if (f.size() < 3 || f[0].empty()) return std::nullopt;
  const auto gid = FileId(f[2]);
  if (!gid) return std::nullopt;
  return GroupEntry{f[0], *gid, f.size() > 3 ? f[3] : ""};
}

// The first entry for which `match` holds, as getpwnam(3) would find it.
template <typename Entry, typename Parse, typename Match>
std::optional<Entry> Find(absl::string_view text, Parse parse, Match match) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (auto entry = parse(absl::StripSuffix(line, "\r")); entry && match(*entry)) return entry;
  }
  return std::nullopt;
}
std::optional<PasswdEntry> FindName(const UserFiles& files, absl::string_view name) {
  return Find<PasswdEntry>(files.passwd, ParsePasswd, [&](const PasswdEntry& e) { return e.name == name; });
}
std::optional<PasswdEntry> FindUid(const UserFiles& files, uint32_t uid) {
  return Find<PasswdEntry>(files.passwd, ParsePasswd, [&](const PasswdEntry& e) { return e.uid == uid; });
}

void AddUnique(std::vector<uint32_t>& groups, uint32_t gid) {
  if (std::find(groups.begin(), groups.end(), gid) == groups.end()) groups.push_back(gid);
}

// Who it is before groups: a name and numbers.
struct Identity {
  std::string name;  // "" = no entry in passwd
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string home = "/";
};

Identity FromEntry(const PasswdEntry& entry) {
  Identity who{std::string(entry.name), entry.uid, entry.gid, "/"};
  // It becomes $HOME and is nothing that a path would not be.
  const bool clean = std::none_of(entry.home.begin(), entry.home.end(), [](char c) { return absl::ascii_iscntrl(c); });
  if (clean && absl::StartsWith(entry.home, "/")) who.home = std::string(entry.home);
  return who;
}

Identity ByUid(const UserFiles& files, uint32_t uid) {
  if (auto entry = FindUid(files, uid)) return FromEntry(*entry);
  return Identity{"", uid, 0, "/"};
}

absl::StatusOr<Identity> ByUserText(const UserFiles& files, absl::string_view user) {
  if (user.empty()) return absl::InvalidArgumentError("user is empty");
  if (AllDigits(user)) {
    ASSIGN_OR_RETURN(const uint32_t uid, ParseId(user, "user"));
    return ByUid(files, uid);
  }
  auto entry = FindName(files, user);
  if (!entry) return absl::InvalidArgumentError(absl::StrCat("user '", user, "' is not in the image's /etc/passwd"));
  RETURN_IF_ERROR(CheckId(entry->uid, absl::StrCat("uid of user '", user, "'")));
  RETURN_IF_ERROR(CheckId(entry->gid, absl::StrCat("gid of user '", user, "'")));
  return FromEntry(*entry);
}

absl::StatusOr<uint32_t> ByGroupText(const UserFiles& files, absl::string_view group) {
  if (AllDigits(group)) return ParseId(group, "group");
  auto entry = Find<GroupEntry>(files.group, ParseGroup, [&](const GroupEntry& e) { return e.name == group; });
  if (!entry) return absl::InvalidArgumentError(absl::StrCat("group '", group, "' is not in the image's /etc/group"));
  return CheckId(entry->gid, absl::StrCat("gid of group '", group, "'"));
}

// USER of an image: "user", "user:group"; "user:" is "user".
absl::StatusOr<Identity> ByImageUser(const UserFiles& files, absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  ASSIGN_OR_RETURN(Identity who, ByUserText(files, parts.first), "image USER '", text, "'");
  if (!parts.second.empty()) {
    ASSIGN_OR_RETURN(who.gid, ByGroupText(files, parts.second), "image USER '", text, "'");
  }
  return who;
}

absl::StatusOr<Identity> Identify(const UserRequest& request, const UserFiles& files) {
  if (request.run_as_user && !request.run_as_username.empty()) {
    return absl::InvalidArgumentError("run_as_user and run_as_username are both given");
  }
  if (request.run_as_user) {
    ASSIGN_OR_RETURN(const uint32_t uid, CheckId(*request.run_as_user, "run_as_user"));
    return ByUid(files, uid);
  }
  if (!request.run_as_username.empty()) {
    auto who = ByUserText(files, request.run_as_username);
    RETURN_IF_ERROR(who, "run_as_username");
    return who;
  }
  if (request.run_as_group)
    return absl::InvalidArgumentError("run_as_group is given without run_as_user or run_as_username");
  if (!request.image_user.empty()) return ByImageUser(files, request.image_user);
  return ByUid(files, 0);
}

absl::StatusOr<std::string> ReadUserFile(int rootfs, const char* path) {
  // Not opened for reading before its type is known: a FIFO would block, a device could do
  // anything.
  const auto absent = [](const absl::Status& s) { return ErrnoOf(s) == ENOENT || ErrnoOf(s) == ENOTDIR; };
  auto node = sys::OpenInRoot(rootfs, path, O_PATH | O_NOFOLLOW);
  if (absent(node.status())) return std::string();
  if (ErrnoOf(node.status()) == ELOOP) return absl::FailedPreconditionError(node.status().message());
  RETURN_IF_ERROR(node);
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(node->get(), path));
  if (!S_ISREG(st.st_mode))
    return absl::FailedPreconditionError(absl::StrCat("'", path, "' of the image is not a regular file"));
  ASSIGN_OR_RETURN(UniqueFd fd, sys::OpenInRoot(rootfs, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  ASSIGN_OR_RETURN(struct stat opened, sys::StatFd(fd.get(), path));
  if (opened.st_ino != st.st_ino || opened.st_dev != st.st_dev) {
    return absl::FailedPreconditionError(absl::StrCat("'", path, "' of the image changes while it is read"));
  }
  if (static_cast<size_t>(st.st_size) > kMaxFile) {
    return absl::ResourceExhaustedError(absl::StrCat("'", path, "' of the image is larger than ", kMaxFile, " bytes"));
  }
  return sys::ReadFd(fd.get(), kMaxFile, path);
}

}  // namespace

absl::StatusOr<UserFiles> ReadUserFiles(int rootfs) {
  UserFiles files;
  ASSIGN_OR_RETURN(files.passwd, ReadUserFile(rootfs, "/etc/passwd"));
  ASSIGN_OR_RETURN(files.group, ReadUserFile(rootfs, "/etc/group"));
  return files;
}

absl::StatusOr<ResolvedUser> ResolveUser(const UserRequest& request, const UserFiles& files) {
  ASSIGN_OR_RETURN(Identity who, Identify(request, files));
  if (request.run_as_group) {
    ASSIGN_OR_RETURN(who.gid, CheckId(*request.run_as_group, "run_as_group"));
  }
  ResolvedUser user{who.uid, who.gid, {who.gid}, who.home};
  if (!request.strict_groups && !who.name.empty()) {
    for (absl::string_view line : absl::StrSplit(files.group, '\n')) {
      const auto entry = ParseGroup(absl::StripSuffix(line, "\r"));
      if (!entry || entry->gid > kMaxId) continue;
      for (absl::string_view member : absl::StrSplit(entry->members, ',')) {
        if (member == who.name) AddUnique(user.groups, entry->gid);
      }
    }
  }
  for (int64_t id : request.supplemental_groups) {
    ASSIGN_OR_RETURN(const uint32_t gid, CheckId(id, "supplemental group"));
    AddUnique(user.groups, gid);
  }
  return user;
}

}  // namespace berth::security
