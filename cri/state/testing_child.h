// A state store in a process of its own, which can be killed at any instant. For tests.
#pragma once

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "cri/state/state_store.h"
#include "runtime/sys/unique_fd.h"

namespace berth::state {

// Put and Delete are answered by the process; Load asks a store of our own, and is for when nobody else writes. Calls
// after the process was killed are Unavailable.
class ChildStore : public StateStore {
 public:
  explicit ChildStore(std::string path) : path_(std::move(path)) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return;
    socket_ = sys::UniqueFd(ends[0]);
    sys::UniqueFd served(ends[1]);
    pid_ = fork();
    if (pid_ == 0) {
      socket_.Reset();
      Serve(served.get());
      _exit(0);
    }
  }
  ~ChildStore() override { Kill(); }

  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

  absl::Status Put(Kind kind, absl::string_view id, absl::string_view data) override {
    return Ask(absl::StrCat("p", int(kind), id, "\n", data));
  }
  absl::Status Delete(Kind kind, absl::string_view id) override { return Ask(absl::StrCat("d", int(kind), id, "\n")); }
  absl::Status SetAside(Kind kind, absl::string_view id, absl::string_view why) override {
    return Ask(absl::StrCat("s", int(kind), id, "\n", why));
  }
  absl::StatusOr<Loaded> Load() override {
    ASSIGN_OR_RETURN(auto store, OpenSqliteStateStore(path_));
    return store->Load();
  }

 private:
  absl::Status Ask(const std::string& request) {
    int32_t code = 0;
    if (send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0 ||
        recv(socket_.get(), &code, sizeof code, 0) != ssize_t{sizeof code}) {
      return absl::UnavailableError("the process is gone");
    }
    return absl::Status(static_cast<absl::StatusCode>(code), "as the process says");
  }

  void Serve(int socket) {
    auto store = OpenSqliteStateStore(path_);
    std::string buffer(1 << 17, '\0');
    ssize_t n;
    while ((n = recv(socket, buffer.data(), buffer.size(), 0)) > 0) {
      const absl::string_view request(buffer.data(), static_cast<size_t>(n));
      const auto kind = static_cast<Kind>(request[1] - '0');
      const size_t end = request.find('\n');
      const absl::string_view id = request.substr(2, end - 2), rest = request.substr(end + 1);
      absl::Status s = store.status();
      if (s.ok()) {
        s = request[0] == 'p'   ? (*store)->Put(kind, id, rest)
            : request[0] == 'd' ? (*store)->Delete(kind, id)
                                : (*store)->SetAside(kind, id, rest);
      }
      const auto code = static_cast<int32_t>(s.code());
      if (send(socket, &code, sizeof code, MSG_NOSIGNAL) < 0) return;
    }
  }

  const std::string path_;
  sys::UniqueFd socket_;
  pid_t pid_ = -1;
};

}  // namespace berth::state
