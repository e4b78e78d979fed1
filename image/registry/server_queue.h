// Whom to ask next when several servers may have the same thing. In the order of the configuration, but those that rest
// (HostHealth) or could not be reached just now come after the others; a server that failed for the moment is asked
// again later, and meanwhile the next one is.
// Not thread-safe: one queue for one question. Sleeps in Next.
#pragma once

#include <functional>
#include <vector>

#include "absl/time/time.h"
#include "image/registry/host_health.h"
#include "image/registry/retry.h"
#include "image/registry/session.h"
#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace berth::image {

class ServerQueue {
 public:
  // `servers` and `health` outlive it.
  ServerQueue(const std::vector<RegistrySession*>& servers, const RetryPolicy& policy, const HostHealth& health,
              std::function<bool()> cancelled);

  // The one to ask now, waited for if need be. When nobody is left: what the last in the order of the configuration
  // said, because that is the registry itself; NotFound when there never was one. Cancelled.
  absl::StatusOr<RegistrySession*> Next();

  // What came of asking the server of the last Next. Unavailable is worth another try after a pause (the rest of a
  // host, if it speaks of one), up to the policy's attempts without `progress`; any other error says that this server
  // will not have it.
  void Failed(const absl::Status& status, bool progress = false);

 private:
  struct Server {
    RegistrySession* session;
    int failures = 0;
    Deadline not_before = Deadline::In(absl::ZeroDuration());
    bool given_up = false;
    absl::Status status;  // of the last try
  };

  std::vector<Server>::iterator Choose();
  absl::Status Verdict() const;
  void Rest(const absl::Status& status);

  const RetryPolicy policy_;
  const HostHealth& health_;
  const std::function<bool()> cancelled_;
  std::vector<Server> servers_;
  std::vector<Server>::iterator current_;
};

}  // namespace berth::image
