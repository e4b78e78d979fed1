#include "cli/testing/fake_streams.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace berth::cli {

namespace spdy = streaming::spdy;

namespace {

spdy::Limits ServerLimits() {
  spdy::Limits limits;
  limits.window = FakeStreams::kWindow;
  return limits;
}

std::string HeaderOf(const spdy::Headers& headers, const std::string& name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

// A field's value in the text of an HTTP request.
std::string FieldOf(const std::string& request, const std::string& name) {
  size_t at = request.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  at += 4 + name.size();
  return request.substr(at, request.find("\r\n", at) - at);
}

}  // namespace

FakeStreams::Connection::Connection(FakeStreams* server, sys::UniqueFd socket)
    : server_(server), socket_(std::move(socket)), session_(spdy::Session::Role::kServer, ServerLimits(), *this) {}

void FakeStreams::Connection::Send(StreamId id, absl::string_view bytes, bool fin) {
  Stream& stream = streams_[id];
  stream.queue.append(bytes.data(), bytes.size());
  stream.fin |= fin;
}

void FakeStreams::Connection::Reset(StreamId id) {
  session_.Reset(id, spdy::RstStatus::kCancel);
  streams_.erase(id);
}

void FakeStreams::Connection::Close() { closing_ = true; }

void FakeStreams::Connection::Exit(int code) {
  std::string status = R"({"metadata":{},"status":"Success"})";
  if (code != 0) {
    status = absl::StrCat(R"({"metadata":{},"status":"Failure","message":"exited","reason":"NonZeroExitCode",)"
                          R"("details":{"causes":[{"reason":"ExitCode","message":")",
                          code, R"("}]}})");
  }
  Fail(status);
}

void FakeStreams::Connection::Fail(absl::string_view status) {
  for (auto& [id, stream] : streams_) Send(id, stream.type == "error" ? status : "", true);
  Close();
}

FakeStreams::StreamId FakeStreams::Connection::stream(const std::string& type) const {
  for (const auto& [id, stream] : streams_) {
    if (stream.type == type) return id;
  }
  return 0;
}

std::string FakeStreams::Connection::header(StreamId id, const std::string& name) const {
  auto found = streams_.find(id);
  return found == streams_.end() ? "" : HeaderOf(found->second.headers, name);
}

size_t FakeStreams::Connection::unsent(StreamId id) const {
  auto found = streams_.find(id);
  return found == streams_.end() ? 0 : found->second.queue.size();
}

void FakeStreams::Connection::OnStream(StreamId id, const spdy::Headers& headers, bool) {
  if (server_->refuse_streams) return session_.Reset(id, spdy::RstStatus::kRefusedStream);
  session_.Reply(id, {}, false);
  std::string type = HeaderOf(headers, "streamtype");
  streams_[id] = {type, headers, "", false, false};
  if (server_->hooks_.opened) server_->hooks_.opened(*this, id, type);
}

void FakeStreams::Connection::OnData(StreamId id, absl::string_view bytes, bool fin) {
  server_->received += bytes.size();
  if (!server_->keep_window_shut) session_.Consumed(id, bytes.size());
  auto found = streams_.find(id);
  if (found == streams_.end() || !server_->hooks_.data) return;
  server_->hooks_.data(*this, id, std::string(found->second.type), bytes, fin);
}

void FakeStreams::Connection::OnReset(StreamId id, spdy::RstStatus) {
  auto found = streams_.find(id);
  if (found == streams_.end()) return;
  std::string type = found->second.type;
  if (server_->hooks_.reset) server_->hooks_.reset(*this, id, type);
  streams_.erase(id);
}

bool FakeStreams::Connection::Read() {
  std::string bytes(64 * 1024, '\0');
  ssize_t n = recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (n < 0) return errno == EAGAIN;
  if (n == 0) return false;
  bytes.resize(static_cast<size_t>(n));
  if (server_->silent) return true;
  if (!upgraded_) {
    request_ += bytes;
    size_t end = request_.find("\r\n\r\n");
    if (end == std::string::npos) return true;
    server_->requests.push_back(request_.substr(0, end + 2));
    if (!server_->answer.empty()) {
      out_ = server_->answer;
      closing_ = true;
      return true;
    }
    out_ = absl::StrCat("HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n",
                        "X-Stream-Protocol-Version: ", FieldOf(request_, "X-Stream-Protocol-Version"), "\r\n\r\n");
    upgraded_ = true;
    bytes = request_.substr(end + 4);
  }
  server_->spdy_received += bytes.size();
  return session_.Receive(bytes).ok();
}

bool FakeStreams::Connection::Write() {
  if (upgraded_) {
    std::string control = session_.TakeOutput();
    bool greeting = !std::exchange(greeted_, true);
    if (!greeting || !server_->windowless) out_ += control;
  }
  bool all_framed = true;
  for (auto& [id, stream] : streams_) {
    size_t n = std::min({stream.queue.size(), session_.SendWindow(id), size_t{32 * 1024}});
    bool fin = stream.fin && !stream.fin_sent && n == stream.queue.size();
    if ((n > 0 || fin) && out_.size() < 256 * 1024) {
      auto header = session_.Data(id, n, fin);
      out_.append(header.data(), header.size());
      out_.append(stream.queue, 0, n);
      stream.queue.erase(0, n);
      stream.fin_sent |= fin;
    }
    all_framed &= stream.queue.empty() && stream.fin == stream.fin_sent;
  }
  while (!out_.empty()) {
    ssize_t n = send(socket_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN;
    out_.erase(0, static_cast<size_t>(n));
  }
  return !(closing_ && all_framed);
}

FakeStreams::FakeStreams(const std::string& path, Hooks hooks) : hooks_(std::move(hooks)), path_(path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) abort();
  memcpy(address.sun_path, path.data(), path.size());
  listener_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) abort();
  if (listen(listener_.get(), 64) != 0) abort();
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  stop_read_.Reset(ends[0]);
  stop_write_.Reset(ends[1]);
  thread_ = std::thread([this] { Serve(); });
}

FakeStreams::~FakeStreams() {
  // Not by closing it: a test may have forked.
  if (write(stop_write_.get(), "x", 1) != 1) abort();
  thread_.join();
  unlink(path_.c_str());
}

void FakeStreams::Serve() {
  for (;;) {
    std::vector<pollfd> polls = {{stop_read_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (auto& owned : open_) {
      Connection& c = *owned;
      bool writes = !c.out_.empty();
      for (auto& [id, stream] : c.streams_) writes |= !stream.queue.empty() && c.session_.SendWindow(id) > 0;
      polls.push_back({c.socket_.get(), static_cast<short>(POLLIN | (writes ? POLLOUT : 0)), 0});
    }
    poll(polls.data(), polls.size(), -1);
    if (polls[0].revents != 0) return open_.clear();
    size_t at = 2;
    for (auto it = open_.begin(); it != open_.end(); ++at) {
      bool alive = polls[at].revents == 0 || ((polls[at].revents & ~POLLOUT) == 0 || (*it)->Read());
      alive = alive && (*it)->Write();
      it = alive ? std::next(it) : open_.erase(it);
    }
    if (polls[1].revents == 0) continue;
    sys::UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) continue;
    open_.push_back(std::unique_ptr<Connection>(new Connection(this, std::move(socket))));
    open_.back()->number = ++connections;
  }
}

}  // namespace berth::cli
