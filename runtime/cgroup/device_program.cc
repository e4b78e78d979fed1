#include "runtime/cgroup/device_program.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace berth::cgroup {
namespace {

using sys::UniqueFd;

constexpr uint32_t kMaxAttached = 64;
// A node's containers have few different lists; a pod with devices of its own adds one.
constexpr size_t kMostKept = 32;

bpf_insn Insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
  bpf_insn insn = {};
  insn.code = code;
  insn.dst_reg = dst & 0xf;
  insn.src_reg = src & 0xf;
  insn.off = off;
  insn.imm = imm;
  return insn;
}
bpf_insn LoadWord(uint8_t dst, size_t offset) {
  return Insn(BPF_LDX | BPF_MEM | BPF_W, dst, BPF_REG_1, static_cast<int16_t>(offset), 0);
}
bpf_insn SkipUnlessEqual(uint8_t reg, uint32_t value, size_t skip) {
  return Insn(BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, static_cast<int16_t>(skip), static_cast<int32_t>(value));
}

uint32_t AccessMask(const std::string& access) {
  uint32_t mask = 0;
  if (absl::StrContains(access, "m")) mask |= BPF_DEVCG_ACC_MKNOD;
  if (absl::StrContains(access, "r")) mask |= BPF_DEVCG_ACC_READ;
  if (absl::StrContains(access, "w")) mask |= BPF_DEVCG_ACC_WRITE;
  return mask;
}

// r2 = type, r3 = access, r4 = major, r5 = minor. "Allow" ends the program; anything else falls
// through.
std::vector<bpf_insn> CompileRule(const DeviceRule& rule) {
  constexpr uint32_t kAll = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
  const uint32_t denied = kAll & ~AccessMask(rule.access);
  std::vector<bpf_insn> out;
  // A jump's length is known only from behind, so the rule is written backwards.
  const auto prepend = [&out](bpf_insn insn) { out.insert(out.begin(), insn); };
  prepend(Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  prepend(Insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1));
  if (rule.minor) prepend(SkipUnlessEqual(BPF_REG_5, *rule.minor, out.size()));
  if (rule.major) prepend(SkipUnlessEqual(BPF_REG_4, *rule.major, out.size()));
  if (denied != 0) {
    prepend(Insn(BPF_JMP32 | BPF_JSET | BPF_K, BPF_REG_3, 0, static_cast<int16_t>(out.size()),
                 static_cast<int32_t>(denied)));
  }
  if (rule.type != 'a')
    prepend(SkipUnlessEqual(BPF_REG_2, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, out.size()));
  return out;
}

std::string KeyOf(const std::vector<DeviceRule>& rules) {
  std::string key;
  for (const DeviceRule& r : rules) {
    absl::StrAppend(&key, absl::string_view(&r.type, 1), r.major ? absl::StrCat(*r.major) : "*", ":",
                    r.minor ? absl::StrCat(*r.minor) : "*", r.access, ";");
  }
  return key;
}

long Bpf(int command, bpf_attr* attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

// The device programs that are attached to this cgroup itself.
absl::StatusOr<std::vector<uint32_t>> Attached(int cgroup_dir) {
  std::vector<uint32_t> ids(kMaxAttached);
  bpf_attr attr = {};
  attr.query.target_fd = static_cast<uint32_t>(cgroup_dir);
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_ids = reinterpret_cast<uint64_t>(ids.data());
  attr.query.prog_cnt = kMaxAttached;
  if (Bpf(BPF_PROG_QUERY, &attr) != 0) return ErrnoError(errno, "query device programs");
  ids.resize(attr.query.prog_cnt);
  return ids;
}

absl::Status Detach(int cgroup_dir, uint32_t id) {
  bpf_attr attr = {};
  attr.prog_id = id;
  UniqueFd program(static_cast<int>(Bpf(BPF_PROG_GET_FD_BY_ID, &attr)));
  if (!program) return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, "open a device program");
  attr = {};
  attr.target_fd = static_cast<uint32_t>(cgroup_dir);
  attr.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  if (Bpf(BPF_PROG_DETACH, &attr) != 0 && errno != ENOENT) return ErrnoError(errno, "detach a device program");
  return absl::OkStatus();
}

}  // namespace

std::vector<bpf_insn> CompileDeviceRules(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> out;
  out.push_back(LoadWord(BPF_REG_2, offsetof(bpf_cgroup_dev_ctx, access_type)));
  out.push_back(Insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0));
  out.push_back(Insn(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff));
  out.push_back(Insn(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16));
  out.push_back(LoadWord(BPF_REG_4, offsetof(bpf_cgroup_dev_ctx, major)));
  out.push_back(LoadWord(BPF_REG_5, offsetof(bpf_cgroup_dev_ctx, minor)));
  for (const DeviceRule& rule : rules) {
    const std::vector<bpf_insn> compiled = CompileRule(rule);
    out.insert(out.end(), compiled.begin(), compiled.end());
    // The verifier refuses what can never be reached.
    if (rule == DeviceRule{}) return out;
  }
  out.push_back(Insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0));
  out.push_back(Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  return out;
}

absl::StatusOr<std::shared_ptr<const UniqueFd>> DevicePrograms::Load(const std::vector<DeviceRule>& rules) {
  const std::string key = KeyOf(rules);
  {
    absl::MutexLock lock(&mutex_);
    if (auto it = programs_.find(key); it != programs_.end()) return it->second;
  }
  const std::vector<bpf_insn> insns = CompileDeviceRules(rules);
  bpf_attr attr = {};
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.insns = reinterpret_cast<uint64_t>(insns.data());
  attr.insn_cnt = static_cast<uint32_t>(insns.size());
  attr.license = reinterpret_cast<uint64_t>("Apache-2.0");
  std::strcpy(attr.prog_name, "berth_devices");
  UniqueFd fd(static_cast<int>(Bpf(BPF_PROG_LOAD, &attr)));
  if (!fd) return ErrnoError(errno, "load a device program");
  auto program = std::make_shared<const UniqueFd>(std::move(fd));
  absl::MutexLock lock(&mutex_);
  // The kernel keeps what is attached; only what the next container would save is lost.
  if (programs_.size() >= kMostKept) programs_.clear();
  return programs_.try_emplace(key, std::move(program)).first->second;
}

absl::Status DevicePrograms::Attach(int cgroup_dir, const std::vector<DeviceRule>& rules) {
  ASSIGN_OR_RETURN(std::vector<uint32_t> former, Attached(cgroup_dir));
  ASSIGN_OR_RETURN(std::shared_ptr<const UniqueFd> program, Load(rules));
  // The same program twice is refused (EINVAL), and there is nothing to do then.
  bpf_prog_info info = {};
  bpf_attr query = {};
  query.info.bpf_fd = static_cast<uint32_t>(program->get());
  query.info.info_len = sizeof info;
  query.info.info = reinterpret_cast<uint64_t>(&info);
  if (Bpf(BPF_OBJ_GET_INFO_BY_FD, &query) != 0) return ErrnoError(errno, "query a device program");
  bool there = false;
  for (uint32_t id : former) there |= id == info.id;
  if (!there) {
    bpf_attr attr = {};
    attr.target_fd = static_cast<uint32_t>(cgroup_dir);
    attr.attach_bpf_fd = static_cast<uint32_t>(program->get());
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (Bpf(BPF_PROG_ATTACH, &attr) != 0) return ErrnoError(errno, "attach a device program");
  }
  // All attached programs have to agree, so the new one is in force together with the old ones
  // until these are gone.
  for (uint32_t id : former) {
    if (id != info.id) RETURN_IF_ERROR(Detach(cgroup_dir, id));
  }
  return absl::OkStatus();
}

}  // namespace berth::cgroup
