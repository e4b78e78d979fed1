#include "runtime/security/selinux.h"

#include <fcntl.h>
#include <sys/random.h>

#include <cerrno>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"

namespace berth::security {
namespace {

bool IsName(absl::string_view text) {
  for (char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.' && c != '-') return false;
  }
  return !text.empty();
}

// "c7", "s0": a letter and a number below `end`.
bool IsNumbered(absl::string_view text, char letter, uint32_t end) {
  uint32_t number = 0;
  if (!absl::ConsumePrefix(&text, absl::string_view(&letter, 1))) return false;
  return text.find_first_not_of("0123456789") == absl::string_view::npos && absl::SimpleAtoi(text, &number) &&
         number < end;
}

// "s0" or "s0:c1,c5.c7".
bool IsSensitivity(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (!IsNumbered(parts[0], 's', 1024)) return false;
  if (parts.size() == 1) return true;
  for (absl::string_view range : absl::StrSplit(parts[1], ',')) {
    for (absl::string_view category : absl::StrSplit(range, absl::MaxSplits('.', 1))) {
      if (!IsNumbered(category, 'c', CategoryPool::kCategories)) return false;
    }
  }
  return true;
}

bool IsLevel(absl::string_view text) {
  for (absl::string_view end : absl::StrSplit(text, absl::MaxSplits('-', 1))) {
    if (!IsSensitivity(end)) return false;
  }
  return true;
}

// "s0:c12,c700" in either order; nothing for a level of another form.
bool ParsePair(absl::string_view level, std::pair<uint32_t, uint32_t>& out) {
  if (!absl::ConsumePrefix(&level, "s0:c")) return false;
  const std::vector<absl::string_view> two = absl::StrSplit(level, ",c");
  if (two.size() != 2 || !absl::SimpleAtoi(two[0], &out.first) || !absl::SimpleAtoi(two[1], &out.second)) return false;
  if (out.first > out.second) std::swap(out.first, out.second);
  return true;
}

const std::string& Choose(const std::string& wanted, const std::string& otherwise) {
  return wanted.empty() ? otherwise : wanted;
}

}  // namespace

absl::StatusOr<SelinuxContext> ParseSelinuxContext(absl::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 3));
  if (parts.size() < 3) return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a security context"));
  SelinuxContext out{parts[0], parts[1], parts[2], parts.size() > 3 ? parts[3] : ""};
  const bool whole =
      !out.user.empty() && !out.role.empty() && !out.type.empty() && (parts.size() == 3 || IsLevel(parts[3]));
  if (!whole || !CheckSelinuxParts(out).ok()) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a security context"));
  }
  return out;
}

std::string FormatSelinuxContext(const SelinuxContext& c) {
  return absl::StrCat(c.user, ":", c.role, ":", c.type, c.level.empty() ? "" : ":", c.level);
}

absl::Status CheckSelinuxParts(const SelinuxContext& parts) {
  for (const auto& [name, value] :
       {std::pair<const char*, const std::string&>{"user", parts.user}, {"role", parts.role}, {"type", parts.type}}) {
    if (value.empty() || IsName(value)) continue;
    return absl::InvalidArgumentError(absl::StrCat(name, ": '", value, "' is not a name"));
  }
  if (parts.level.empty() || IsLevel(parts.level)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("level: '", parts.level, "' is not a level such as s0:c1,c2"));
}

absl::StatusOr<SelinuxDefaults> ParseContainerContexts(absl::string_view text) {
  std::map<std::string, std::string> values;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits('=', 1));
    if (parts.size() != 2) continue;
    absl::string_view value = absl::StripAsciiWhitespace(parts[1]);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    values[std::string(absl::StripAsciiWhitespace(parts[0]))] = std::string(value);
  }
  SelinuxDefaults out;
  ASSIGN_OR_RETURN(out.process, ParseSelinuxContext(values["process"]), "process");
  ASSIGN_OR_RETURN(out.file, ParseSelinuxContext(values["file"]), "file");
  return out;
}

SelinuxLabels ComposeSelinuxLabels(const SelinuxDefaults& defaults, const SelinuxContext& request,
                                   absl::string_view level) {
  SelinuxContext process = defaults.process, file = defaults.file;
  process.user = Choose(request.user, process.user);
  process.role = Choose(request.role, process.role);
  process.type = Choose(request.type, process.type);
  const std::string wanted = Choose(request.level, std::string(level));
  process.level = Choose(wanted, process.level);
  file.level = Choose(wanted, file.level);
  return {FormatSelinuxContext(process), FormatSelinuxContext(file)};
}

absl::StatusOr<std::string> CategoryPool::Reserve() {
  constexpr size_t kPairs = size_t{kCategories} * (kCategories - 1) / 2;
  absl::MutexLock lock(&mutex_);
  if (taken_.size() >= kPairs) return absl::ResourceExhaustedError("every pair of SELinux categories is in use");
  for (;;) {
    uint32_t random[2];
    if (getrandom(random, sizeof random, 0) != sizeof random) return ErrnoError(errno, "getrandom");
    std::pair<uint32_t, uint32_t> pair = std::minmax(random[0] % kCategories, random[1] % kCategories);
    if (pair.first == pair.second || !taken_.emplace(pair, 1).second) continue;
    return absl::StrCat("s0:c", pair.first, ",c", pair.second);
  }
}

void CategoryPool::Take(absl::string_view level) {
  std::pair<uint32_t, uint32_t> pair;
  if (!ParsePair(level, pair)) return;
  absl::MutexLock lock(&mutex_);
  ++taken_[pair];
}

void CategoryPool::Release(absl::string_view level) {
  std::pair<uint32_t, uint32_t> pair;
  if (!ParsePair(level, pair)) return;
  absl::MutexLock lock(&mutex_);
  if (auto it = taken_.find(pair); it != taken_.end() && --it->second == 0) taken_.erase(it);
}

std::unique_ptr<Selinux> Selinux::Probe(bool off, Host host) {
  std::unique_ptr<Selinux> out(new Selinux(std::move(host)));
  absl::Status found = off ? absl::FailedPreconditionError("switched off by the configuration") : out->Detect();
  out->available_ = found.ok();
  out->reason_ = std::string(found.message());
  return out;
}

absl::Status Selinux::Detect() {
  auto enforce = sys::ReadFile(host_.selinuxfs + "/enforce");
  if (!enforce.ok()) return absl::FailedPreconditionError("the host has no SELinux");
  auto mls = sys::ReadFile(host_.selinuxfs + "/mls");
  levels_ = mls.ok() && absl::StartsWith(*mls, "1");
  ASSIGN_OR_RETURN(std::string config, sys::ReadFile(host_.etc + "/config"));
  std::string policy = "targeted";
  for (absl::string_view line : absl::StrSplit(config, '\n')) {
    if (absl::ConsumePrefix(&line, "SELINUXTYPE=")) policy = std::string(absl::StripAsciiWhitespace(line));
  }
  if (!IsName(policy)) return absl::FailedPreconditionError(absl::StrCat("SELINUXTYPE '", policy, "' is not a name"));
  const std::string path = absl::StrCat(host_.etc, "/", policy, "/contexts/lxc_contexts");
  ASSIGN_OR_RETURN(std::string contexts, sys::ReadFile(path));
  ASSIGN_OR_RETURN(defaults_, ParseContainerContexts(contexts), "'", path, "'");
  if (!levels_) defaults_.process.level = defaults_.file.level = "";
  return absl::OkStatus();
}

absl::StatusOr<std::string> Selinux::ReserveLevel(const SelinuxContext& request) {
  if (!available_ || !levels_) return std::string();
  if (request.level.empty()) return categories_.Reserve();
  categories_.Take(request.level);
  return request.level;
}

// The kernel takes a context that its policy knows and refuses any other.
absl::Status Selinux::Check(const std::string& label) const {
  absl::Status status = sys::WriteFileAt(AT_FDCWD, host_.selinuxfs + "/context", label);
  if (ErrnoOf(status) != EINVAL) return status;
  return absl::InvalidArgumentError(absl::StrCat("selinux_options: the policy does not know the label '", label, "'"));
}

absl::StatusOr<SelinuxLabels> Selinux::Labels(const SelinuxContext& request, absl::string_view level) const {
  if (!available_) return SelinuxLabels();
  if (!levels_ && !request.level.empty()) {
    return absl::InvalidArgumentError("selinux_options.level: the policy has no levels");
  }
  SelinuxLabels labels = ComposeSelinuxLabels(defaults_, request, level);
  RETURN_IF_ERROR(Check(labels.process));
  RETURN_IF_ERROR(Check(labels.mount));
  return labels;
}

}  // namespace berth::security
