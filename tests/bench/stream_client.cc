#include "tests/bench/stream_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace berth::bench {
namespace {

namespace spdy = streaming::spdy;

constexpr size_t kFrame = 32 * 1024;  // the buffer of Go's io.Copy, which becomes a frame
constexpr size_t kReadBuffer = 256 * 1024;
constexpr size_t kText = 4096;
constexpr int kPatienceMs = 120'000;
constexpr size_t kLongestHead = 16 * 1024;

struct Place {
  std::string address, path;
  uint16_t port = 0;
};

absl::StatusOr<Place> ParseUrl(const std::string& url) {
  std::vector<std::string> parts = absl::StrSplit(url, absl::MaxSplits('/', 3));
  Place place;
  std::pair<std::string, std::string> host;
  if (parts.size() == 4 && parts[0] == "http:") host = absl::StrSplit(parts[2], absl::MaxSplits(':', 1));
  int port = 0;
  if (!absl::SimpleAtoi(host.second, &port)) return absl::InvalidArgumentError("a URL other than http://ADDRESS:PORT/");
  return Place{host.first, absl::StrCat("/", parts[3]), static_cast<uint16_t>(port)};
}

absl::StatusOr<sys::UniqueFd> Connect(const Place& place) {
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(place.port);
  if (inet_pton(AF_INET, place.address.c_str(), &to.sin_addr) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("'", place.address, "' is no IPv4 address"));
  }
  sys::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "socket");
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return ErrnoError(errno, "connect");
  int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

}  // namespace

StreamClient::StreamClient(sys::UniqueFd fd)
    : fd_(std::move(fd)),
      session_(spdy::Session::Role::kClient, spdy::Limits{}, *this),
      buffer_(std::make_unique<char[]>(kReadBuffer)) {}

StreamClient::~StreamClient() = default;

absl::StatusOr<std::unique_ptr<StreamClient>> StreamClient::Dial(const std::string& url, const std::string& protocol) {
  ASSIGN_OR_RETURN(Place place, ParseUrl(url));
  ASSIGN_OR_RETURN(sys::UniqueFd fd, Connect(place));
  std::unique_ptr<StreamClient> client(new StreamClient(std::move(fd)));
  std::string request =
      absl::StrCat("POST ", place.path, " HTTP/1.1\r\nHost: ", place.address, ":", place.port,
                   "\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ", protocol, "\r\n\r\n");
  RETURN_IF_ERROR(client->Upgrade(request));
  return client;
}

absl::Status StreamClient::Upgrade(const std::string& request) {
  if (send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
    return ErrnoError(errno, "send the request");
  }
  std::string answer;
  size_t end;
  while ((end = answer.find("\r\n\r\n")) == std::string::npos) {
    ssize_t n = recv(fd_.get(), buffer_.get(), kReadBuffer, 0);
    if (n <= 0 || answer.size() > kLongestHead) return absl::UnavailableError("no HTTP answer");
    answer.append(buffer_.get(), n);
  }
  if (!absl::StartsWith(answer, "HTTP/1.1 101 ")) {
    return absl::UnavailableError(absl::StrCat("no upgrade: ", answer.substr(0, 300)));
  }
  if (fcntl(fd_.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "fcntl");
  return session_.Receive(absl::string_view(answer).substr(end + 4));
}

absl::StatusOr<StreamClient::StreamId> StreamClient::Open(const spdy::Headers& headers, bool fin) {
  ASSIGN_OR_RETURN(StreamId id, session_.Open(headers, fin));
  streams_[id];
  while (!streams_[id].open && !streams_[id].ended) RETURN_IF_ERROR(Pump());
  if (!streams_[id].open) return absl::UnavailableError(absl::StrCat("stream ", id, " was refused"));
  return id;
}

absl::Status StreamClient::Send(StreamId id, uint64_t bytes) {
  sender_ = id;
  unsent_ = bytes;
  while (unsent_ > 0 || payload_ > 0 || !head_.empty()) RETURN_IF_ERROR(Pump());
  return absl::OkStatus();
}

absl::Status StreamClient::Receive(StreamId id, uint64_t bytes) {
  while (streams_[id].received < bytes) {
    if (server_ended_ || streams_[id].ended) return Failed();
    RETURN_IF_ERROR(Pump());
  }
  return absl::OkStatus();
}

absl::Status StreamClient::AwaitEnd(StreamId id) {
  while (!streams_[id].ended) {
    if (server_ended_) return Failed();
    RETURN_IF_ERROR(Pump());
  }
  return absl::OkStatus();
}

absl::Status StreamClient::Failed() const {
  std::string told;
  for (const auto& [id, stream] : streams_)
    absl::StrAppend(&told, stream.received > 0 ? stream.text.substr(0, 200) : "");
  return absl::UnavailableError(absl::StrCat("the server ended the connection: ", told));
}

absl::Status StreamClient::Pump() {
  RETURN_IF_ERROR(Write());
  bool blocked = payload_ > 0 || !head_.empty();
  pollfd wait = {fd_.get(), static_cast<short>(POLLIN | (blocked ? POLLOUT : 0)), 0};
  // Whatever waits is taken on the way; a sender waits only for room.
  int ready = poll(&wait, 1, !blocked && unsent_ > 0 && session_.SendWindow(sender_) > 0 ? 0 : kPatienceMs);
  if (ready < 0 && errno != EINTR) return ErrnoError(errno, "poll");
  if (ready == 0 && (blocked || unsent_ == 0)) return absl::DeadlineExceededError("the server does nothing");
  if ((wait.revents & (POLLIN | POLLHUP | POLLERR)) != 0) return Read();
  return absl::OkStatus();
}

absl::Status StreamClient::Write() {
  static const std::string zeroes(kFrame, '\0');
  while (!server_takes_none_) {
    if (head_.empty() && payload_ == 0) {
      if (session_.has_output()) {
        head_ = session_.TakeOutput();
      } else if (size_t window = session_.SendWindow(sender_); unsent_ > 0 && window > 0) {
        payload_ = std::min<uint64_t>({kFrame, window, unsent_});
        unsent_ -= payload_;
        auto header = session_.Data(sender_, payload_, unsent_ == 0);
        head_.assign(header.data(), header.size());
      } else {
        return absl::OkStatus();
      }
    }
    iovec parts[2] = {{head_.data() + head_at_, head_.size() - head_at_}, {const_cast<char*>(zeroes.data()), payload_}};
    ssize_t n = writev(fd_.get(), parts, 2);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return absl::OkStatus();
    if (n < 0) return WriteFailed(errno);
    size_t of_head = std::min<size_t>(n, head_.size() - head_at_);
    head_at_ += of_head;
    payload_ -= n - of_head;
    if (head_at_ == head_.size()) {
      head_.clear();
      head_at_ = 0;
    }
  }
  return absl::OkStatus();
}

// A server that has told everything may be gone before it is told that windows are open: what it told is still to be
// read.
absl::Status StreamClient::WriteFailed(int error) {
  if (unsent_ > 0 || payload_ > 0) return ErrnoError(error, "write to the server");
  server_takes_none_ = true;
  head_.clear();
  head_at_ = 0;
  return absl::OkStatus();
}

absl::Status StreamClient::Read() {
  ssize_t n = recv(fd_.get(), buffer_.get(), kReadBuffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return absl::OkStatus();
  if (n < 0) return ErrnoError(errno, "read from the server");
  if (n == 0) {
    server_ended_ = true;
    return unsent_ > 0 || payload_ > 0 ? Failed() : absl::OkStatus();
  }
  return session_.Receive(absl::string_view(buffer_.get(), n));
}

void StreamClient::OnStream(StreamId id, const spdy::Headers&, bool) {
  session_.Reset(id, spdy::RstStatus::kRefusedStream);
}

void StreamClient::OnReply(StreamId id, const spdy::Headers&, bool fin) {
  streams_[id].open = true;
  streams_[id].ended |= fin;
}

void StreamClient::OnHeaders(StreamId id, const spdy::Headers&, bool fin) { streams_[id].ended |= fin; }

void StreamClient::OnData(StreamId id, absl::string_view bytes, bool fin) {
  Stream& stream = streams_[id];
  stream.received += bytes.size();
  if (stream.text.size() < kText) absl::StrAppend(&stream.text, bytes.substr(0, kText - stream.text.size()));
  stream.ended |= fin;
  session_.Consumed(id, bytes.size());
}

void StreamClient::OnReset(StreamId id, spdy::RstStatus) { streams_[id].ended = true; }
void StreamClient::OnWindow(StreamId) {}
void StreamClient::OnPong(uint32_t) {}
void StreamClient::OnGoAway(spdy::GoAwayStatus) {}

}  // namespace berth::bench
