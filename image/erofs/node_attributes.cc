#include "image/erofs/node_attributes.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "image/unpack/entry_attributes.h"

namespace berth::image {
namespace {

constexpr char kAccessAcl[] = "system.posix_acl_access";
constexpr size_t kMaxXattrName = 255;
constexpr size_t kMaxXattrValue = 0xffff;  // EROFS has 16 bits for it, one byte less than Linux takes

uint32_t Little(absl::string_view bytes, size_t at, size_t size) {
  uint32_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

// A POSIX ACL as xattrs have it (linux/posix_acl_xattr.h): version 2, then eight bytes for each entry.
struct Acl {
  enum Tag : uint32_t { kOwner = 1, kUser = 2, kOwningGroup = 4, kGroup = 8, kMask = 16, kOther = 32 };
  int owner = -1, group = -1, mask = -1, other = -1;  // permissions; -1 = no such entry
  bool named = false;
};

absl::StatusOr<Acl> ParseAcl(absl::string_view value) {
  const absl::Status malformed = absl::InvalidArgumentError("malformed POSIX ACL");
  if (value.size() < 4 || value.size() % 8 != 4 || Little(value, 0, 4) != 2) return malformed;
  Acl acl;
  for (size_t at = 4; at < value.size(); at += 8) {
    const int permissions = static_cast<int>(Little(value, at + 2, 2));
    if (permissions > 7) return malformed;
    int* place = nullptr;
    switch (Little(value, at, 2)) {
      case Acl::kOwner:
        place = &acl.owner;
        break;
      case Acl::kOwningGroup:
        place = &acl.group;
        break;
      case Acl::kMask:
        place = &acl.mask;
        break;
      case Acl::kOther:
        place = &acl.other;
        break;
      case Acl::kUser:
      case Acl::kGroup:
        acl.named = true;
        continue;
      default:
        return malformed;
    }
    if (*place != -1) return malformed;
    *place = permissions;
  }
  if (acl.owner < 0 || acl.group < 0 || acl.other < 0 || (acl.named && acl.mask < 0)) return malformed;
  return acl;
}

// The mode and the access ACL of a file speak of the same permissions, and what is set last wins: the ACL. One that
// says no more than a mode can is not kept.
absl::Status ApplyAccessAcl(absl::string_view value, TreeNode& node, bool& keep) {
  ASSIGN_OR_RETURN(Acl acl, ParseAcl(value));
  const int group = acl.mask >= 0 ? acl.mask : acl.group;
  node.mode = (node.mode & ~mode_t{0777}) | static_cast<mode_t>(acl.owner << 6 | group << 3 | acl.other);
  keep = acl.named || acl.mask >= 0;
  return absl::OkStatus();
}

// Revision 2, and 3 with the root of a user namespace (capability.h).
absl::Status CheckCapability(absl::string_view value) {
  const uint32_t revision = value.size() >= 4 ? Little(value, 0, 4) >> 24 : 0;
  if ((value.size() == 20 && revision == 2) || (value.size() == 24 && revision == 3)) return absl::OkStatus();
  return absl::InvalidArgumentError("malformed file capability");
}

bool CanHave(const TreeNode& node, absl::string_view name) {
  if (S_ISLNK(node.mode)) return false;
  if (absl::StartsWith(name, "user.")) return S_ISREG(node.mode) || S_ISDIR(node.mode);
  return name != kDefaultAcl || S_ISDIR(node.mode);
}

}  // namespace

absl::Status SetNodeAttributes(const TarEntry& entry, TreeNode& node) {
  node.mode = (node.mode & S_IFMT) | (S_ISLNK(node.mode) ? 0777 : entry.mode);
  node.uid = entry.uid;
  node.gid = entry.gid;
  node.mtime = entry.mtime;
  node.implied = false;
  // An entry over one before it adds to the attributes of a directory, and takes none away.
  for (const auto& [name, value] : entry.xattrs) {
    if (!IsXattrAllowed(name) || !CanHave(node, name)) continue;
    bool keep = true;
    absl::Status status;
    if (name.size() > kMaxXattrName) status = absl::InvalidArgumentError("its name has more than 255 bytes");
    if (value.size() > kMaxXattrValue) status = absl::InvalidArgumentError("its value has more than 65535 bytes");
    if (name == kAccessAcl) status = ApplyAccessAcl(value, node, keep);
    if (name == kDefaultAcl) status = ParseAcl(value).status();
    if (name == "security.capability") status = CheckCapability(value);
    RETURN_IF_ERROR(status, "attribute '", absl::CEscape(name), "'");
    auto same = [&name = name](const auto& xattr) { return xattr.first == name; };
    node.xattrs.erase(std::remove_if(node.xattrs.begin(), node.xattrs.end(), same), node.xattrs.end());
    if (keep) node.xattrs.emplace_back(name, value);
  }
  return absl::OkStatus();
}

}  // namespace berth::image
