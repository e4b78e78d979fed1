#include "runtime/sys/older_kernel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/sys/file.h"
#include "runtime/sys/memfd.h"

namespace berth::sys {
namespace {

int OpenErrno(const char* path) {
  UniqueFd fd(openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
  return fd ? 0 : errno;
}

TEST(OlderKernelTest, OnlyWhatIsNamedIsMissing) {
  const std::vector<MissingCall> missing = {{SYS_openat2, ENOSYS},
                                            {SYS_openat, ENOENT, 1, {}, 0, "/dev/zero"},
                                            {SYS_umask, EINVAL, 0, 3},
                                            {SYS_umask, EPERM, 0, {}, 0400}};
  auto report = OnOlderKernel(missing, [] {
    return absl::StrCat(ErrnoOf(OpenBeneath(AT_FDCWD, "x", O_RDONLY).status()) == ENOSYS, OpenErrno("/dev/zero"), " ",
                        OpenErrno("/dev/null"), " ", syscall(SYS_umask, 3) == -1 && errno == EINVAL,
                        syscall(SYS_umask, 0401) == -1 && errno == EPERM, syscall(SYS_umask, 022) >= 0);
  });
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(*report, absl::StrCat("1", ENOENT, " 0 111"));
}

TEST(OlderKernelTest, AChildThatDiesIsTold) {
  EXPECT_EQ(OnOlderKernel({}, []() -> std::string { _exit(3); }).status().code(), absl::StatusCode::kAborted);
}

// FALLBACK(linux<6.3) of runtime/sys/memfd.cc
TEST(OlderKernelTest, MemfdsWithoutAWordOnExecution) {
  constexpr uint32_t kExecFlags = 0x0010 | 0x0008;
  auto report = OnOlderKernel({{SYS_memfd_create, EINVAL, 1, {}, kExecFlags}}, []() -> std::string {
    const bool refused = memfd_create("x", MFD_CLOEXEC | 0x0010) < 0 && errno == EINVAL;
    auto data = SealedData("text", "test");
    if (!data.ok()) return data.status().ToString();
    auto program = Open("/proc/self/exe", O_RDONLY);
    auto image = SealedExecutable(program->get(), "test");
    if (!image.ok()) return image.status().ToString();
    return absl::StrCat(refused, IsSealed(data->get()), IsSealed(image->get()),
                        faccessat(AT_FDCWD, absl::StrCat("/proc/self/fd/", image->get()).c_str(), X_OK, 0) == 0);
  });
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(*report, "1111");
}

}  // namespace
}  // namespace berth::sys
