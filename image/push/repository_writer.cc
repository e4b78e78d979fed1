#include "image/push/repository_writer.h"

#include "absl/random/random.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "image/registry/host_health.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr size_t kMaxQuoted = 300;

// "CODE: message" of a registry's error document, printable; "" when it is none.
std::string ErrorText(const HttpResponse& response) {
  auto json = ParseJson(response.body);
  if (!json.ok() || !json->is_object() || !json->contains("errors")) return "";
  const Json& errors = (*json)["errors"];
  if (!errors.is_array() || errors.empty() || !errors[0].is_object()) return "";
  std::string text =
      absl::StrCat(StringField(errors[0], "code").value_or(""), ": ", StringField(errors[0], "message").value_or(""));
  return absl::StrCat(" (", absl::CHexEscape(text.substr(0, kMaxQuoted)), ")");
}

bool Insufficient(const HttpResponse& response) {
  for (const auto& [name, value] : response.headers) {
    if (name == "www-authenticate" && absl::StrContains(value, "insufficient_scope")) return true;
  }
  return false;
}

}  // namespace

absl::Status StatusOfWrite(const RegistrySession& session, const HttpResponse& response, absl::string_view what) {
  std::string host = session.endpoint().base.Authority(), says = ErrorText(response);
  int status = response.status;
  if (status >= 200 && status < 300) return absl::OkStatus();
  if (status == 403 || (status == 401 && Insufficient(response))) {
    return absl::PermissionDeniedError(absl::StrCat("registry ", host, " denies writing ", what, says));
  }
  if (status == 401) {
    return absl::UnauthenticatedError(absl::StrCat("registry ", host, " refuses the credentials for ", what));
  }
  if (status == 404) return absl::NotFoundError(absl::StrCat(what, " not found in registry ", host, says));
  if (status == 405) {
    return absl::FailedPreconditionError(absl::StrCat("registry ", host, " takes no pushes", says));
  }
  if (status == 413) {
    return absl::ResourceExhaustedError(absl::StrCat("registry ", host, ": ", what, " is too large for it", says));
  }
  if (status >= 400 && !IsTransient(status)) {
    return absl::InvalidArgumentError(absl::StrCat("registry ", host, " refuses ", what, ": ", status, says));
  }
  std::string text = absl::StrCat("registry ", host, " answers ", status, " for ", what, says);
  return IsTransient(status) ? absl::UnavailableError(text) : absl::FailedPreconditionError(text);
}

bool IsTransient(int http_status) { return http_status >= 500 || http_status == 408 || http_status == 429; }

absl::StatusOr<RegistrySession::Written> RepositoryWriter::SendRetrying(const RegistrySession::Write& write) {
  for (int failures = 1;; ++failures) {
    absl::StatusOr<RegistrySession::Written> written = session_->Send(write);
    absl::Status status = written.status();
    if (written.ok() && !IsTransient(written->response.status)) return written;
    if (written.ok()) status = StatusOfWrite(*session_, written->response, write.path);
    RETURN_IF_ERROR(PauseAfter(status, failures));
  }
}

absl::Status RepositoryWriter::PauseAfter(const absl::Status& status, int failures) const {
  if (!absl::IsUnavailable(status) || failures >= retry_.attempts) return status;
  absl::BitGen random;
  absl::Duration pause = Backoff(retry_, failures, absl::Uniform(random, 0.0, 1.0));
  if (absl::Duration rest = RestOf(status); rest > pause) {
    if (rest > HostHealth::kLongestWait) return status;
    pause = rest;
  }
  return Wait(pause, cancelled_);
}

absl::StatusOr<Url> NextLocation(const RegistrySession::Written& written) {
  absl::string_view location = written.response.Header("location");
  if (location.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("registry ", written.url.Authority(), " does not say where an upload goes on"));
  }
  ASSIGN_OR_RETURN(Url next, ResolveUrl(written.url, location), "upload to ", written.url.Authority());
  if (written.url.scheme == "https" && next.scheme == "http") {
    return absl::PermissionDeniedError(
        absl::StrCat("registry ", written.url.Authority(), " wants the upload without TLS"));
  }
  return next;
}

absl::StatusOr<uint64_t> RepositoryWriter::BlobSize(absl::string_view digest) {
  std::string what = absl::StrCat("blob ", digest);
  ASSIGN_OR_RETURN(auto head, SendRetrying({.method = "HEAD", .path = absl::StrCat("/blobs/", digest)}));
  RETURN_IF_ERROR(StatusOfWrite(*session_, head.response, what));
  uint64_t size = 0;
  if (!absl::SimpleAtoi(head.response.Header("content-length"), &size)) {
    return absl::NotFoundError(absl::StrCat(what, ": the registry does not say how large it is"));
  }
  return size;
}

absl::StatusOr<bool> RepositoryWriter::Mount(absl::string_view digest, absl::string_view from) {
  RegistrySession::Write mount{
      .method = "POST",
      .path = absl::StrCat("/blobs/uploads/?mount=", EscapeQuery(digest), "&from=", EscapeQuery(from)),
      .body = ""};
  ASSIGN_OR_RETURN(auto written, SendRetrying(mount));
  if (written.response.status == 201) return true;
  if (written.response.status != 202) {
    // Some registries deny what they cannot mount. It can be uploaded all the same.
    if (written.response.status < 500) return false;
    return StatusOfWrite(*session_, written.response, absl::StrCat("blob ", digest));
  }
  // It opened an upload instead, which nobody needs.
  if (auto location = NextLocation(written); location.ok()) {
    session_->Send({.method = "DELETE", .url = *location}).IgnoreError();
  }
  return false;
}

absl::Status RepositoryWriter::PutManifest(absl::string_view tag, absl::string_view media_type, absl::string_view bytes,
                                           absl::string_view digest) {
  RegistrySession::Write put{.method = "PUT",
                             .path = absl::StrCat("/manifests/", tag),
                             .headers = {{"Content-Type", std::string(media_type)}},
                             .body = bytes};
  ASSIGN_OR_RETURN(auto written, SendRetrying(put));
  RETURN_IF_ERROR(StatusOfWrite(*session_, written.response, "the manifest"));
  absl::string_view taken = written.response.Header("docker-content-digest");
  if (taken.empty() || taken == digest) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("registry ", session_->endpoint().base.Authority(), " took the manifest as ",
                                          absl::CHexEscape(taken.substr(0, 150)), " instead of ", digest));
}

}  // namespace berth::image
