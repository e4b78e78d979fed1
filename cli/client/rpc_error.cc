#include "cli/client/rpc_error.h"

#include <cerrno>

#include "absl/strings/match.h"

namespace berth::cli {

absl::string_view CodeInWords(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "ok";
    case absl::StatusCode::kCancelled:
      return "cancelled";
    case absl::StatusCode::kInvalidArgument:
      return "invalid argument";
    case absl::StatusCode::kDeadlineExceeded:
      return "timed out";
    case absl::StatusCode::kNotFound:
      return "not found";
    case absl::StatusCode::kAlreadyExists:
      return "already exists";
    case absl::StatusCode::kPermissionDenied:
      return "permission denied";
    case absl::StatusCode::kResourceExhausted:
      return "resource exhausted";
    case absl::StatusCode::kFailedPrecondition:
      return "failed precondition";
    case absl::StatusCode::kAborted:
      return "aborted";
    case absl::StatusCode::kOutOfRange:
      return "out of range";
    case absl::StatusCode::kUnimplemented:
      return "not implemented";
    case absl::StatusCode::kInternal:
      return "internal error";
    case absl::StatusCode::kUnavailable:
      return "unavailable";
    case absl::StatusCode::kDataLoss:
      return "data loss";
    case absl::StatusCode::kUnauthenticated:
      return "not authenticated";
    default:
      return "unknown error";
  }
}

absl::Status RpcError(int grpc_code, absl::string_view message) {
  if (grpc_code == 0) return absl::OkStatus();
  auto code = grpc_code > 0 && grpc_code <= 16 ? static_cast<absl::StatusCode>(grpc_code) : absl::StatusCode::kUnknown;
  absl::string_view words = CodeInWords(code);
  if (message.empty()) return absl::Status(code, words);
  if (absl::StartsWithIgnoreCase(message, words)) return absl::Status(code, message);
  return absl::Status(code, absl::StrCat(words, ": ", message));
}

absl::Status CannotReach(absl::string_view socket_path, int err) {
  if (err == EACCES || err == EPERM) {
    return absl::PermissionDeniedError(
        absl::StrCat("cannot reach berthd at ", socket_path, ": permission denied (only root may, try sudo)"));
  }
  if (err == ENOENT || err == ECONNREFUSED) {
    return absl::UnavailableError(
        absl::StrCat("cannot reach berthd at ", socket_path, ": is it running? (systemctl status berthd)"));
  }
  absl::Status cause = ErrnoError(err, absl::StrCat("cannot reach berthd at ", socket_path));
  return absl::UnavailableError(cause.message());
}

}  // namespace berth::cli
