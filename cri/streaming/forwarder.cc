// Connections to ports inside a pod.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cri/streaming/flow.h"
#include "cri/streaming/idle_timer.h"
#include "cri/streaming/mailbox.h"
#include "cri/streaming/session.h"

namespace berth::streaming {
namespace {

// For a client to send more after the pod has ended its side. Whether the pod would still read it, or has closed,
// nobody can tell before it is sent.
constexpr absl::Duration kHalfClosed = absl::Seconds(10);
// The first is tried first.
constexpr int kFamilies[] = {AF_INET, AF_INET6};

std::string FamilyName(int family) { return family == AF_INET ? "IPv4" : "IPv6"; }

// OK or EINPROGRESS, as connect(2) on a non-blocking socket goes.
absl::Status ConnectToLocalhost(int fd, int family, uint16_t port) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(sockaddr_in);
  if (family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    v6.sin6_addr = in6addr_loopback;
    size = sizeof v6;
  }
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 || errno == EINPROGRESS) return absl::OkStatus();
  return ErrnoError(errno, "connect");
}

absl::Status ConnectResult(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  return error == 0 ? absl::OkStatus() : ErrnoError(error, "connect");
}

// One connection, from a pair of channels to a socket. Owned by the forwarder until it is over.
class Link : public std::enable_shared_from_this<Link> {
 public:
  Link(const SessionContext& context, boost::asio::io_context& io, std::string pod_id, uint16_t port,
       std::shared_ptr<Channel> data, std::shared_ptr<Channel> error, std::function<void()> over)
      : context_(context),
        io_(io),
        pod_id_(std::move(pod_id)),
        port_(port),
        data_(std::move(data)),
        error_(std::move(error)),
        mailbox_(std::make_shared<Mailbox>(io)),
        waiting_(*this),
        over_(std::move(over)) {}

  void Start() {
    idle_.emplace(io_, context_.idle_timeout, [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->Expired();
    });
    data_->Listen(&waiting_);
    OpenNext();
  }
  void Stop() {
    if (!over_) return;
    StopFlows();
    data_->Reset();
    error_->Reset();
    Over();
  }

 private:
  // What the client sends before there is a connection waits here, not consumed; a reset is to be heard.
  class Waiting : public Channel::Reader {
   public:
    explicit Waiting(Link& link) : link_(link) {}
    void OnBytes(absl::string_view bytes) override { early_.append(bytes.data(), bytes.size()); }
    void OnEnd() override { ended_ = true; }
    void OnReset() override { link_.Stop(); }
    std::string early_;
    bool ended_ = false;

   private:
    Link& link_;
  };

  void OpenNext();
  void Opened(absl::StatusOr<sys::UniqueFd> socket, int family);
  void Connected();
  void NextFamily(const absl::Status& why);
  void OneWayEnded();
  void Expired();
  void Fail(const absl::Status& why);
  void StopFlows();
  void Over();

  const SessionContext& context_;
  boost::asio::io_context& io_;
  const std::string pod_id_;
  const uint16_t port_;
  const std::shared_ptr<Channel> data_, error_;
  const std::shared_ptr<Mailbox> mailbox_;
  Waiting waiting_;
  std::function<void()> over_;
  size_t attempt_ = 0;  // index into kFamilies
  std::string failures_;
  sys::UniqueFd socket_, reading_;  // the same, as a descriptor is watched by one flow only
  std::optional<boost::asio::posix::stream_descriptor> connecting_;
  std::shared_ptr<Inflow> in_;
  std::shared_ptr<Outflow> out_;
  int ways_ = 2;
  bool pod_ended_ = false, pod_refuses_ = false;
  std::optional<IdleTimer> idle_;
  std::string message_;
};

void Link::OpenNext() {
  const int family = kFamilies[attempt_];
  auto open = [&backend = context_.backend, pod = pod_id_, family, mailbox = mailbox_, weak = weak_from_this()] {
    if (weak.expired()) return;  // the client has gone, while this waited for its turn
    auto socket = std::make_shared<absl::StatusOr<sys::UniqueFd>>(backend.OpenSocket(pod, family));
    mailbox->Post([weak, socket, family] {
      if (auto self = weak.lock()) self->Opened(std::move(*socket), family);
    });
  };
  if (absl::Status posted = context_.post(std::move(open)); !posted.ok()) Fail(posted);
}

void Link::Opened(absl::StatusOr<sys::UniqueFd> socket, int family) {
  if (!over_) return;
  if (!socket.ok()) return ErrnoOf(socket.status()) == 0 ? Fail(socket.status()) : NextFamily(socket.status());
  socket_ = *std::move(socket);
  if (absl::Status status = ConnectToLocalhost(socket_.get(), family, port_); !status.ok()) return NextFamily(status);
  connecting_.emplace(io_);
  if (absl::Status status = Watch(*connecting_, socket_.get()); !status.ok()) return Fail(status);
  connecting_->async_wait(boost::asio::posix::stream_descriptor::wait_write,
                          [weak = weak_from_this()](const boost::system::error_code& error) {
                            auto self = weak.lock();
                            if (!self || error || !self->over_) return;
                            self->connecting_->release();
                            absl::Status status = ConnectResult(self->socket_.get());
                            if (status.ok()) return self->Connected();
                            self->NextFamily(status);
                          });
}

void Link::NextFamily(const absl::Status& why) {
  socket_.Reset();
  absl::StrAppend(&failures_, failures_.empty() ? "" : "; ", FamilyName(kFamilies[attempt_]), ": ", why.message());
  if (++attempt_ < std::size(kFamilies)) return OpenNext();
  Fail(absl::UnavailableError(
      absl::StrCat("cannot connect to localhost:", port_, " in pod ", pod_id_, ": ", failures_)));
}

void Link::Connected() {
  reading_.Reset(fcntl(socket_.get(), F_DUPFD_CLOEXEC, 3));
  if (!reading_) return Fail(ErrnoError(errno, "dup"));
  std::weak_ptr<Link> weak = weak_from_this();
  auto active = [weak] {
    if (auto self = weak.lock(); self && self->idle_) self->idle_->Touch();
  };
  auto client_ended = [weak] {
    auto self = weak.lock();
    if (!self) return;
    shutdown(self->socket_.get(), SHUT_WR);
    self->OneWayEnded();
  };
  auto abandoned = [weak] {
    if (auto self = weak.lock()) self->Stop();
  };
  auto pod_ended = [weak](absl::Status status) {
    auto self = weak.lock();
    if (!self) return;
    if (!status.ok()) return self->Stop();
    self->data_->End();
    self->pod_ended_ = true;
    if (self->idle_) self->idle_->Shorten(kHalfClosed);
    if (self->pod_refuses_) return self->Stop();
    self->OneWayEnded();
  };
  // What the pod wrote before it closed is still to be read.
  auto refused = [weak] {
    auto self = weak.lock();
    if (!self) return;
    self->pod_refuses_ = true;
    if (self->pod_ended_) self->Stop();
  };
  auto in = Inflow::Create(io_, socket_.get(), data_, {client_ended, abandoned, refused, active});
  if (!in.ok()) return Fail(in.status());
  auto out = Outflow::Start(io_, reading_.get(), data_, {pod_ended, active});
  if (!out.ok()) return Fail(out.status());
  in_ = *std::move(in);
  out_ = *std::move(out);
  const std::string early = std::exchange(waiting_.early_, {});
  const bool ended = waiting_.ended_;
  if (!early.empty()) in_->OnBytes(early);
  if (ended && over_) in_->OnEnd();
  if (!ended && over_) in_->Start();
}

void Link::OneWayEnded() {
  if (--ways_ > 0 || !over_) return;
  StopFlows();
  error_->End();
  Over();
}

void Link::Expired() {
  if (!pod_ended_) return Fail(absl::DeadlineExceededError("the connection was idle for too long"));
  ways_ = 1;
  OneWayEnded();
  data_->Reset();
}

void Link::Fail(const absl::Status& why) {
  if (!over_) return;
  StopFlows();
  data_->Reset();
  message_ = std::string(why.message());
  error_->Send(message_, [self = shared_from_this()](absl::Status) { self->error_->End(); });
  Over();
}

void Link::StopFlows() {
  data_->Listen(nullptr);
  if (!waiting_.early_.empty()) data_->Consumed(std::exchange(waiting_.early_, {}).size());
  if (in_) in_->Stop();
  if (out_) out_->Stop();
}

void Link::Over() {
  mailbox_->Close();
  idle_.reset();
  if (connecting_ && connecting_->is_open()) connecting_->release();
  // After the flows are done with it, which may be further up the stack.
  boost::asio::post(io_, [socket = std::make_shared<sys::UniqueFd>(std::move(socket_)),
                          reading = std::make_shared<sys::UniqueFd>(std::move(reading_))] {});
  std::exchange(over_, nullptr)();
}

class PodForwarder final : public Forwarder {
 public:
  PodForwarder(const SessionContext& context, boost::asio::io_context& io, std::string pod_id)
      : context_(context), io_(io), pod_id_(std::move(pod_id)) {}

  void Forward(uint16_t port, std::shared_ptr<Channel> data, std::shared_ptr<Channel> error) override {
    const uint64_t number = next_++;
    auto over = [weak = weak_from_this(), number, &io = io_] {
      // Not inside of the link's own call.
      boost::asio::post(io, [weak, number] {
        if (auto self = weak.lock()) static_cast<PodForwarder&>(*self).links_.erase(number);
      });
    };
    auto link = links_[number] =
        std::make_shared<Link>(context_, io_, pod_id_, port, std::move(data), std::move(error), std::move(over));
    link->Start();
  }
  size_t open() const override { return links_.size(); }
  void Stop() override {
    for (auto& [number, link] : std::exchange(links_, {})) link->Stop();
  }

 private:
  const SessionContext& context_;
  boost::asio::io_context& io_;
  const std::string pod_id_;
  uint64_t next_ = 1;
  std::map<uint64_t, std::shared_ptr<Link>> links_;
};

}  // namespace

std::shared_ptr<Forwarder> Forwarder::Create(const SessionContext& context, boost::asio::io_context& io,
                                             std::string pod_id) {
  return std::make_shared<PodForwarder>(context, io, std::move(pod_id));
}

}  // namespace berth::streaming
