// One HTTP connection, from its first byte until a session has taken it over or it was refused.
#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "cri/streaming/byte_stream.h"
#include "cri/streaming/session.h"
#include "cri/streaming/tokens.h"

namespace berth::streaming {

struct Service {
  const SessionContext context;
  Tokens tokens;
  const absl::Duration handshake_timeout;  // TLS and the request's head together
};

// On the thread of the stream's context. `service` outlives it and the sessions. `prepare`: what has to be done before
// the first byte is read (TLS), or null. `full`: every request is answered that there are too many sessions.
void ServeHttp(Service& service, std::shared_ptr<ByteStream> stream,
               const std::function<void(ByteStream::OnDone)>& prepare, bool full);

}  // namespace berth::streaming
