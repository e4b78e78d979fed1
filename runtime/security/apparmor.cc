#include "runtime/security/apparmor.h"

#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"

namespace berth::security {
namespace {

constexpr size_t kMaxProfiles = 16 << 20;

// What a container may do is decided by namespaces, capabilities, masks and seccomp. This is the second lock on the
// doors that would open the host if one of those failed: the kernel's settings, its memory, mounts, and processes of
// others. Rules that deny win over those that allow, and what no rule allows is denied.
constexpr absl::string_view kProfile = R"(# Made by berthd, which loads it anew whenever it starts.
profile berth-default flags=(attach_disconnected,mediate_deleted) {
  capability,
  file,
  network,
  unix,
  dbus,
  umount,

  # A mount would move the paths that the rules below are about.
  deny mount,
  deny pivot_root,

  # Processes of this profile may trace and signal each other; the host and the runtime may signal them.
  ptrace (read, readby, trace, tracedby) peer=berth-default,
  signal (send, receive) peer=berth-default,
  signal (receive) peer=unconfined,
%DAEMON%
  # In procfs, what does not begin with a digit is not about processes but about the kernel.
  deny /proc/[^0-9]** wklx,
  deny /proc/{kcore,kmem,mem,sysrq-trigger} r,

  # In sysfs, only cgroups may be writable, for which the mount decides.
  deny /sys/{[^f],f[^s]}** wklx,
  deny /sys/fs/{[^c],c[^g]}** wklx,
  deny /sys/firmware/** r,
  deny /sys/devices/virtual/powercap/** r,
  deny /sys/kernel/security/** r,
}
)";

}  // namespace

std::string FormatDefaultAppArmorProfile(absl::string_view daemon_label) {
  // "NAME (MODE)"; a label of several profiles at once has no simple spelling as a peer.
  const absl::string_view name = daemon_label.substr(0, daemon_label.find(' '));
  std::string peer;
  if (!name.empty() && name != "unconfined" && name.find_first_of("\"\\\n&") == absl::string_view::npos) {
    peer = absl::StrCat("  signal (receive) peer=\"", name, "\",\n");
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(kProfile, "%DAEMON%\n");
  return absl::StrCat(parts[0], peer, "\n", parts[1]);
}

bool HoldsProfile(absl::string_view profiles, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(profiles, '\n')) {
    // A name may hold blanks and parentheses, the mode holds neither.
    if (absl::ConsumePrefix(&line, name) && absl::StartsWith(line, " (") && line.rfind('(') == 1) return true;
  }
  return false;
}

std::unique_ptr<AppArmor> AppArmor::Probe(Host host) {
  std::unique_ptr<AppArmor> out(new AppArmor(std::move(host)));
  auto enabled = sys::ReadFile(out->host_.enabled);
  const std::string profiles = out->host_.securityfs + "/apparmor/profiles";
  out->available_ = enabled.ok() && absl::StartsWith(*enabled, "Y") && access(profiles.c_str(), R_OK) == 0;
  if (!out->available_) return out;
  absl::MutexLock lock(&out->mutex_);
  (void)out->Load();  // told to those who ask for the profile
  return out;
}

absl::Status AppArmor::Load() {
  std::string parser;
  for (const std::string& path : host_.parsers) {
    if (parser.empty() && access(path.c_str(), X_OK) == 0) parser = path;
  }
  if (parser.empty()) {
    return absl::FailedPreconditionError("the host has AppArmor, but no apparmor_parser to load a profile with");
  }
  auto label = sys::ReadFile("/proc/self/attr/current");
  sys::SpawnRequest request;
  request.path = parser;
  // Neither read from nor written to the cache of the distribution's own profiles.
  request.argv = {"apparmor_parser", "--replace", "--skip-cache"};
  request.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  request.input = FormatDefaultAppArmorProfile(label.ok() ? absl::StripTrailingAsciiWhitespace(*label) : "");
  auto done = sys::Spawn(request);
  if (done.ok() && done->ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("loading the AppArmor profile ", kDefaultAppArmorProfile, ": ",
                   done.ok() ? absl::StripAsciiWhitespace(done->err) : done.status().message()));
}

absl::StatusOr<std::string> AppArmor::DefaultProfile() {
  const std::string name(kDefaultAppArmorProfile);
  if (RequireLoaded(name).ok()) return name;
  if (!available_) return RequireLoaded(name);
  absl::MutexLock lock(&mutex_);
  if (RequireLoaded(name).ok()) return name;  // somebody else has done it meanwhile
  RETURN_IF_ERROR(Load());
  return name;
}

absl::Status AppArmor::RequireLoaded(absl::string_view name) const {
  if (!available_) return absl::FailedPreconditionError("the host has no AppArmor");
  ASSIGN_OR_RETURN(std::string profiles, sys::ReadFile(host_.securityfs + "/apparmor/profiles", kMaxProfiles));
  if (HoldsProfile(profiles, name)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("no AppArmor profile '", name, "' is loaded"));
}

}  // namespace berth::security
