// The sessions that come over a WebSocket. docs/design/0036-streaming.md, "WebSocket".
#pragma once

#include <memory>
#include <string>

#include "cri/streaming/handshake.h"
#include "cri/streaming/request_head.h"
#include "cri/streaming/session.h"

namespace berth::streaming {

// Answers the handshake, and runs what `request` asks for as `upgrade` says. On the thread of the stream's context.
// `early`: what was read beyond the head.
void RunWebSocket(const SessionContext& context, const Request& request, const Upgrade& upgrade,
                  const RequestHead& head, std::shared_ptr<ByteStream> stream, std::string early);

}  // namespace berth::streaming
