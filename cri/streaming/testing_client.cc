#include "cri/streaming/testing_client.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace berth::streaming::testing {
namespace {

void SetTimeout(int fd) {
  const timeval five = {5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &five, sizeof five);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &five, sizeof five);
}

// Those whose link in procfs begins so.
int CountDescriptors(absl::string_view kind) {
  DIR* dir = opendir("/proc/self/fd");
  int count = 0;
  char target[256];
  while (const dirent* entry = readdir(dir)) {
    const ssize_t size = readlinkat(dirfd(dir), entry->d_name, target, sizeof target);
    count += size > 0 && absl::StartsWith(absl::string_view(target, static_cast<size_t>(size)), kind);
  }
  closedir(dir);
  return count;
}

}  // namespace

sys::UniqueFd ConnectTcp(uint16_t port, absl::string_view address) {
  const bool v6 = absl::StrContains(address, ':');
  sys::UniqueFd fd(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  SetTimeout(fd.get());
  sockaddr_in v4_address = {};
  v4_address.sin_family = AF_INET;
  v4_address.sin_port = htons(port);
  sockaddr_in6 v6_address = {};
  v6_address.sin6_family = AF_INET6;
  v6_address.sin6_port = htons(port);
  inet_pton(AF_INET, std::string(address).c_str(), &v4_address.sin_addr);
  inet_pton(AF_INET6, std::string(address).c_str(), &v6_address.sin6_addr);
  const int result = v6 ? connect(fd.get(), reinterpret_cast<sockaddr*>(&v6_address), sizeof v6_address)
                        : connect(fd.get(), reinterpret_cast<sockaddr*>(&v4_address), sizeof v4_address);
  return result == 0 ? std::move(fd) : sys::UniqueFd();
}

sys::UniqueFd ConnectUnix(const std::string& path) {
  sys::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  SetTimeout(fd.get());
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

bool SendAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

std::string ReadUntil(int fd, absl::string_view end) {
  std::string all;
  char c;
  while (!absl::EndsWith(all, end) && recv(fd, &c, 1, 0) == 1) all += c;
  return all;
}

std::string ReadExactly(int fd, size_t bytes) {
  std::string all(bytes, '\0');
  size_t got = 0;
  while (got < bytes) {
    const ssize_t n = recv(fd, all.data() + got, bytes - got, 0);
    if (n <= 0) break;
    got += static_cast<size_t>(n);
  }
  all.resize(got);
  return all;
}

bool AwaitEnd(int fd) {
  char buffer[4096];
  ssize_t n;
  while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0) {
  }
  return n == 0 || errno == ECONNRESET;
}

std::string Get(absl::string_view path, absl::string_view lines) {
  return absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: 127.0.0.1\r\n", lines, "\r\n");
}

std::string PathOfUrl(absl::string_view url) {
  const size_t at = url.find('/', url.find("://") + 3);
  return std::string(url.substr(at));
}

int OpenDescriptors() { return CountDescriptors(""); }
int OpenSockets() { return CountDescriptors("socket:"); }

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 500; ++i) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return condition();
}

}  // namespace berth::streaming::testing
