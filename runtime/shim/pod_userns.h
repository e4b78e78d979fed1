// The pod's user namespace. The shim itself stays in the host's: what is to be owned by the pod's is made by a child
// that enters it for a moment.
#pragma once

#include <vector>

#include "absl/functional/function_ref.h"
#include "runtime/base/status.h"
#include "runtime/shim/pod_setup.h"
#include "runtime/sys/unique_fd.h"
#include "runtime/sys/user_namespace.h"
#include "shim/v1/shim.pb.h"

namespace berth::shim {

// The one that the plan asks for; invalid when it is the host's. The shim writes the mappings from outside, through
// `procfs`.
absl::StatusOr<sys::UniqueFd> MakePodUserNamespace(const v1::SandboxPlan& plan, int procfs);

std::vector<sys::IdRange> ToIdRanges(const google::protobuf::RepeatedPtrField<v1::IdMapping>& mappings);

// Makes namespaces (`flags` are CLONE_NEW*) that `userns` owns, and joins them.
absl::Status EnterNamespacesOwnedBy(int userns, int flags);

// Runs `action` in a child that is root of `userns`, in the caller's other namespaces.
absl::Status DoInside(int userns, absl::FunctionRef<absl::Status()> action);

// Runs `init`, which does not return, as the first process of a pid namespace that `userns` owns. It is our child.
absl::StatusOr<PodInit> StartInitOwnedBy(int userns, void (*init)());

}  // namespace berth::shim
