// The process that shims are forked from: small, of one thread, in a mount namespace that shows nothing of the host.
#pragma once

namespace berth::shim {

// Serves launches that come over `socket` until its other end is closed. Each is a message whose body is a SandboxPlan;
// its last descriptor is the new shim's first connection, over which the shim says whether it could start.
// Returns the exit code of the process.
int RunZygote(int socket);

}  // namespace berth::shim
