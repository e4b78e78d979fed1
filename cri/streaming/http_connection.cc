#include "cri/streaming/http_connection.h"

#include <boost/asio/steady_timer.hpp>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "cri/streaming/handshake.h"
#include "cri/streaming/request_head.h"
#include "cri/streaming/websocket_sessions.h"

namespace berth::streaming {
namespace {

constexpr auto kDrain = std::chrono::seconds(1);

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(Service& service, std::shared_ptr<ByteStream> stream, bool full)
      : service_(service), stream_(std::move(stream)), full_(full), deadline_(stream_->context()) {}

  void Start(const std::function<void(ByteStream::OnDone)>& prepare) {
    CloseAfter(absl::ToChronoNanoseconds(service_.handshake_timeout));
    if (!prepare) return Read();
    prepare([self = shared_from_this()](const absl::Status& status) {
      if (!status.ok()) return self->Close();
      self->Read();
    });
  }

 private:
  void CloseAfter(std::chrono::nanoseconds time) {
    deadline_.expires_after(time);
    deadline_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->stream_->Close();
    });
  }

  void Close() {
    deadline_.cancel();
    stream_->Close();
  }

  void Read() {
    stream_->Read(buffer_, sizeof buffer_, [self = shared_from_this()](const absl::Status& status, size_t bytes) {
      if (!status.ok() || bytes == 0) return self->Close();
      self->OnBytes(bytes);
    });
  }

  void OnBytes(size_t bytes) {
    received_.append(buffer_, bytes);
    const size_t size = HeadSize(received_);
    if (size > kMaxHead || (size == 0 && received_.size() > kMaxHead)) {
      return Refuse({431, absl::StrCat("the request's head has more than ", kMaxHead, " bytes")});
    }
    if (size == 0) return Read();
    OnHead(size);
  }

  // The token is spent by the request whose upgrade is accepted, not by one that is refused: a client that asked for a
  // protocol we lack may come again with another.
  void OnHead(size_t size) {
    const auto head = ParseHead(absl::string_view(received_).substr(0, size));
    if (!head.ok()) return Refuse({400, "not an HTTP/1.1 request"});
    if (full_) return Refuse({503, "too many sessions"});
    const auto target = FindTarget(*head);
    if (const auto* refusal = std::get_if<Refusal>(&target)) return Refuse(*refusal);
    const auto& [kind, token] = std::get<Target>(target);
    auto request = service_.tokens.Find(token);
    if (!request || KindOf(*request) != kind) return Refuse(NoSuchSession());
    const auto upgrade = ChooseUpgrade(*head, *request);
    if (const auto* refusal = std::get_if<Refusal>(&upgrade)) return Refuse(*refusal);
    request = service_.tokens.Take(token);  // somebody may have been faster
    if (!request) return Refuse(NoSuchSession());
    deadline_.cancel();
    Begin(std::get<Upgrade>(upgrade), *head, std::move(*request), received_.substr(size));
  }

  void Begin(const Upgrade& upgrade, const RequestHead& head, Request request, std::string early) {
    if (upgrade.carrier == Upgrade::Carrier::kSpdy) return BeginSpdy(upgrade, std::move(request), std::move(early));
    RunWebSocket(service_.context, request, upgrade, head, stream_, std::move(early));
  }

  void BeginSpdy(const Upgrade& upgrade, Request request, std::string early) {
    out_ = SpdyResponse(upgrade);
    stream_->Write(out_, {},
                   [self = shared_from_this(), protocol = upgrade.protocol, request = std::move(request),
                    early = std::move(early)](const absl::Status& status) {
                     if (!status.ok()) return self->Close();
                     RunSpdy(self->service_.context, request, protocol, self->stream_, early);
                   });
  }

  void Refuse(const Refusal& refusal) {
    out_ = ResponseOf(refusal);
    stream_->Write(out_, {}, [self = shared_from_this()](const absl::Status& status) {
      if (!status.ok()) return self->Close();
      self->CloseAfter(kDrain);
      self->Drain();
    });
  }

  // Closing a socket that holds bytes nobody has read resets the connection, and the answer may be lost.
  void Drain() {
    stream_->Read(buffer_, sizeof buffer_, [self = shared_from_this()](const absl::Status& status, size_t bytes) {
      if (!status.ok() || bytes == 0) return self->Close();
      self->Drain();
    });
  }

  Service& service_;
  const std::shared_ptr<ByteStream> stream_;
  const bool full_;
  boost::asio::steady_timer deadline_;
  std::string received_, out_;
  char buffer_[4096];
};

}  // namespace

void ServeHttp(Service& service, std::shared_ptr<ByteStream> stream,
               const std::function<void(ByteStream::OnDone)>& prepare, bool full) {
  std::make_shared<HttpConnection>(service, std::move(stream), full)->Start(prepare);
}

}  // namespace berth::streaming
