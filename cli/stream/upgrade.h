// The HTTP/1.1 exchange that makes a connection one of SPDY/3.1 (RFC 9110, section 7.8).
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/stream/connect.h"
#include "runtime/base/status.h"

namespace berth::cli::stream {

// Asks for the URL's session with `protocol`, such as "v4.channel.k8s.io", on a non-blocking socket, and waits for the
// answer. Returns what came behind it, which is SPDY's already.
// What the server answers instead is an error with its text: NotFound for 404, PermissionDenied for 401 and 403,
// ResourceExhausted for 429 and 503, Internal otherwise; also Internal for what is no HTTP; DeadlineExceeded.
absl::StatusOr<std::string> Upgrade(int socket, const Url& url, absl::string_view protocol, absl::Time deadline);

}  // namespace berth::cli::stream
