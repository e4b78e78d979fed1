// Clients of the daemons that follow a container's output and write to its input.
#include <fcntl.h>

#include <cerrno>

#include "runtime/shim/shim.h"
#include "runtime/sys/terminal.h"

namespace berth::shim {
namespace {

absl::Status SetNonblocking(const sys::UniqueFd& fd) {
  if (!fd || fcntl(fd.get(), F_SETFL, O_NONBLOCK) == 0) return absl::OkStatus();
  return ErrnoError(errno, "attach: O_NONBLOCK");
}

}  // namespace

absl::Status Shim::Attach(PendingReply to, const v1::Attach& request, std::vector<sys::UniqueFd> fds) {
  ASSIGN_OR_RETURN(PodContainer* const c, FindRunning(request.container_id()));
  if (c->attachments.full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("container '", c->id, "' has ", Attachments::kMax, " attached clients"));
  }
  Attachment attachment;
  attachment.id = next_serial_++;
  attachment.connection = to.connection;
  attachment.out = container::TakeFd(fds, request.stdout_fd());
  attachment.err = container::TakeFd(fds, request.stderr_fd());
  RETURN_IF_ERROR(SetNonblocking(attachment.out));
  RETURN_IF_ERROR(SetNonblocking(attachment.err));
  RETURN_IF_ERROR(SetNonblocking(c->stdin_fd));
  // Input that is to end with its first client is one client's alone: nobody else may hold it open.
  attachment.input = request.stdin() && c->input_open && !(c->stdin_once && c->attachments.any_input());

  v1::Reply reply;
  reply.mutable_attach()->set_attach_id(attachment.id);
  reply.mutable_attach()->set_terminal(c->terminal);
  reply.mutable_attach()->set_input(attachment.input);
  std::vector<int> beside;
  if (c->terminal && c->out.open()) beside.push_back(c->out.fd());
  if (!c->terminal && attachment.input) beside.push_back(c->stdin_fd.get());
  c->attachments.Add(std::move(attachment));
  Answer(to, absl::OkStatus(), std::move(reply), beside);
  return absl::OkStatus();
}

void Shim::Detach(const v1::Detach& request) {
  for (const auto& [id, c] : containers_) {
    Attachment* attachment = c->attachments.Find(request.attach_id());
    if (attachment == nullptr) continue;
    if (!request.input_only()) return EndAttachments(*c, c->attachments.Take(request.attach_id()));
    if (std::exchange(attachment->input, false)) InputEnded(*c);
    return;
  }
}

void Shim::DetachAllOf(uint64_t connection) {
  for (const auto& [id, c] : containers_) EndAttachments(*c, c->attachments.TakeOf(connection));
}

void Shim::EndAttachments(PodContainer& c, std::vector<Attachment> ended) {
  for (Attachment& attachment : ended) {
    if (attachment.input) InputEnded(c);
    attachment.out.Reset();
    attachment.err.Reset();
    v1::Reply event;
    event.mutable_attach_done()->set_attach_id(attachment.id);
    event.mutable_attach_done()->set_lagged(attachment.lagged);
    SendTo(attachment.connection, event.SerializeAsString(), {});
  }
}

// A client that had the container's input has it no more.
void Shim::InputEnded(PodContainer& c) {
  if (!c.stdin_once || !std::exchange(c.input_open, false)) return;
  if (c.terminal) sys::TypeEndOfFile(c.out.fd());
  c.stdin_fd.Reset();
}

// One read of a stream, for the log and for those attached.
OutputStream::Result Shim::Pump(PodContainer& c, OutputStream& stream) {
  absl::string_view bytes;
  const OutputStream::Result result = stream.Pump(c.log, *scratch_, &bytes);
  if (result == OutputStream::Result::kEnded) CloseOutput(stream);
  if (c.attachments.empty() || bytes.empty()) return result;
  const auto which = &stream == &c.out ? Attachments::Stream::kOut : Attachments::Stream::kErr;
  EndAttachments(c, c.attachments.Write(which, bytes));
  return result;
}

// A client may have the terminal, too: closing ours alone would not end the watch.
void Shim::CloseOutput(OutputStream& stream) {
  if (stream.open()) epoll_.Remove(stream.fd());
  stream.Close();
}

}  // namespace berth::shim
