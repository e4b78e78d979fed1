#include "cli/stream/forwarder.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace berth::cli::stream {
namespace {

// The peer sees that the connection failed, not that it ended.
void CloseWithReset(sys::UniqueFd& socket) {
  linger now = {1, 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  socket.Reset();
}

}  // namespace

absl::Status Forwarder::Run() {
  for (;;) {
    std::vector<pollfd> polls;
    // A session that is being ended takes none; there is a new one when what it still carries is through.
    bool room = connections_.size() < most_ && (!session_ || !session_->leaving());
    for (const Listener& listener : listeners_) polls.push_back({room ? listener.socket.get() : -1, POLLIN, 0});
    if (session_) {
      RETURN_IF_ERROR(Serve(polls));
    } else if (poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) {
      return ErrnoError(errno, "poll");
    }
    for (size_t i = 0; i < polls.size(); ++i) {
      if (polls[i].revents != 0) RETURN_IF_ERROR(Accept(listeners_[i]));
    }
  }
}

absl::Status Forwarder::Serve(std::vector<pollfd>& polls) {
  absl::Status step = session_->Step(absl::MakeSpan(polls), absl::InfiniteFuture());
  bool failed = !step.ok() || session_->closed();
  if (!step.ok()) hooks_.complain(step.message());
  for (auto it = connections_.begin(); it != connections_.end();) {
    std::string failure;
    if (step.ok() && Continue(it->first, it->second, &failure)) {
      ++it;
      continue;
    }
    if (!failure.empty()) {
      hooks_.complain(absl::StrCat(it->second.listener->name, " -> ", it->second.listener->remote, ": ", failure));
      failed = true;
    }
    if (it->second.socket) CloseWithReset(it->second.socket);
    session_->Drop(it->first);
    session_->Drop(it->second.error);
    it = connections_.erase(it);
  }
  // What had arrived of a session that has ended is still being written.
  if ((session_->leaving() || !step.ok()) && connections_.empty()) session_.reset();
  if (!failed) return absl::OkStatus();
  absl::Status there = hooks_.check();
  return absl::IsUnavailable(there) ? absl::OkStatus() : there;
}

bool Forwarder::Continue(spdy::StreamId data_id, Connection& connection, std::string* failure) {
  const StreamState& data = session_->state(data_id);
  const StreamState& error = session_->state(connection.error);
  if (error.received_all && !absl::StripAsciiWhitespace(error.text).empty()) {
    *failure = std::string(absl::StripAsciiWhitespace(error.text));
    return false;
  }
  if (data.reset && !data.replied && !session_->closed()) {
    *failure = "the server takes no more connections";
    return false;
  }
  // Our side is gone; the pod's is told by a reset.
  if (!data.source_error.ok() || !data.sink_error.ok()) return false;
  if (data.reset && data.received_all && error.received_all) return false;
  if (data.received_all && !data.reset && !connection.shut) {
    connection.shut = true;
    shutdown(connection.socket.get(), SHUT_WR);
  }
  bool over = data.received_all && data.sent_all && !data.reset;
  if (over) connection.socket.Reset();
  return !over || !error.received_all;
}

absl::Status Forwarder::Accept(const Listener& listener) {
  sys::UniqueFd socket(accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) {
    bool full = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (full && !connections_.empty()) {
      most_ = connections_.size();
      return absl::OkStatus();
    }
    bool gone = errno == EAGAIN || errno == EINTR || errno == ECONNABORTED || errno == EPROTO;
    return gone ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("accept on ", listener.name));
  }
  int one = 1;
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  absl::Status started = Start(std::move(socket), listener);
  if (started.ok()) return started;
  absl::Status there = hooks_.check();
  if (!there.ok() && !absl::IsUnavailable(there)) return there;
  hooks_.complain(absl::StrCat(listener.name, " -> ", listener.remote, ": ", started.message()));
  return absl::OkStatus();
}

absl::Status Forwarder::Start(sys::UniqueFd socket, const Listener& listener) {
  if (!session_) {
    ASSIGN_OR_RETURN(session_, hooks_.connect());
  }
  spdy::Headers headers = {
      {"streamtype", "error"}, {"port", absl::StrCat(listener.remote)}, {"requestid", absl::StrCat(++last_request_)}};
  Connection connection{.listener = &listener};
  ASSIGN_OR_RETURN(connection.error, session_->Open(headers));
  session_->End(connection.error);
  headers[0].second = "data";
  auto data = session_->Open(headers, {.source = socket.get(), .sink = socket.get()});
  if (!data.ok()) {
    session_->Drop(connection.error);
    return data.status();
  }
  connection.socket = std::move(socket);
  connections_.emplace(*data, std::move(connection));
  return absl::OkStatus();
}

}  // namespace berth::cli::stream
