// Listening sockets for streams: TCP and unix ones. Non-blocking and close-on-exec. Their connections come from
// AcceptConnection (unix_socket.h). Thread-safe.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// A literal IPv4 or IPv6 address.
absl::StatusOr<bool> IsLoopback(absl::string_view address);

// Port 0: any that is free. InvalidArgument when `address` is not a literal one, Unavailable (EADDRINUSE) when taken.
absl::StatusOr<UniqueFd> ListenTcp(absl::string_view address, uint16_t port);
absl::StatusOr<uint16_t> LocalPort(int socket);

// Removes a socket that nobody listens at any more, for who is about to listen there. OK when nothing is there;
// Unavailable when somebody listens, AlreadyExists when the path is something else, InvalidArgument when it is too long
// for an address (107 bytes).
absl::Status RemoveStaleSocket(absl::string_view path);

// Mode 0600 from the start. What RemoveStaleSocket removes is replaced; its errors.
absl::StatusOr<UniqueFd> ListenUnixStream(absl::string_view path);

// What is written leaves at once (TCP_NODELAY), and a peer that is silent for `idle` is asked whether it still lives:
// four times in 40 seconds, then the connection is broken. Nothing for a unix socket.
absl::Status SetInteractive(int connection, absl::Duration idle);

}  // namespace berth::sys
