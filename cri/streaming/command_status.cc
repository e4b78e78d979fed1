#include "cri/streaming/command_status.h"

#include "absl/strings/str_cat.h"
#include "runtime/base/json.h"

namespace berth::streaming {
namespace {

std::string ExitMessage(int code) { return absl::StrCat("command terminated with non-zero exit code: ", code); }

// What a client can tell a program that is not there, or that is none, by.
int HttpCode(const absl::Status& status) {
  if (absl::IsNotFound(status)) return 404;
  return absl::IsPermissionDenied(status) ? 403 : 500;
}

Json StatusObject(const absl::StatusOr<CommandEnd>& end) {
  Json status = {{"metadata", Json::object()}, {"status", "Success"}};
  if (end.ok() && end->exit_code == 0) return status;
  status["status"] = "Failure";
  if (end.ok()) {
    status["message"] = ExitMessage(end->exit_code);
    status["reason"] = "NonZeroExitCode";
    status["details"] = {{"causes", {{{"reason", "ExitCode"}, {"message", absl::StrCat(end->exit_code)}}}}};
    return status;
  }
  const std::string message(end.status().message());
  status["message"] = message;
  status["reason"] = "InternalError";
  status["details"] = {{"causes", {{{"message", message}}}}};
  status["code"] = HttpCode(end.status());
  return status;
}

}  // namespace

std::string FormatCommandEnd(const absl::StatusOr<CommandEnd>& end, StatusFormat format) {
  if (format == StatusFormat::kJson) return DumpJson(StatusObject(end));
  if (!end.ok()) return std::string(end.status().message());
  return end->exit_code == 0 ? "" : ExitMessage(end->exit_code);
}

bool WindowSizeReader::Feed(absl::string_view bytes, WindowSize& size) {
  bool found = false;
  for (char c : bytes) {
    if (c == '{') object_.clear();
    if (object_.size() < kMostBytes) object_ += c;
    if (c != '}') continue;
    const absl::StatusOr<Json> parsed = ParseJson(object_);
    object_.clear();
    if (!parsed.ok() || !parsed->is_object()) continue;
    const int64_t columns = IntField(*parsed, "Width").value_or(0), rows = IntField(*parsed, "Height").value_or(0);
    if (columns <= 0 || rows <= 0 || columns > UINT16_MAX || rows > UINT16_MAX) continue;
    size = {static_cast<uint16_t>(columns), static_cast<uint16_t>(rows)};
    found = true;
  }
  return found;
}

}  // namespace berth::streaming
