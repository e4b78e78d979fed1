#include "cri/streaming/testing_sessions.h"

#include <atomic>
#include <utility>

#include "absl/synchronization/mutex.h"

namespace berth::streaming {
namespace {

absl::Mutex mutex;
std::vector<std::string> seen;
size_t begun = 0;
std::atomic<int> live = 0;

void Note(std::string what) {
  absl::MutexLock lock(&mutex);
  seen.push_back(std::move(what));
  ++begun;
}

struct Counted {
  Counted() { ++live; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --live; }
};

// Writes what it reads.
class Echo : public std::enable_shared_from_this<Echo>, Counted {
 public:
  Echo(std::shared_ptr<ByteStream> stream, std::string early) : stream_(std::move(stream)), early_(std::move(early)) {}

  void Start() { early_.empty() ? Read() : Write(early_); }

  void Write(absl::string_view bytes) {
    stream_->Write(bytes.substr(0, 3), bytes.size() > 3 ? bytes.substr(3) : "",
                   [self = shared_from_this()](const absl::Status& status) {
                     if (status.ok()) self->Read();
                   });
  }

  void Read() {
    stream_->Read(buffer_, sizeof buffer_, [self = shared_from_this()](const absl::Status& status, size_t bytes) {
      if (!status.ok() || bytes == 0) return self->stream_->Close();
      self->Write({self->buffer_, bytes});
    });
  }

 private:
  const std::shared_ptr<ByteStream> stream_;
  const std::string early_;
  char buffer_[64 * 1024];
};

// Sends back what comes on one channel on another.
class Pump : public Channel::Reader, public std::enable_shared_from_this<Pump>, Counted {
 public:
  Pump(std::shared_ptr<Channel> from, std::shared_ptr<Channel> to, std::function<void(bool whole)> ended)
      : from_(std::move(from)), to_(std::move(to)), ended_(std::move(ended)) {}

  // Keeps itself until its end.
  void Start() {
    self_ = shared_from_this();
    from_->Listen(this);
  }
  void Stop() {
    if (from_) from_->Listen(nullptr);
    from_ = to_ = nullptr;
    ended_ = nullptr;
    self_ = nullptr;
  }

  void OnBytes(absl::string_view bytes) override {
    waiting_.append(bytes.data(), bytes.size());
    Send();
  }
  void OnEnd() override {
    at_end_ = true;
    Send();
  }
  void OnReset() override {
    if (auto ended = std::exchange(ended_, nullptr)) ended(false);
  }

 private:
  void Send() {
    if (sending_ || !to_) return;
    if (waiting_.empty()) {
      if (at_end_ && ended_) std::exchange(ended_, nullptr)(true);
      return;
    }
    sending_ = true;
    current_ = waiting_.substr(0, Channel::kMaxSend);
    waiting_.erase(0, current_.size());
    to_->Send(current_, [self = shared_from_this()](const absl::Status& status) {
      self->sending_ = false;
      if (self->from_) self->from_->Consumed(self->current_.size());
      if (status.ok()) self->Send();
    });
  }

  std::shared_ptr<Channel> from_, to_;
  std::function<void(bool)> ended_;
  std::shared_ptr<Pump> self_;
  std::string waiting_, current_;
  bool sending_ = false, at_end_ = false;
};

class EchoForwarder : public Forwarder, Counted {
 public:
  void Forward(uint16_t port, std::shared_ptr<Channel> data, std::shared_ptr<Channel> error) override {
    Note(absl::StrCat("forward ", port));
    if (port == 1) {
      auto text = std::make_shared<std::string>("port 1 is refused");
      return error->Send(*text, [text, data, error](const absl::Status&) {
        data->End();
        error->End();
      });
    }
    auto pump = std::make_shared<Pump>(data, data, [data, error](bool) {
      data->End();
      error->End();
    });
    pump->Start();
    pumps_.push_back(pump);
  }
  size_t open() const override { return pumps_.size(); }
  void Stop() override {
    for (auto& pump : std::exchange(pumps_, {})) pump->Stop();
  }

 private:
  std::vector<std::shared_ptr<Pump>> pumps_;
};

class Nothing : public Backend {
  absl::StatusOr<std::unique_ptr<Command>> Exec(const ExecRequest&, Done) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<std::unique_ptr<Command>> Attach(const AttachRequest&, Done) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<sys::UniqueFd> OpenSocket(const std::string&, int) override { return absl::UnimplementedError(""); }
};

}  // namespace

namespace testing {

std::vector<std::string> SessionsSeen() {
  absl::MutexLock lock(&mutex);
  return std::exchange(seen, {});
}

bool AwaitSessions(size_t count) {
  absl::MutexLock lock(&mutex);
  const auto enough = [count] { return begun >= count; };
  if (!mutex.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(5))) return false;
  begun -= count;
  return true;
}

int LiveSessions() { return live; }

SessionContext NoBackend() {
  static Nothing nothing;
  return {nothing, [](std::function<void()>) { return absl::OkStatus(); }, absl::Hours(4), absl::Seconds(30)};
}

}  // namespace testing

void RunSpdy(const SessionContext&, const Request&, const std::string& protocol, std::shared_ptr<ByteStream> stream,
             std::string early) {
  Note(absl::StrCat("spdy ", protocol));
  std::make_shared<Echo>(std::move(stream), std::move(early))->Start();
}

// What is typed is sent back on the output, what the terminal is resized to on the error output. Then the status.
class EchoCommand : public std::enable_shared_from_this<EchoCommand>, Counted {
 public:
  EchoCommand(CommandChannels channels, std::shared_ptr<Connection> connection)
      : channels_(std::move(channels)), connection_(std::move(connection)) {}

  void Start() {
    connection_->OnClosed([self = shared_from_this()] { self->Stop(); });
    if (channels_.resize && channels_.err) Begin(channels_.resize, channels_.err, [](bool) {});
    if (!channels_.in || !channels_.out) return Finish();
    Begin(channels_.in, channels_.out, [weak = weak_from_this()](bool whole) {
      Note(whole ? "input ended" : "input reset");
      if (auto self = weak.lock(); self && whole) self->Finish();
    });
  }

 private:
  void Begin(std::shared_ptr<Channel> from, std::shared_ptr<Channel> to, std::function<void(bool)> ended) {
    pumps_.push_back(std::make_shared<Pump>(std::move(from), std::move(to), std::move(ended)));
    pumps_.back()->Start();
  }
  void Finish() {
    status_ = channels_.format == StatusFormat::kJson ? "{\"status\":\"Success\"}" : "done";
    channels_.error->Send(status_, [self = shared_from_this()](const absl::Status&) {
      if (self->connection_) self->connection_->Close();
    });
  }
  void Stop() {
    Note("closed");
    for (auto& pump : std::exchange(pumps_, {})) pump->Stop();
    channels_ = {};
    connection_ = nullptr;
  }

  CommandChannels channels_;
  std::shared_ptr<Connection> connection_;
  std::vector<std::shared_ptr<Pump>> pumps_;
  std::string status_;
};

void RunCommand(const SessionContext&, boost::asio::io_context&, const Request& request, CommandChannels channels,
                std::shared_ptr<Connection> connection) {
  std::string what = std::holds_alternative<ExecRequest>(request) ? "exec" : "attach";
  absl::StrAppend(&what, channels.format == StatusFormat::kJson ? " json" : " text");
  for (const auto& [channel, name] : {std::pair(channels.in, " in"), std::pair(channels.out, " out"),
                                      std::pair(channels.err, " err"), std::pair(channels.resize, " resize")}) {
    if (channel) what += name;
  }
  Note(what);
  std::make_shared<EchoCommand>(std::move(channels), std::move(connection))->Start();
}

std::shared_ptr<Forwarder> Forwarder::Create(const SessionContext&, boost::asio::io_context&, std::string) {
  return std::make_shared<EchoForwarder>();
}

}  // namespace berth::streaming
