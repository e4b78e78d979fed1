#include "runtime/container/child_report.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "runtime/sys/unix_socket.h"

namespace berth::container {
namespace {

void CopyText(char* to, size_t size, absl::string_view text) {
  const size_t n = std::min(size - 1, text.size());
  if (n > 0) memcpy(to, text.data(), n);
  to[n] = 0;
}

}  // namespace

ChildReport MakeReport(ChildReport::Kind kind, const StepTimer& timer, const absl::Status& status) {
  ChildReport report = {};
  report.kind = kind;
  report.code = static_cast<int32_t>(status.code());
  report.error_number = ErrnoOf(status);
  CopyText(report.message, sizeof report.message, status.message());
  report.step_count = static_cast<uint32_t>(timer.size());
  for (size_t i = 0; i < timer.size(); ++i) {
    CopyText(report.steps[i].name, sizeof report.steps[i].name, timer[i].name);
    report.steps[i].nanoseconds = timer[i].nanoseconds;
  }
  return report;
}

absl::Status StatusOf(const ChildReport& report) {
  if (report.code == 0) return absl::UnknownError("a child failed without saying why");
  return absl::Status(static_cast<absl::StatusCode>(report.code), report.message);
}

void SendReport(int control, const ChildReport& report, int fd) {
  const absl::string_view bytes(reinterpret_cast<const char*>(&report), sizeof report);
  const int fds[] = {fd};
  sys::SendPacket(control, bytes, fd >= 0 ? absl::MakeConstSpan(fds) : absl::Span<const int>()).IgnoreError();
}

absl::StatusOr<ReceivedReport> ReceiveReport(int control, int flags) {
  ASSIGN_OR_RETURN(sys::Packet packet, sys::RecvPacket(control, sizeof(ChildReport), flags));
  ReceivedReport received;
  if (packet.data.size() != sizeof(ChildReport)) return absl::InternalError("a child's report has the wrong size");
  memcpy(&received.report, packet.data.data(), sizeof(ChildReport));
  received.report.step_count = std::min<uint32_t>(received.report.step_count, StepTimer::kMaxSteps);
  if (!packet.fds.empty()) received.fd = std::move(packet.fds[0]);
  return received;
}

}  // namespace berth::container
