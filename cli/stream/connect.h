// A connection to the streaming server that a CRI call named by a URL.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli::stream {

struct Url {
  std::string scheme;     // "http" or "https"
  std::string authority;  // HOST:PORT as it was written
  std::string host;       // without the brackets of an IPv6 address
  uint16_t port = 0;
  std::string target;  // path and query: a secret, never to be shown
};

// InvalidArgument for what is no http or https URL, without showing its path.
absl::StatusOr<Url> ParseUrl(absl::string_view text);

// Connects to the socket "streaming.sock" in the directory of the daemon's socket, where berthd speaks plain HTTP
// whatever the URL says; where there is none (another runtime's endpoint), to the URL's host. Non-blocking.
// Unimplemented: the URL is https and there is no such socket. Unavailable, DeadlineExceeded.
absl::StatusOr<sys::UniqueFd> Connect(absl::string_view daemon_socket, const Url& url, absl::Time deadline);

// poll(2) for one descriptor; DeadlineExceeded.
absl::Status WaitFor(int fd, short events, absl::Time deadline);

}  // namespace berth::cli::stream
