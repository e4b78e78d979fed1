#include "runtime/sys/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include <cerrno>
#include <string>

#include "runtime/sys/file.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace berth::sys {
namespace {

constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

absl::StatusOr<UniqueFd> MakeMemfd(absl::string_view name, unsigned exec_flag) {
  const std::string n(name);
  UniqueFd fd(memfd_create(n.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | exec_flag));
  // FALLBACK(linux<6.3): the kernel does not know the flag that says whether the file may be executed.
  if (!fd && errno == EINVAL) fd.Reset(memfd_create(n.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return ErrnoError(errno, absl::StrCat("memfd_create '", name, "'"));
  return fd;
}

absl::Status Seal(int fd) {
  if (fcntl(fd, F_ADD_SEALS, kSeals) != 0) return ErrnoError(errno, "F_ADD_SEALS");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> SealedExecutable(int source, absl::string_view name) {
  ASSIGN_OR_RETURN(struct stat st, StatFd(source, name));
  ASSIGN_OR_RETURN(UniqueFd fd, MakeMemfd(name, MFD_EXEC));
  off_t offset = 0;
  while (offset < st.st_size) {
    ssize_t n = sendfile(fd.get(), source, &offset, static_cast<size_t>(st.st_size - offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("copy '", name, "'"));
    if (n == 0) return absl::DataLossError(absl::StrCat("'", name, "' shrank while it was copied"));
  }
  if (fchmod(fd.get(), 0500) != 0) return ErrnoError(errno, "fchmod");
  RETURN_IF_ERROR(Seal(fd.get()));
  return fd;
}

absl::StatusOr<UniqueFd> SealedData(absl::string_view data, absl::string_view name) {
  ASSIGN_OR_RETURN(UniqueFd fd, MakeMemfd(name, MFD_NOEXEC_SEAL));
  RETURN_IF_ERROR(WriteAll(fd.get(), data, name));
  RETURN_IF_ERROR(Seal(fd.get()));
  return fd;
}

bool IsSealed(int fd) {
  int seals = fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & kSeals) == kSeals;
}

}  // namespace berth::sys
