// SELinux labels of containers: what the policy says, what the request asks for, and categories that keep pods apart.
// Daemon's side; the shim's is SetExecLabels (credentials.h). The text functions are pure and need no SELinux.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"

namespace berth::security {

// A security context, "USER:ROLE:TYPE:LEVEL". As what a request asks for, an empty part stands for the default. A
// policy without multi-level security has no level.
struct SelinuxContext {
  std::string user, role, type, level;
  bool operator==(const SelinuxContext&) const = default;
};

// InvalidArgument unless it has at least three parts of the right letters.
absl::StatusOr<SelinuxContext> ParseSelinuxContext(absl::string_view text);
std::string FormatSelinuxContext(const SelinuxContext& context);

// InvalidArgument naming the part ("user", "role", "type", "level") that no policy could know. Empty parts are right.
absl::Status CheckSelinuxParts(const SelinuxContext& parts);

// What a policy gives containers: the lines `process = "…"` and `file = "…"` of its lxc_contexts file.
struct SelinuxDefaults {
  SelinuxContext process, file;
};
absl::StatusOr<SelinuxDefaults> ParseContainerContexts(absl::string_view text);

struct SelinuxLabels {
  std::string process;  // of the program
  std::string mount;    // of every file in mounts that are the container's own
};
// The defaults, with what the request wants in their place. A level (the request's, else `level`) is both labels'.
SelinuxLabels ComposeSelinuxLabels(const SelinuxDefaults& defaults, const SelinuxContext& request,
                                   absl::string_view level);

// Pairs of categories, each given out once at a time: a process with one pair cannot touch what has another.
// Thread-safe.
class CategoryPool {
 public:
  static constexpr uint32_t kCategories = 1024;
  // Takes a free pair at random, so that what a removed pod left behind is not soon somebody else's.
  // ResourceExhausted when all 523,776 are taken.
  absl::StatusOr<std::string> Reserve() ABSL_LOCKS_EXCLUDED(mutex_);  // "s0:c12,c700"
  // As often as it is taken it has to be released. A level of another form takes nothing.
  void Take(absl::string_view level) ABSL_LOCKS_EXCLUDED(mutex_);
  void Release(absl::string_view level) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Mutex mutex_;
  std::map<std::pair<uint32_t, uint32_t>, int> taken_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe.
class Selinux {
 public:
  struct Host {
    std::string selinuxfs = "/sys/fs/selinux";
    std::string etc = "/etc/selinux";
  };
  // Not available: off, a kernel without SELinux, or no container contexts in the policy (`reason` says which).
  static std::unique_ptr<Selinux> Probe(bool off, Host host);
  static std::unique_ptr<Selinux> Probe(bool off) { return Probe(off, Host()); }

  bool available() const { return available_; }
  const std::string& reason() const { return reason_; }

  // A pod's level: the request's, or one of its own. Empty without SELinux or levels. Undone by Release.
  absl::StatusOr<std::string> ReserveLevel(const SelinuxContext& request);
  void Take(absl::string_view level) { categories_.Take(level); }
  void Release(absl::string_view level) { categories_.Release(level); }

  // Both empty without SELinux. InvalidArgument "selinux_options: …" for labels that the policy does not know.
  absl::StatusOr<SelinuxLabels> Labels(const SelinuxContext& request, absl::string_view level) const;

 private:
  explicit Selinux(Host host) : host_(std::move(host)) {}
  absl::Status Detect();
  absl::Status Check(const std::string& label) const;

  const Host host_;
  bool available_ = false;
  bool levels_ = false;
  std::string reason_;
  SelinuxDefaults defaults_;
  CategoryPool categories_;
};

}  // namespace berth::security
