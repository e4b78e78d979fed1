#include "image/content/content_store.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "image/content/digest.h"
#include "runtime/base/id.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr absl::string_view kTemporary = "tmp-";

absl::Status WriteDurably(int dir, const std::string& name, absl::string_view bytes) {
  std::string tmp = absl::StrCat(kTemporary, RandomHexId());
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  absl::Status status = sys::WriteAll(fd.get(), bytes, tmp);
  if (status.ok() && fsync(fd.get()) != 0) status = ErrnoError(errno, absl::StrCat("fsync '", tmp, "'"));
  if (status.ok() && renameat(dir, tmp.c_str(), dir, name.c_str()) != 0) {
    status = ErrnoError(errno, absl::StrCat("rename '", tmp, "' to '", name, "'"));
  }
  if (!status.ok()) unlinkat(dir, tmp.c_str(), 0);
  if (status.ok() && fsync(dir) != 0) status = ErrnoError(errno, "fsync of the content directory");
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ContentStore>> ContentStore::Open(absl::string_view root) {
  std::string path = absl::StrCat(root, "/content");
  RETURN_IF_ERROR(sys::MakeDirs(path, 0700));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir.get()));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, kTemporary)) RETURN_IF_ERROR(sys::RemoveTreeAt(dir.get(), name));
  }
  return std::unique_ptr<ContentStore>(new ContentStore(std::move(dir)));
}

absl::Status ContentStore::Put(absl::string_view digest, absl::string_view bytes) {
  if (bytes.size() > kMaxDocument) {
    return absl::ResourceExhaustedError(absl::StrCat("document ", digest, " has ", bytes.size(), " bytes"));
  }
  RETURN_IF_ERROR(VerifyDigest(digest, bytes));
  // Written anew even when it is there: that repairs a damaged copy.
  return WriteDurably(dir_.get(), std::string(DigestHex(digest)), bytes);
}

absl::StatusOr<std::string> ContentStore::Get(absl::string_view digest) const {
  RETURN_IF_ERROR(CheckDigest(digest));
  ASSIGN_OR_RETURN(std::string bytes, sys::ReadFileAt(dir_.get(), DigestHex(digest), kMaxDocument));
  RETURN_IF_ERROR(VerifyDigest(digest, bytes), "stored document");
  return bytes;
}

absl::Status ContentStore::Remove(absl::string_view digest) {
  RETURN_IF_ERROR(CheckDigest(digest));
  std::string name(DigestHex(digest));
  if (unlinkat(dir_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return ErrnoError(errno, absl::StrCat("unlink '", name, "'"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ContentStore::List() const {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir_.get()));
  std::vector<std::string> digests;
  for (const std::string& name : names) {
    if (auto digest = DigestFromHex(name); digest.ok()) digests.push_back(*std::move(digest));
  }
  return digests;
}

}  // namespace berth::image
