// For tests: a blocking client over a real socket, and counts of what a process holds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/sys/unique_fd.h"

namespace berth::streaming::testing {

sys::UniqueFd ConnectTcp(uint16_t port, absl::string_view address = "127.0.0.1");
sys::UniqueFd ConnectUnix(const std::string& path);

// All of it, or false.
bool SendAll(int fd, absl::string_view bytes);
// Up to and including `end`; what came until the connection ended or five seconds passed.
std::string ReadUntil(int fd, absl::string_view end);
std::string ReadExactly(int fd, size_t bytes);
// Until the peer ends the connection. False when it does not within five seconds.
bool AwaitEnd(int fd);

// "GET PATH HTTP/1.1", a Host and the lines given, each with its end.
std::string Get(absl::string_view path, absl::string_view lines = "");
// The headers of an upgrade to SPDY.
inline constexpr absl::string_view kSpdyHeaders =
    "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";
// What is behind the authority of a URL.
std::string PathOfUrl(absl::string_view url);

int OpenDescriptors();
int OpenSockets();  // among them
// Asks again until it is true or five seconds have passed.
bool Eventually(const std::function<bool()>& condition);

}  // namespace berth::streaming::testing
