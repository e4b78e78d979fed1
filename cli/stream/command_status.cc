#include "cli/stream/command_status.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/json.h"

namespace berth::cli::stream {
namespace {

absl::StatusOr<int> ExitCodeOf(const Json& status) {
  auto details = status.find("details");
  if (details != status.end() && details->is_object() && details->contains("causes")) {
    for (const Json& cause : (*details)["causes"]) {
      if (!cause.is_object()) continue;
      ASSIGN_OR_RETURN(std::string reason, StringField(cause, "reason"));
      ASSIGN_OR_RETURN(std::string message, StringField(cause, "message"));
      int code = 0;
      if (reason == "ExitCode" && absl::SimpleAtoi(message, &code) && code >= 0 && code <= 255) return code;
    }
  }
  return absl::InternalError("the streaming server told no exit code");
}

}  // namespace

absl::StatusOr<int> ParseCommandStatus(absl::string_view text) {
  if (absl::StripAsciiWhitespace(text).empty()) {
    return absl::UnavailableError("the streaming server ended the connection before the command's end");
  }
  auto json = ParseJson(text);
  if (!json.ok() || !json->is_object()) {
    return absl::InternalError(absl::StrCat("the streaming server told no status but: ", text));
  }
  ASSIGN_OR_RETURN(std::string status, StringField(*json, "status"), "the streaming server's status");
  if (status == "Success") return 0;
  ASSIGN_OR_RETURN(std::string reason, StringField(*json, "reason"), "the streaming server's status");
  if (reason == "NonZeroExitCode") return ExitCodeOf(*json);
  ASSIGN_OR_RETURN(std::string message, StringField(*json, "message"), "the streaming server's status");
  if (message.empty()) message = "the streaming server told no reason";
  switch (IntField(*json, "code").value_or(0)) {
    case 403:
      return absl::PermissionDeniedError(message);
    case 404:
      return absl::NotFoundError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace berth::cli::stream
