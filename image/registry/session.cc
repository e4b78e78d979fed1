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
constexpr char kManifestTypes[] =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

Credentials ForEndpoint(const Endpoint& endpoint, Credentials credentials) {
  return endpoint.is_mirror ? Credentials() : std::move(credentials);
}

absl::Status InTheClear(const Url& url) {
  return absl::FailedPreconditionError(
      absl::StrCat("registry ", url.Authority(), " has no TLS: credentials are not sent to it"));
}

// What the challenge asks for, and in any case to read the repository. Where the challenge names a repository it knows
// better than we do: a cache may keep it under another name.
std::string ScopeFor(const Challenge& challenge, absl::string_view repository) {
  std::string scope = challenge.Param("scope");
  if (absl::StrContains(scope, "repository:")) return scope;
  return absl::StrCat(scope, scope.empty() ? "" : " ", "repository:", repository, ":pull");
}

// A token that suffices for less than what was asked: some registries say so with 403.
bool WantsAnotherToken(const HttpResponse& response) {
  if (response.status == 401) return true;
  if (response.status != 403) return false;
  for (const Challenge& challenge : ParseChallenges(response.Header("www-authenticate"))) {
    if (challenge.Param("error") == "insufficient_scope") return true;
  }
  return false;
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
  if (endpoint_.is_mirror) absl::StrAppend(&url.path, "?ns=", EscapeQuery(reference_.host));
  auto cancelled = [&] { return (context_.cancelled && context_.cancelled()) || (get.stopped && get.stopped()); };
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    HttpRequest request{.url = url, .headers = get.headers};
    // Secrets and settings of the registry are for the registry alone.
    answer.own_origin = url.SameOrigin(endpoint_.base);
    if (answer.own_origin) {
      request.tls = endpoint_.tls;
      request.connect_timeout = endpoint_.dial_timeout;
      for (const auto& header : endpoint_.headers) request.headers.push_back(header);
      if (!answer.authorization.empty()) request.headers.emplace_back("Authorization", answer.authorization);
    }
    ASSIGN_OR_RETURN(answer.response, context_.http->Exchange(request, get.max_body, cancelled, get.sink));
    if (!IsRedirect(answer.response.status)) return answer;
    ASSIGN_OR_RETURN(url, NextHop(url, answer.response));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("registry ", endpoint_.base.Authority(), " redirects more than ", kMaxRedirects, " times"));
}

absl::StatusOr<std::string> RegistrySession::Authorization(const std::vector<Challenge>& challenges,
                                                           absl::string_view refused) {
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme == "bearer" && !challenge.Param("realm").empty()) {
      TokenRequest request{.realm = challenge.Param("realm"),
                           .service = challenge.Param("service"),
                           .scope = ScopeFor(challenge, reference_.path),
                           .credentials = credentials_};
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

absl::StatusOr<HttpResponse> RegistrySession::Send(const Get& get) {
  if (!credentials_.registry_token.empty() && !endpoint_.base.IsPrivate()) return InTheClear(endpoint_.base);
  // Once without, once with an answer to the challenge, and once more for a token that has just run out.
  for (int attempt = 0;; ++attempt) {
    ASSIGN_OR_RETURN(Answer answer, Follow(get));
    bool again = WantsAnotherToken(answer.response) && answer.own_origin && attempt < 2;
    if (!again) return std::move(answer.response);
    RETURN_IF_ERROR(Authenticate(answer));
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
      break;
  }
  std::string text = absl::StrCat("registry ", host, " answers ", response.status, " for ", what);
  bool transient = response.status >= 500 || response.status == 408 || response.status == 429;
  return transient ? absl::UnavailableError(text) : absl::FailedPreconditionError(text);
}

absl::StatusOr<ManifestDocument> RegistrySession::GetManifest(absl::string_view selector) {
  std::string what =
      absl::StrCat("image \"", reference_.Name(), absl::StrContains(selector, ":") ? "@" : ":", selector, "\"");
  Get get{
      .path = absl::StrCat("/manifests/", selector), .headers = {{"Accept", kManifestTypes}}, .max_body = kMaxManifest};
  ASSIGN_OR_RETURN(HttpResponse response, Send(get));
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
  absl::StatusOr<HttpResponse> response = Send(get);
  if (absl::IsResourceExhausted(response.status())) {
    return absl::DataLossError(absl::StrCat(what, ": more than the promised ", size, " bytes"));
  }
  RETURN_IF_ERROR(response);
  RETURN_IF_ERROR(StatusOfAnswer(*response, what));
  RETURN_IF_ERROR(VerifyDigest(digest, response->body), what, " from ", endpoint_.base.Authority());
  return std::move(response->body);
}

}  // namespace berth::image
