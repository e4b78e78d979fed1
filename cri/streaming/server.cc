#include "cri/streaming/server.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "cri/streaming/handshake.h"
#include "cri/streaming/http_connection.h"
#include "cri/streaming/io_threads.h"
#include "cri/streaming/listener.h"
#include "cri/streaming/socket_stream.h"
#include "cri/streaming/tls.h"
#include "runtime/sys/stream_listener.h"

namespace berth::streaming {
namespace {

constexpr absl::Duration kKeepaliveIdle = absl::Seconds(30);
constexpr size_t kToldSo = 64;  // connections beyond max_sessions that are answered so, before others are just closed

absl::Status CheckOptions(const Server::Options& options) {
  ASSIGN_OR_RETURN(const bool loopback, sys::IsLoopback(options.address), "address");
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return absl::InvalidArgumentError("tls_cert and tls_key: one is of no use without the other");
  }
  if (!options.tls_client_ca.empty() && options.tls_cert.empty()) {
    return absl::InvalidArgumentError("tls_client_ca: needs tls_cert and tls_key");
  }
  if (!loopback && options.tls_cert.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("address: '", options.address, "' is not a loopback address, which takes tls_cert and tls_key"));
  }
  if (options.threads < 1) return absl::InvalidArgumentError("threads: at least one");
  if (options.max_sessions < 1) return absl::InvalidArgumentError("max_sessions: at least one");
  if (options.url_lifetime <= absl::ZeroDuration()) return absl::InvalidArgumentError("url_lifetime: not positive");
  if (options.handshake_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("handshake_timeout: not positive");
  }
  return absl::OkStatus();
}

class HttpServer : public Server {
 public:
  HttpServer(const Options& options, SessionContext context, std::unique_ptr<TlsFiles> tls)
      : options_(options),
        tls_(std::move(tls)),
        service_{std::move(context),
                 {absl::ToChronoNanoseconds(options.url_lifetime), options.max_pending},
                 options.handshake_timeout},
        threads_(options.threads) {}

  ~HttpServer() override {
    boost::asio::post(threads_.first().io, [listeners = std::move(listeners_)] {
      for (const auto& listener : listeners) listener->Stop();
    });
    if (bound_) unlink(options_.unix_socket.c_str());
  }

  absl::Status Listen() {
    ASSIGN_OR_RETURN(sys::UniqueFd tcp, sys::ListenTcp(options_.address, options_.port), "address");
    ASSIGN_OR_RETURN(port_, sys::LocalPort(tcp.get()));
    sys::UniqueFd local;
    if (!options_.unix_socket.empty()) {
      ASSIGN_OR_RETURN(local, sys::ListenUnixStream(options_.unix_socket), "unix_socket");
      bound_ = true;
    }
    const std::string host = absl::StrContains(options_.address, ':') ? absl::StrCat("[", options_.address, "]")  //
                                                                      : options_.address;
    base_url_ = absl::StrCat(tls_ ? "https" : "http", "://", host, ":", port_);
    Serve(std::move(tcp), tls_ != nullptr);
    if (local) Serve(std::move(local), false);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Url(Request request) override {
    const Target::Kind kind = KindOf(request);
    ASSIGN_OR_RETURN(const std::string token, service_.tokens.Add(std::move(request)));
    return base_url_ + PathOf(kind, token);
  }

  uint16_t port() const override { return port_; }

 private:
  void Serve(sys::UniqueFd socket, bool tls) {
    listeners_.push_back(std::make_shared<Listener>(
        threads_.first().io, std::move(socket), [this, tls](sys::UniqueFd fd) { OnConnection(std::move(fd), tls); }));
    boost::asio::post(threads_.first().io, [listener = listeners_.back()] { listener->Start(); });
  }

  void OnConnection(sys::UniqueFd fd, bool tls) {
    const size_t number = ++connections_;
    std::shared_ptr<void> slot(nullptr, [this](void*) { --connections_; });
    if (number > options_.max_sessions + kToldSo) return;
    if (auto status = sys::SetInteractive(fd.get(), kKeepaliveIdle); !status.ok()) {
      spdlog::debug("streaming: {}", status.ToString());  // the peer has gone already
      return;
    }
    const bool full = number > options_.max_sessions;
    IoThreads::Lane& lane = threads_.Next();
    auto shared = std::make_shared<sys::UniqueFd>(std::move(fd));
    boost::asio::post(lane.io,
                      [this, &lane, shared, slot, tls, full] { Begin(lane, std::move(*shared), slot, tls, full); });
  }

  void Begin(IoThreads::Lane& lane, sys::UniqueFd fd, std::shared_ptr<void> slot, bool tls, bool full) {
    auto socket = AdoptSocket(lane.io, std::move(fd));
    if (!socket.ok()) {
      spdlog::debug("streaming: {}", socket.status().ToString());
      return;
    }
    if (!tls) {
      auto stream = std::make_shared<SocketStream>(lane.io, std::move(*socket), std::move(slot));
      lane.Track(stream);
      return ServeHttp(service_, stream, nullptr, full);
    }
    auto stream = std::make_shared<TlsStream>(lane.io, std::move(*socket), tls_->Current(), std::move(slot));
    lane.Track(stream);
    ServeHttp(
        service_, stream, [stream](ByteStream::OnDone done) { stream->Handshake(std::move(done)); }, full);
  }

  const Options options_;
  const std::unique_ptr<TlsFiles> tls_;
  Service service_;
  std::atomic<size_t> connections_ = 0;
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::string base_url_;
  uint16_t port_ = 0;
  bool bound_ = false;
  IoThreads threads_;  // last: what runs on them uses all of the above
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Options options, SessionContext context) {
  RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<TlsFiles> tls;
  if (!options.tls_cert.empty()) {
    ASSIGN_OR_RETURN(tls, TlsFiles::Load({options.tls_cert, options.tls_key, options.tls_client_ca}));
  }
  auto server = std::make_unique<HttpServer>(options, std::move(context), std::move(tls));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace berth::streaming
