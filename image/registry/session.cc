#include "image/registry/session.h"

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "image/content/digest.h"

namespace berth::image {
namespace {

constexpr int kMaxRedirects = 10;
constexpr uint64_t kProgress = 256 << 10;  // received since the last failure: then the count of failures begins anew
constexpr char kManifestTypes[] =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

constexpr size_t kMaxWriteAnswer = 64 << 10;

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Whether a request of that method may be made again elsewhere: 301 to 303 make a GET of what writes.
bool KeepsMethod(int status, absl::string_view method) {
  return status == 307 || status == 308 || method.empty() || method == "GET" || method == "HEAD";
}

Credentials ForEndpoint(const Endpoint& endpoint, Credentials credentials) {
  return endpoint.is_mirror ? Credentials() : std::move(credentials);
}

absl::Status InTheClear(const Url& url) {
  return absl::FailedPreconditionError(
      absl::StrCat("registry ", url.Authority(), " has no TLS: credentials are not sent to it"));
}

absl::StatusOr<Url> NextHop(const Url& from, const HttpResponse& response) {
  ASSIGN_OR_RETURN(Url to, ResolveUrl(from, response.Header("location")), "redirect of ", from.Authority());
  if (from.scheme == "https" && to.scheme == "http") {
    return absl::PermissionDeniedError(
        absl::StrCat("registry ", from.Authority(), " redirects from https to http at ", to.Authority()));
  }
  return to;
}

}  // namespace

RegistrySession::RegistrySession(Endpoint endpoint, Reference reference, Credentials credentials, Context context)
    : endpoint_(std::move(endpoint)),
      reference_(std::move(reference)),
      credentials_(ForEndpoint(endpoint_, std::move(credentials))),
      context_(std::move(context)) {
  if (!credentials_.registry_token.empty() && endpoint_.base.IsPrivate()) {
    absl::MutexLock lock(&mutex_);
    authorization_ = absl::StrCat("Bearer ", credentials_.registry_token);
  }
}

absl::StatusOr<RegistrySession::Answer> RegistrySession::Follow(const Get& get) {
  Answer answer;
  {
    absl::MutexLock lock(&mutex_);
    answer.authorization = authorization_;
  }
  Url url = endpoint_.base;
  absl::StrAppend(&url.path, "/", reference_.path, get.path);
  if (get.write != nullptr && get.write->url) url = *get.write->url;
  if (endpoint_.is_mirror) absl::StrAppend(&url.path, "?ns=", EscapeQuery(reference_.host));
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    HttpRequest request{.url = url, .headers = get.headers};
    if (get.write != nullptr) {
      request.method = get.write->method;
      request.body = get.write->body;
    }
    // Secrets and settings of the registry are for the registry alone.
    answer.own_origin = url.SameOrigin(endpoint_.base);
    if (answer.own_origin) {
      request.tls = endpoint_.tls;
      for (const auto& header : endpoint_.headers) request.headers.push_back(header);
      if (!answer.authorization.empty()) request.headers.emplace_back("Authorization", answer.authorization);
    }
    const bool cancellable = get.write == nullptr || get.write->cancellable;
    ASSIGN_OR_RETURN(answer.response,
                     context_.http->Exchange(request, get.max_body,
                                             cancellable ? context_.cancelled : std::function<bool()>(), get.sink));
    answer.url = url;
    if (!IsRedirect(answer.response.status) || !KeepsMethod(answer.response.status, request.method)) return answer;
    ASSIGN_OR_RETURN(url, NextHop(url, answer.response));
  }
  return absl::UnavailableError(absl::StrCat("RegistryUnavailable: ", endpoint_.base.Authority(),
                                             " redirects more than ", kMaxRedirects, " times"));
}

absl::StatusOr<std::string> RegistrySession::Authorization(const std::vector<Challenge>& challenges,
                                                           absl::string_view refused) {
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme == "bearer" && !challenge.Param("realm").empty()) {
      TokenRequest request{.realm = challenge.Param("realm"),
                           .service = challenge.Param("service"),
                           .scope = challenge.Param("scope"),
                           .credentials = credentials_};
      if (request.scope.empty()) request.scope = absl::StrCat("repository:", reference_.path, ":pull");
      if (!context_.scope.empty()) request.scope = context_.scope;
      if (auto realm = ParseUrl(request.realm); realm.ok()) {
        if (endpoint_.base.scheme == "https" && realm->scheme == "http") {
          return absl::PermissionDeniedError(
              absl::StrCat("registry ", endpoint_.base.Authority(), " names a token service without TLS"));
        }
        if (realm->SameOrigin(endpoint_.base) || realm->host == endpoint_.base.host) request.tls = endpoint_.tls;
      }
      absl::string_view stale = absl::StripPrefix(refused, "Bearer ");
      ASSIGN_OR_RETURN(std::string token, context_.tokens->Token(*context_.http, request, stale, context_.cancelled));
      return absl::StrCat("Bearer ", token);
    }
    if (challenge.scheme == "basic" && !credentials_.password.empty()) {
      if (!endpoint_.base.IsPrivate()) return InTheClear(endpoint_.base);
      return BasicAuthorization(credentials_);
    }
  }
  return absl::UnauthenticatedError(
      absl::StrCat("registry ", endpoint_.base.Authority(), " wants credentials for ", reference_.Name()));
}

absl::Status RegistrySession::Authenticate(const Answer& answer) {
  {
    absl::MutexLock lock(&mutex_);
    if (authorization_ != answer.authorization) return absl::OkStatus();  // another thread was faster: try with that
  }
  std::vector<Challenge> challenges;
  for (const auto& [name, value] : answer.response.headers) {
    if (name != "www-authenticate") continue;
    for (Challenge& challenge : ParseChallenges(value)) challenges.push_back(std::move(challenge));
  }
  ASSIGN_OR_RETURN(std::string authorization, Authorization(challenges, answer.authorization));
  if (authorization == answer.authorization) {
    return absl::UnauthenticatedError(
        absl::StrCat("registry ", endpoint_.base.Authority(), " refuses the credentials"));
  }
  absl::MutexLock lock(&mutex_);
  authorization_ = std::move(authorization);
  return absl::OkStatus();
}

absl::StatusOr<RegistrySession::Answer> RegistrySession::SendAuthenticated(const Get& get) {
  if (!credentials_.registry_token.empty() && !endpoint_.base.IsPrivate()) return InTheClear(endpoint_.base);
  // Once without, once with an answer to the challenge, and once more for a token that has just run out.
  for (int attempt = 0;; ++attempt) {
    ASSIGN_OR_RETURN(Answer answer, Follow(get));
    if (answer.response.status != 401 || !answer.own_origin || attempt == 2) return answer;
    RETURN_IF_ERROR(Authenticate(answer));
  }
}

absl::StatusOr<HttpResponse> RegistrySession::Send(const Get& get) {
  ASSIGN_OR_RETURN(Answer answer, SendAuthenticated(get));
  return std::move(answer.response);
}

absl::StatusOr<RegistrySession::Written> RegistrySession::Send(const Write& write) {
  Get get{.path = write.path, .headers = write.headers, .max_body = kMaxWriteAnswer, .write = &write};
  for (int failures = 1;; ++failures) {
    absl::StatusOr<Answer> answer = SendAuthenticated(get);
    bool transient = answer.ok() ? IsTransient(answer->response.status) : absl::IsUnavailable(answer.status());
    if (!write.retry || !transient || failures >= context_.retry.attempts) {
      RETURN_IF_ERROR(answer);
      return Written{std::move(answer->response), std::move(answer->url)};
    }
    absl::Duration asked;
    if (answer.ok()) asked = ParseRetryAfter(answer->response.Header("retry-after"), absl::Now());
    RETURN_IF_ERROR(PauseBeforeRetry(failures, asked));
  }
}

absl::Status RegistrySession::PauseBeforeRetry(int failures, absl::Duration asked) const {
  if (asked > context_.retry.most_asked) {
    return absl::UnavailableError(absl::StrCat("RegistryUnavailable: ", endpoint_.base.Authority(), " asks to wait ",
                                               absl::FormatDuration(asked)));
  }
  absl::BitGen random;
  return Wait(std::max(asked, Backoff(context_.retry, failures, absl::Uniform(random, 0.0, 1.0))), context_.cancelled);
}

absl::StatusOr<HttpResponse> RegistrySession::SendRetrying(const Get& get) {
  for (int failures = 1;; ++failures) {
    absl::StatusOr<HttpResponse> response = Send(get);
    bool transient = response.ok() ? IsTransient(response->status) : absl::IsUnavailable(response.status());
    if (!transient || failures >= context_.retry.attempts) return response;
    absl::Duration asked;
    if (response.ok()) asked = ParseRetryAfter(response->Header("retry-after"), absl::Now());
    RETURN_IF_ERROR(PauseBeforeRetry(failures, asked));
  }
}

absl::Status RegistrySession::StatusOfAnswer(const HttpResponse& response, absl::string_view what) const {
  std::string host = endpoint_.base.Authority();
  switch (response.status) {
    case 200:
    case 206:
      return absl::OkStatus();
    case 401:
      return absl::UnauthenticatedError(absl::StrCat("registry ", host, " refuses the credentials for ", what));
    case 403:
      return absl::PermissionDeniedError(absl::StrCat("registry ", host, " denies access to ", what));
    case 404:
      return absl::NotFoundError(absl::StrCat(what, " not found in registry ", host));
    case 416:  // the blob ends before the byte that we are at
      return absl::DataLossError(absl::StrCat(what, " from ", host, " is shorter than promised"));
    default:
      return absl::UnavailableError(
          absl::StrCat("RegistryUnavailable: registry ", host, " answers ", response.status, " for ", what));
  }
}

absl::StatusOr<ManifestDocument> RegistrySession::GetManifest(absl::string_view selector) {
  std::string what =
      absl::StrCat("image \"", reference_.Name(), absl::StrContains(selector, ":") ? "@" : ":", selector, "\"");
  Get get{
      .path = absl::StrCat("/manifests/", selector), .headers = {{"Accept", kManifestTypes}}, .max_body = kMaxManifest};
  ASSIGN_OR_RETURN(HttpResponse response, SendRetrying(get));
  RETURN_IF_ERROR(StatusOfAnswer(response, what));
  ManifestDocument out;
  absl::string_view type = response.Header("content-type");
  out.media_type = absl::AsciiStrToLower(absl::StripAsciiWhitespace(type.substr(0, type.find(';'))));
  std::string promised(response.Header("docker-content-digest"));
  out.bytes = std::move(response.body);
  if (CheckDigest(selector).ok()) {
    RETURN_IF_ERROR(VerifyDigest(selector, out.bytes), "manifest from ", endpoint_.base.Authority());
    out.digest = std::string(selector);
    return out;
  }
  if (!promised.empty()) {
    absl::Status status = VerifyDigest(promised, out.bytes);
    if (!status.ok())
      return absl::DataLossError(absl::StrCat("manifest from ", endpoint_.base.Authority(), ": ", status.message()));
  }
  out.digest = promised.empty() ? Sha256Digest(out.bytes) : promised;
  return out;
}

absl::StatusOr<std::string> RegistrySession::GetDocument(absl::string_view digest, uint64_t size) {
  std::string what = absl::StrCat("blob ", digest);
  Get get{.path = absl::StrCat("/blobs/", digest), .max_body = static_cast<size_t>(size)};
  absl::StatusOr<HttpResponse> response = SendRetrying(get);
  if (absl::IsResourceExhausted(response.status())) {
    return absl::DataLossError(absl::StrCat(what, ": more than the promised ", size, " bytes"));
  }
  RETURN_IF_ERROR(response);
  RETURN_IF_ERROR(StatusOfAnswer(*response, what));
  RETURN_IF_ERROR(VerifyDigest(digest, response->body), what, " from ", endpoint_.base.Authority());
  return std::move(response->body);
}

// On a 200 the blob begins anew and `skip` bytes are known already; on a 206 it must go on where we are.
absl::Status RegistrySession::CheckBlobHead(const HttpResponse& head, const BlobTransfer& transfer,
                                            uint64_t& skip) const {
  uint64_t length = 0;
  bool known = absl::SimpleAtoi(head.Header("content-length"), &length);
  if (head.status == 200) {
    skip = transfer.received;
    if (known && length > transfer.size) {
      return absl::DataLossError(absl::StrCat("blob ", transfer.digest, " from ", endpoint_.base.Authority(), " has ",
                                              length, " bytes instead of ", transfer.size));
    }
    return absl::OkStatus();
  }
  std::string expected = absl::StrCat("bytes ", transfer.received, "-");
  if (!absl::StartsWithIgnoreCase(head.Header("content-range"), expected)) {
    return absl::DataLossError(absl::StrCat("blob ", transfer.digest, " from ", endpoint_.base.Authority(),
                                            ": asked from byte ", transfer.received, " on, got '",
                                            absl::CHexEscape(head.Header("content-range").substr(0, 100)), "'"));
  }
  skip = 0;
  return absl::OkStatus();
}

absl::Status RegistrySession::BlobOnce(BlobTransfer& transfer,
                                       const std::function<absl::Status(absl::string_view)>& sink,
                                       absl::Status& sink_status) {
  Get get{.path = absl::StrCat("/blobs/", transfer.digest), .max_body = 64 << 10};
  if (transfer.received > 0) get.headers.emplace_back("Range", absl::StrCat("bytes=", transfer.received, "-"));
  bool begun = false;
  uint64_t skip = 0;
  get.sink = [&](const HttpResponse& head, absl::string_view bytes) -> absl::Status {
    if (!begun) sink_status = CheckBlobHead(head, transfer, skip);
    begun = true;
    RETURN_IF_ERROR(sink_status);
    uint64_t known = std::min<uint64_t>(skip, bytes.size());
    skip -= known;
    bytes.remove_prefix(known);
    if (bytes.empty()) return absl::OkStatus();
    if (bytes.size() > transfer.size - transfer.received) {
      sink_status = absl::DataLossError(absl::StrCat("blob ", transfer.digest, " from ", endpoint_.base.Authority(),
                                                     " is longer than ", transfer.size, " bytes"));
    } else {
      sink_status = sink(bytes);
    }
    if (sink_status.ok()) transfer.received += bytes.size();
    return sink_status;
  };
  ASSIGN_OR_RETURN(HttpResponse response, Send(get));
  if (IsTransient(response.status)) {
    absl::Duration asked = ParseRetryAfter(response.Header("retry-after"), absl::Now());
    if (asked > absl::ZeroDuration()) RETURN_IF_ERROR(PauseBeforeRetry(1, asked));
  }
  RETURN_IF_ERROR(StatusOfAnswer(response, absl::StrCat("blob ", transfer.digest)));
  if (transfer.received != transfer.size) {
    sink_status = absl::DataLossError(absl::StrCat("blob ", transfer.digest, " from ", endpoint_.base.Authority(),
                                                   " ends after ", transfer.received, " of ", transfer.size, " bytes"));
  }
  return sink_status;
}

absl::Status RegistrySession::GetBlob(BlobTransfer& transfer,
                                      const std::function<absl::Status(absl::string_view)>& sink) {
  int failures = 0;
  while (transfer.received < transfer.size) {
    uint64_t before = transfer.received;
    absl::Status sink_status;
    absl::Status status = BlobOnce(transfer, sink, sink_status);
    RETURN_IF_ERROR(sink_status);
    if (status.ok()) return status;
    if (!absl::IsUnavailable(status)) return status;
    if (transfer.received - before >= kProgress) failures = 0;
    if (++failures >= context_.retry.attempts) return status;
    RETURN_IF_ERROR(PauseBeforeRetry(failures, absl::ZeroDuration()));
  }
  return absl::OkStatus();
}

}  // namespace berth::image
