// A WebSocket as a stream of bytes: what its messages hold, wherever they begin and end.
#pragma once

#include <memory>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/websocket.h"

namespace berth::streaming {

std::shared_ptr<ByteStream> TunnelThrough(std::shared_ptr<WebSocket> socket);

}  // namespace berth::streaming
