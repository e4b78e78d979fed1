// AppArmor: what the host has, berth's own profile, and which profile a container gets. Daemon's side; the shim's is
// SetExecLabels (credentials.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"

namespace berth::security {

inline constexpr absl::string_view kDefaultAppArmorProfile = "berth-default";

// The text of berth's profile, for apparmor_parser(8). `daemon_label` is the profile that the daemon, and so every
// shim, runs under; "unconfined" usually. Pure.
std::string FormatDefaultAppArmorProfile(absl::string_view daemon_label);

// Whether `name` is in a list of loaded profiles as the kernel prints it, "NAME (MODE)" a line. Pure.
bool HoldsProfile(absl::string_view profiles, absl::string_view name);

// Thread-safe.
class AppArmor {
 public:
  struct Host {
    std::string securityfs = "/sys/kernel/security";
    std::string enabled = "/sys/module/apparmor/parameters/enabled";
    std::vector<std::string> parsers = {"/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"};
  };
  // Looks whether the host has it, and then loads berth's profile, replacing one of the same name. What keeps that from
  // being loaded is no error here: see DefaultProfile. Blocking.
  static std::unique_ptr<AppArmor> Probe(Host host);
  static std::unique_ptr<AppArmor> Probe() { return Probe(Host()); }

  bool available() const { return available_; }

  // The name of berth's profile, loaded anew if somebody removed it. FailedPrecondition with the reason when the host
  // has no AppArmor or the profile cannot be loaded.
  absl::StatusOr<std::string> DefaultProfile() ABSL_LOCKS_EXCLUDED(mutex_);

  // FailedPrecondition when the host has no AppArmor, or no profile of this name is loaded.
  absl::Status RequireLoaded(absl::string_view name) const;

 private:
  explicit AppArmor(Host host) : host_(std::move(host)) {}
  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Host host_;
  bool available_ = false;
  absl::Mutex mutex_;  // one parser at a time
};

}  // namespace berth::security
