#include "image/content/content_store.h"

#include <fcntl.h>
#include <sys/stat.h>
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

// The blocks of a file, as du counts them.
absl::StatusOr<uint64_t> BytesOnDisk(int fd, absl::string_view name) {
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(fd, name));
  return static_cast<uint64_t>(st.st_blocks) * 512;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ContentStore>> ContentStore::Open(absl::string_view root) {
  std::string path = absl::StrCat(root, "/content");
  RETURN_IF_ERROR(sys::MakeDirs(path, 0700));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY));
  std::unique_ptr<ContentStore> store(new ContentStore(std::move(dir)));
  RETURN_IF_ERROR(store->Adopt());
  return store;
}

absl::Status ContentStore::Adopt() {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir_.get()));
  absl::MutexLock lock(&mutex_);
  for (const std::string& name : names) {
    if (absl::StartsWith(name, kTemporary)) RETURN_IF_ERROR(sys::RemoveTreeAt(dir_.get(), name));
    if (!DigestFromHex(name).ok()) continue;
    ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenAt(dir_.get(), name, O_PATH | O_NOFOLLOW));
    ASSIGN_OR_RETURN(uint64_t bytes, BytesOnDisk(file.get(), name));
    sizes_[name] = bytes;
    total_ += bytes;
  }
  return absl::OkStatus();
}

absl::Status ContentStore::WriteDurably(const std::string& name, absl::string_view bytes) {
  const int dir = dir_.get();
  std::string tmp = absl::StrCat(kTemporary, RandomHexId());
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  absl::Status status = sys::WriteAll(fd.get(), bytes, tmp);
  if (status.ok() && fsync(fd.get()) != 0) status = ErrnoError(errno, absl::StrCat("fsync '", tmp, "'"));
  absl::StatusOr<uint64_t> on_disk = BytesOnDisk(fd.get(), tmp);  // known once it is written
  if (status.ok()) status = on_disk.status();
  if (status.ok()) {
    absl::MutexLock lock(&mutex_);
    if (renameat(dir, tmp.c_str(), dir, name.c_str()) != 0) {
      status = ErrnoError(errno, absl::StrCat("rename '", tmp, "' to '", name, "'"));
    } else {
      uint64_t& size = sizes_[name];
      total_ += *on_disk - size;
      size = *on_disk;
    }
  }
  if (!status.ok()) unlinkat(dir, tmp.c_str(), 0);
  if (status.ok() && fsync(dir) != 0) status = ErrnoError(errno, "fsync of the content directory");
  return status;
}

absl::Status ContentStore::Put(absl::string_view digest, absl::string_view bytes) {
  if (bytes.size() > kMaxDocument) {
    return absl::ResourceExhaustedError(absl::StrCat("document ", digest, " has ", bytes.size(), " bytes"));
  }
  RETURN_IF_ERROR(VerifyDigest(digest, bytes));
  // Written anew even when it is there: that repairs a damaged copy.
  return WriteDurably(std::string(DigestHex(digest)), bytes);
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
  absl::MutexLock lock(&mutex_);
  if (unlinkat(dir_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return ErrnoError(errno, absl::StrCat("unlink '", name, "'"));
  }
  if (auto it = sizes_.find(name); it != sizes_.end()) {
    total_ -= it->second;
    sizes_.erase(it);
  }
  return absl::OkStatus();
}

std::vector<std::string> ContentStore::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> digests;
  for (const auto& [name, bytes] : sizes_) {
    if (auto digest = DigestFromHex(name); digest.ok()) digests.push_back(*std::move(digest));
  }
  return digests;
}

ContentStore::Usage ContentStore::Total() const {
  absl::MutexLock lock(&mutex_);
  return {.bytes = total_, .inodes = sizes_.size()};
}

}  // namespace berth::image
