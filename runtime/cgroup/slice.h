// Names of systemd's units and the cgroups that they stand for. Pure.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cgroup {

// The path of a slice: dashes in its name are levels, so "a-b.slice" is "/a.slice/a-b.slice" and "-.slice" the root,
// "". InvalidArgument for what is no slice's name (systemd.slice(5), systemd.unit(5)).
absl::StatusOr<std::string> PathOfSlice(absl::string_view name);

// Of a pod's scope.
std::string ScopeOfPod(absl::string_view pod_id);

// What a scope's path says of it. InvalidArgument when it is not PathOfSlice(…)/NAME.scope.
struct Scope {
  std::string unit;   // "berth-ID.scope"
  std::string slice;  // "kubepods-podX.slice"
};
absl::StatusOr<Scope> ScopeOfPath(absl::string_view path);

}  // namespace berth::cgroup
