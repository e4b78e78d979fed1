#include "runtime/security/seccomp.h"

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "runtime/security/profile.h"
#include "runtime/sys/file.h"
#include "runtime/sys/memfd.h"

namespace berth::security {
namespace {

constexpr size_t kMaxProfile = 4 << 20;
// A node has few profiles, but each set of capabilities is a program of its own, and pods choose these.
constexpr size_t kMostKept = 64;

absl::StatusOr<SeccompProgram> Compile(const SeccompProfile& profile) {
  ASSIGN_OR_RETURN(std::string program, CompileProfile(profile));
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::SealedData(program, "berth-seccomp"));
  return std::make_shared<const CompiledProfile>(
      CompiledProfile{std::move(fd), profile.flags, profile.listener_path, profile.listener_metadata});
}

}  // namespace

bool HasSeccomp() { return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, nullptr) != 0 && errno == EFAULT; }

const uint32_t kSeccompFlags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;

absl::StatusOr<SeccompProgram> SeccompCache::RuntimeDefault(uint64_t caps) {
  const uint64_t relevant = caps & DefaultProfileCaps();
  const std::string key = absl::StrCat("default:", absl::Hex(relevant));
  {
    absl::MutexLock lock(&mutex_);
    if (auto it = programs_.find(key); it != programs_.end()) return it->second;
  }
  ASSIGN_OR_RETURN(SeccompProgram program, Compile(DefaultProfile(relevant)), "seccomp profile RuntimeDefault");
  return Keep(key, std::move(program));
}

absl::StatusOr<SeccompProgram> SeccompCache::Localhost(absl::string_view json_path, uint64_t caps) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(json_path, kMaxProfile), "seccomp profile");
  // The content is the key: profiles are few, and a hash could collide by design.
  const std::string key = absl::StrCat("localhost:", absl::Hex(caps), ":", text);
  {
    absl::MutexLock lock(&mutex_);
    if (auto it = programs_.find(key); it != programs_.end()) return it->second;
  }
  ASSIGN_OR_RETURN(const SeccompProfile profile, ParseProfile(text, caps), "'", json_path, "'");
  ASSIGN_OR_RETURN(SeccompProgram program, Compile(profile), "seccomp profile '", json_path, "'");
  return Keep(key, std::move(program));
}

SeccompProgram SeccompCache::Keep(const std::string& key, SeccompProgram program) {
  absl::MutexLock lock(&mutex_);
  if (programs_.size() >= kMostKept) programs_.clear();
  return programs_.try_emplace(key, std::move(program)).first->second;
}

}  // namespace berth::security
