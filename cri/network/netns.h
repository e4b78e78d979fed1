// Work inside a pod's network namespace, without moving a thread that others use.
#pragma once

#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::network {

// Opens the bind (or /proc link) of a network namespace. NotFound when it is not there, InvalidArgument when what is
// there is no network namespace.
absl::StatusOr<sys::UniqueFd> OpenNetns(absl::string_view path);

// Runs `work` in a thread of its own that has entered the namespace, and returns what it returned. Sockets that `work`
// opens stay in the namespace; so do writes to /proc/sys/net. Needs CAP_SYS_ADMIN.
absl::Status RunInNetns(int netns, const std::function<absl::Status()>& work);

// Brings up the loopback interface; nothing happens when it is up.
absl::Status BringUpLoopback(int netns);

}  // namespace berth::network
