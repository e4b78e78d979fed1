// A command's streams: an exec, or a container that is attached to.
#include <sys/ioctl.h>

#include <optional>
#include <utility>

#include "cri/streaming/command_status.h"
#include "cri/streaming/flow.h"
#include "cri/streaming/idle_timer.h"
#include "cri/streaming/mailbox.h"
#include "cri/streaming/read_ahead.h"
#include "cri/streaming/session.h"

namespace berth::streaming {
namespace {

class CommandSession : public std::enable_shared_from_this<CommandSession> {
 public:
  CommandSession(const SessionContext& context, boost::asio::io_context& io, CommandChannels channels,
                 std::shared_ptr<Connection> connection)
      : context_(context),
        io_(io),
        channels_(std::move(channels)),
        connection_(std::move(connection)),
        mailbox_(std::make_shared<Mailbox>(io)),
        resize_(*this) {}

  void Start(const Request& request);

 private:
  // The client's window. It may tell before the command runs.
  class Resize : public Channel::Reader {
   public:
    explicit Resize(CommandSession& session) : session_(session) {}
    void OnBytes(absl::string_view bytes) override {
      if (sizes_.Feed(bytes, session_.window_)) session_.ApplyWindow();
      session_.channels_.resize->Consumed(bytes.size());
    }
    void OnEnd() override {}
    void OnReset() override {}

   private:
    CommandSession& session_;
    WindowSizeReader sizes_;
  };

  void Started(absl::StatusOr<std::unique_ptr<Command>> command);
  absl::Status StartFlows();
  absl::StatusOr<std::shared_ptr<OutputFlow>> StartOutflow(const sys::UniqueFd& fd,
                                                           const std::shared_ptr<Channel>& channel);
  void ApplyWindow();
  void CommandEnded(absl::StatusOr<CommandEnd> end);
  void DrainFlows();
  void FlowEnded();
  std::function<void()> WhenActive();
  void Abort(absl::Status why);
  void Tell(const absl::StatusOr<CommandEnd>& end);
  void Finish();
  void StopFlows();
  void Release();

  const SessionContext& context_;
  boost::asio::io_context& io_;
  CommandChannels channels_;
  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::unique_ptr<Command> command_;
  std::shared_ptr<Inflow> in_;
  std::shared_ptr<OutputFlow> out_, err_;
  int flows_ = 0;  // of the command's output, that have not ended
  std::optional<absl::StatusOr<CommandEnd>> end_;
  std::optional<IdleTimer> idle_;
  Resize resize_;
  WindowSize window_;
  std::string status_;  // on its way to the client
  bool told_ = false;
  bool attached_ = false;  // to a container that goes on without us
};

void CommandSession::Start(const Request& request) {
  std::weak_ptr<CommandSession> weak = weak_from_this();
  attached_ = std::holds_alternative<AttachRequest>(request);
  // Holds the session for as long as the connection lasts.
  connection_->OnClosed([self = shared_from_this()] { self->Release(); });
  idle_.emplace(io_, context_.idle_timeout, [weak] {
    if (auto self = weak.lock()) self->Abort(absl::DeadlineExceededError("the session was idle for too long"));
  });
  if (channels_.resize) channels_.resize->Listen(&resize_);
  auto done = [mailbox = mailbox_, weak](absl::StatusOr<CommandEnd> end) {
    mailbox->Post([weak, end = std::move(end)] {
      if (auto self = weak.lock()) self->CommandEnded(end);
    });
  };
  auto start = [&backend = context_.backend, mailbox = mailbox_, weak, request, done = std::move(done)] {
    if (weak.expired()) return;  // the client has gone, while this waited for its turn
    auto command = std::make_shared<absl::StatusOr<std::unique_ptr<Command>>>(
        std::holds_alternative<ExecRequest>(request) ? backend.Exec(std::get<ExecRequest>(request), done)
                                                     : backend.Attach(std::get<AttachRequest>(request), done));
    // A session that is gone by now lets go of the command here.
    mailbox->Post([weak, command] {
      if (auto self = weak.lock()) self->Started(std::move(*command));
    });
  };
  if (absl::Status posted = context_.post(std::move(start)); !posted.ok()) CommandEnded(posted);
}

void CommandSession::Started(absl::StatusOr<std::unique_ptr<Command>> command) {
  if (!command.ok()) return CommandEnded(command.status());
  if (told_) return;
  command_ = *std::move(command);
  ApplyWindow();  // before the input that the client sent after it
  if (absl::Status status = StartFlows(); !status.ok()) return Abort(status);
  if (end_) DrainFlows();
}

std::function<void()> CommandSession::WhenActive() {
  return [weak = weak_from_this()] {
    if (auto self = weak.lock(); self && self->idle_) self->idle_->Touch();
  };
}

absl::StatusOr<std::shared_ptr<OutputFlow>> CommandSession::StartOutflow(const sys::UniqueFd& fd,
                                                                         const std::shared_ptr<Channel>& channel) {
  if (!fd || !channel) return nullptr;
  std::weak_ptr<CommandSession> weak = weak_from_this();
  auto ended = [weak](absl::Status) {
    if (auto self = weak.lock()) self->FlowEnded();
  };
  std::shared_ptr<OutputFlow> flow;
  if (attached_) {
    // A container does not wait for its clients: what one does not take at once is kept for it.
    ASSIGN_OR_RETURN(flow, ReadAhead::Start(io_, fd.get(), channel, {ended, WhenActive()}, context_.read_ahead));
  } else {
    ASSIGN_OR_RETURN(flow, Outflow::Start(io_, fd.get(), channel, {ended, WhenActive()}));
  }
  ++flows_;
  return flow;
}

absl::Status CommandSession::StartFlows() {
  ASSIGN_OR_RETURN(out_, StartOutflow(command_->out, channels_.out));
  ASSIGN_OR_RETURN(err_, StartOutflow(command_->err, channels_.err));
  if (!channels_.in) return absl::OkStatus();
  if (!command_->in) {
    // A container without input: what the client types goes nowhere, and does not fill the connection.
    channels_.in->Listen(nullptr);
    return absl::OkStatus();
  }
  std::weak_ptr<CommandSession> weak = weak_from_this();
  auto no_more = [weak] {
    auto self = weak.lock();
    if (!self || !self->command_) return;
    self->in_->Stop();
    self->command_->EndInput();
  };
  ASSIGN_OR_RETURN(in_,
                   Inflow::Create(io_, command_->in.get(), channels_.in, {no_more, no_more, nullptr, WhenActive()}));
  in_->Start();
  return absl::OkStatus();
}

void CommandSession::ApplyWindow() {
  if (!command_ || !command_->terminal || window_.columns == 0) return;
  winsize size = {window_.rows, window_.columns, 0, 0};
  // One that has just ended has no window any more.
  (void)ioctl(command_->terminal.get(), TIOCSWINSZ, &size);
}

// What the command wrote is sent first. Others may hold its pipes open: nobody waits for them. The client may take its
// time, as one whose output is being paged through does.
void CommandSession::CommandEnded(absl::StatusOr<CommandEnd> end) {
  if (end_ || told_) return;
  end_ = std::move(end);
  DrainFlows();
}

void CommandSession::DrainFlows() {
  if (out_) out_->Drain();
  if (err_) err_->Drain();
  Finish();
}

void CommandSession::FlowEnded() {
  --flows_;
  Finish();
}

// The command has ended and its output is sent; or it never began.
void CommandSession::Finish() {
  if (!end_ || flows_ > 0 || told_) return;
  // Its descriptors come with Started.
  if (!command_ && end_->ok()) return;
  Tell(*end_);
}

void CommandSession::Tell(const absl::StatusOr<CommandEnd>& end) {
  told_ = true;
  if (channels_.out) channels_.out->End();
  if (channels_.err) channels_.err->End();
  status_ = FormatCommandEnd(end, channels_.format);
  auto close = [self = shared_from_this()](absl::Status) {
    self->channels_.error->End();
    self->connection_->Close();
  };
  if (status_.empty()) return close(absl::OkStatus());
  channels_.error->Send(status_, close);
}

// Without what the client has not taken yet.
void CommandSession::Abort(absl::Status why) {
  if (told_) return;
  StopFlows();
  for (const auto& channel : {channels_.in, channels_.out, channels_.err}) {
    if (channel) channel->Reset();
  }
  Tell(why);
}

void CommandSession::StopFlows() {
  if (in_) in_->Stop();
  if (out_) out_->Stop();
  if (err_) err_->Stop();
}

// The connection is gone. Flows before their descriptors.
void CommandSession::Release() {
  mailbox_->Close();
  told_ = true;
  idle_.reset();
  if (channels_.resize) channels_.resize->Listen(nullptr);
  StopFlows();
  command_.reset();
}

}  // namespace

void RunCommand(const SessionContext& context, boost::asio::io_context& io, const Request& request,
                CommandChannels channels, std::shared_ptr<Connection> connection) {
  std::make_shared<CommandSession>(context, io, std::move(channels), std::move(connection))->Start(request);
}

}  // namespace berth::streaming
