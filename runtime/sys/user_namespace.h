// User namespaces (user_namespaces(7)), made from outside and entered.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// One line of uid_map or gid_map.
struct IdRange {
  uint32_t inside = 0;
  uint32_t outside = 0;
  uint32_t length = 0;
};

// What `inside` is outside; nothing when no range holds it.
std::optional<uint32_t> OutsideId(absl::Span<const IdRange> ranges, uint32_t inside);

// A new user namespace, child of the caller's, with these ranges; setgroups(2) is allowed in it. It lives as long as
// its descriptor or a process in it. `procfs` is one of the caller's pid namespace. Forks a child for a moment, so a
// large process pays for its size; also for processes with threads. Needs CAP_SETUID and CAP_SETGID, and CAP_SYS_PTRACE
// when the caller is not dumpable. ENOSPC: user.max_user_namespaces; EINVAL: ranges that overlap or reach too far.
absl::StatusOr<UniqueFd> NewUserNamespace(int procfs, absl::Span<const IdRange> uids, absl::Span<const IdRange> gids);

// User and group 0 of the caller's user namespace, no other groups, and still not dumpable: for a process of one thread
// that has just joined.
absl::Status BecomeNamespaceRoot();

// Joins and becomes root in it. Everything that takes rights over the host has to be done before.
absl::Status EnterUserNamespace(int userns);

}  // namespace berth::sys
