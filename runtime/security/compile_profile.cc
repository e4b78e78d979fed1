#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>

#include "runtime/security/profile.h"
#include "runtime/sys/file.h"
#include "runtime/sys/unique_fd.h"

namespace berth::security {
namespace {

constexpr uint32_t kX32Bit = 0x40000000;
constexpr int kHighestNumber = 2048;

struct Release {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, Release>;

absl::Status LibError(int rc, absl::string_view what) { return ErrnoError(-rc, absl::StrCat("libseccomp: ", what)); }

// The highest number that libseccomp has a name for.
uint32_t LastKnown(uint32_t arch) {
  uint32_t last = 0;
  for (int nr = 0; nr < kHighestNumber; ++nr) {
    std::unique_ptr<char, decltype(&free)> name(seccomp_syscall_resolve_num_arch(arch, nr), &free);
    if (name) last = static_cast<uint32_t>(nr);
  }
  return last;
}

void AppendInsn(std::string& out, sock_filter insn) { out.append(reinterpret_cast<const char*>(&insn), sizeof insn); }

// For one architecture, in front of libseccomp's program: a number above `last` is allowed if it is
// listed, else ENOSYS; anything else goes on behind.
void AppendPrelude(std::string& out, uint32_t arch, uint32_t last, const std::vector<uint32_t>& allowed, bool x32,
                   size_t insns_behind) {
  std::vector<uint32_t> listed;
  std::copy_if(allowed.begin(), allowed.end(), std::back_inserter(listed), [&](uint32_t nr) { return nr > last; });
  const auto n = static_cast<uint8_t>(listed.size());
  // jeq arch | ld nr | [jge x32] | jgt last | jeq listed … | ret ENOSYS | ret ALLOW | ja behind
  const uint8_t block = static_cast<uint8_t>(1 + (x32 ? 1 : 0) + 1 + n + 3);
  AppendInsn(out, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, block));
  AppendInsn(out, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  if (x32) AppendInsn(out, BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, static_cast<uint8_t>(n + 3), 0));
  AppendInsn(out, BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 0, static_cast<uint8_t>(n + 2)));
  for (uint8_t i = 0; i < n; ++i) {
    AppendInsn(out, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, listed[i], static_cast<uint8_t>(n - i), 0));
  }
  AppendInsn(out, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
  AppendInsn(out, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  AppendInsn(out, BPF_STMT(BPF_JMP | BPF_JA, static_cast<uint32_t>(insns_behind)));
}

std::string Prelude(const SeccompProfile& profile) {
  std::vector<uint32_t> arches = {seccomp_arch_native()};
  bool x32 = false;
  for (uint32_t arch : profile.architectures) {
    // x32 is x86-64 to the kernel, with a bit in the number.
    if (arch == SCMP_ARCH_X32)
      x32 = true;
    else if (std::find(arches.begin(), arches.end(), arch) == arches.end())
      arches.push_back(arch);
  }
  // From the last block to the first, since each has to know how much is behind it.
  std::string out;
  for (auto arch = arches.rbegin(); arch != arches.rend(); ++arch) {
    std::string block;
    AppendPrelude(block, *arch, LastKnown(*arch), profile.allowed_numbers, x32 && *arch == SCMP_ARCH_X86_64,
                  out.size() / sizeof(sock_filter));
    out.insert(0, block);
  }
  std::string load;
  AppendInsn(load, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
  return load + out;
}

bool Refuses(uint32_t action) {
  return action != SCMP_ACT_ALLOW && action != SCMP_ACT_LOG && action != SCMP_ACT_NOTIFY &&
         (action & 0xffff0000u) != SCMP_ACT_TRACE(0);
}

absl::Status AddRule(void* context, const SeccompProfile& profile, const SeccompRule& rule) {
  // libseccomp refuses a rule that says what happens anyway.
  if (rule.action == profile.default_action) return absl::OkStatus();
  const int nr = seccomp_syscall_resolve_name(rule.name.c_str());
  if (nr == __NR_SCMP_ERROR) return absl::OkStatus();
  std::vector<scmp_arg_cmp> args;
  for (const SeccompCondition& c : rule.conditions) {
    args.push_back({c.arg, static_cast<scmp_compare>(c.op), c.value, c.value2});
  }
  const int rc = seccomp_rule_add_array(context, rule.action, nr, static_cast<unsigned>(args.size()), args.data());
  if (rc != 0 && rc != -EEXIST) return LibError(rc, absl::StrCat("rule for '", rule.name, "'"));
  return absl::OkStatus();
}

absl::StatusOr<Context> BuildContext(const SeccompProfile& profile) {
  Context context(seccomp_init(profile.default_action));
  if (!context) return absl::InvalidArgumentError("libseccomp: default action");
  for (uint32_t arch : profile.architectures) {
    if (int rc = seccomp_arch_add(context.get(), arch); rc != 0 && rc != -EEXIST) return LibError(rc, "architecture");
  }
  // As a binary tree: a load is twice as quick, since the kernel runs the program once for each
  // number.
  if (int rc = seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2); rc != 0) return LibError(rc, "optimize");
  for (const SeccompRule& rule : profile.rules) RETURN_IF_ERROR(AddRule(context.get(), profile, rule));
  return context;
}

}  // namespace

absl::StatusOr<std::string> CompileProfile(const SeccompProfile& profile) {
  ASSIGN_OR_RETURN(Context context, BuildContext(profile));
  sys::UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return ErrnoError(errno, "memfd_create");
  if (int rc = seccomp_export_bpf(context.get(), file.get()); rc != 0) return LibError(rc, "export");
  if (lseek(file.get(), 0, SEEK_SET) != 0) return ErrnoError(errno, "lseek");
  ASSIGN_OR_RETURN(std::string program, sys::ReadFd(file.get(), 1 << 20, "seccomp program"));
  if (Refuses(profile.default_action)) program.insert(0, Prelude(profile));
  if (program.size() / sizeof(sock_filter) > BPF_MAXINSNS) {
    return absl::ResourceExhaustedError(absl::StrCat("the seccomp program has ", program.size() / sizeof(sock_filter),
                                                     " instructions; the kernel takes ", BPF_MAXINSNS));
  }
  return program;
}

}  // namespace berth::security
