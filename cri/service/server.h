// CRI and berth.v1 over gRPC on a unix socket.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "cri/service/admin_calls.h"
#include "cri/service/calls.h"
#include "runtime/base/status.h"

namespace berth::service {

class Server {
 public:
  // Listens on `socket`, mode 0600 and owned by us; one that a former daemon left is replaced. Unavailable when another
  // daemon answers there.
  static absl::StatusOr<std::unique_ptr<Server>> Listen(const std::string& socket, Calls& calls, AdminCalls& admin);
  virtual ~Server() = default;
  // Takes no more calls, lets those under way finish until `grace` has passed, and ends.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace berth::service
