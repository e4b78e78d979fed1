#include "image/registry/token_source.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "image/content/digest.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr size_t kMaxAnswer = 64 << 10;
constexpr size_t kMaxEntries = 1000;
constexpr absl::Duration kDefaultLifetime = absl::Seconds(60);
constexpr absl::Duration kMargin = absl::Seconds(5);
constexpr absl::Duration kPoll = absl::Milliseconds(50);  // how soon a cancellation is seen

bool HasSecret(const Credentials& c) { return !c.password.empty() || !c.identity_token.empty(); }

// oauth.md: a refresh token is posted.
HttpRequest PostRequest(const TokenRequest& request, const Url& realm) {
  return {.url = realm,
          .form = absl::StrCat("grant_type=refresh_token&client_id=berth&service=", EscapeQuery(request.service),
                               "&scope=", EscapeQuery(request.scope),
                               "&refresh_token=", EscapeQuery(request.credentials.identity_token)),
          .tls = request.tls};
}

// token.md: a user and a password, or nobody, ask with GET; each scope is a parameter of its own.
HttpRequest GetRequest(const TokenRequest& request, const Url& realm) {
  HttpRequest http{.url = realm, .tls = request.tls};
  std::string query = absl::StrCat("service=", EscapeQuery(request.service));
  for (absl::string_view scope : absl::StrSplit(request.scope, ' ', absl::SkipEmpty())) {
    absl::StrAppend(&query, "&scope=", EscapeQuery(scope));
  }
  if (!request.credentials.password.empty()) {
    absl::StrAppend(&query, "&account=", EscapeQuery(request.credentials.username));
    http.headers.emplace_back("Authorization", BasicAuthorization(request.credentials));
  }
  absl::StrAppend(&http.url.path, absl::StrContains(http.url.path, "?") ? "&" : "?", query);
  return http;
}

absl::Status StatusOfRefusal(const Url& realm, const HttpResponse& response) {
  std::string who = absl::StrCat("token service ", realm.Authority());
  if (response.status == 403) return absl::PermissionDeniedError(absl::StrCat(who, " forbids it (403)"));
  if (response.status >= 500 || response.status == 429 || response.status == 408) {
    return absl::UnavailableError(absl::StrCat(who, " answers ", response.status));
  }
  return absl::UnauthenticatedError(absl::StrCat(who, " refuses (", response.status, ")"));
}

absl::StatusOr<TokenAnswer> Fetch(HttpClient& http, const TokenRequest& request,
                                  const std::function<bool()>& cancelled) {
  ASSIGN_OR_RETURN(Url realm, ParseUrl(request.realm), "token service");
  if (HasSecret(request.credentials) && !realm.IsPrivate()) {
    return absl::FailedPreconditionError(
        absl::StrCat("token service ", realm.Authority(), " has no TLS: credentials are not sent to it"));
  }
  const bool refreshes = !request.credentials.identity_token.empty();
  const HttpRequest first = refreshes ? PostRequest(request, realm) : GetRequest(request, realm);
  ASSIGN_OR_RETURN(HttpResponse response, http.Exchange(first, kMaxAnswer, cancelled), "token service");
  // Not every service knows refresh tokens; who sent a password besides is served by that.
  const bool unknown = response.status == 404 || response.status == 405 || response.status == 501;
  if (refreshes && unknown && !request.credentials.password.empty()) {
    ASSIGN_OR_RETURN(response, http.Exchange(GetRequest(request, realm), kMaxAnswer, cancelled), "token service");
  }
  if (response.status != 200) return StatusOfRefusal(realm, response);
  auto answer = ParseTokenAnswer(response.body);
  RETURN_IF_ERROR(answer, "token service ", realm.Authority());
  return answer;
}

}  // namespace

std::string BasicAuthorization(const Credentials& credentials) {
  return absl::StrCat("Basic ", absl::Base64Escape(absl::StrCat(credentials.username, ":", credentials.password)));
}

std::string CredentialsKey(const Credentials& c) {
  std::string all;
  for (const std::string* part : {&c.username, &c.password, &c.identity_token, &c.registry_token}) {
    absl::StrAppend(&all, part->size(), ":", *part, ";");
  }
  return Sha256Digest(all);
}

absl::StatusOr<TokenAnswer> ParseTokenAnswer(absl::string_view body) {
  ASSIGN_OR_RETURN(Json json, ParseJson(body));
  TokenAnswer answer;
  ASSIGN_OR_RETURN(answer.token, StringField(json, "token"));
  if (answer.token.empty()) {
    ASSIGN_OR_RETURN(answer.token, StringField(json, "access_token"));
  }
  if (answer.token.empty()) return absl::InvalidArgumentError("the answer has no token");
  if (!std::all_of(answer.token.begin(), answer.token.end(), absl::ascii_isgraph)) {
    return absl::InvalidArgumentError("the token has characters that no token has");
  }
  ASSIGN_OR_RETURN(int64_t seconds, IntField(json, "expires_in", 0));
  answer.lifetime = seconds > 0 ? absl::Seconds(std::min<int64_t>(seconds, 24 * 3600)) : kDefaultLifetime;
  return answer;
}

std::shared_ptr<TokenSource::Entry> TokenSource::Find(const TokenRequest& request) {
  std::string key = absl::StrCat(request.realm, "\n", request.service, "\n", request.scope, "\n",
                                 CredentialsKey(request.credentials));
  absl::MutexLock lock(&mutex_);
  if (entries_.size() >= kMaxEntries && entries_.count(key) == 0) entries_.clear();
  std::shared_ptr<Entry>& entry = entries_[key];
  if (!entry) entry = std::make_shared<Entry>();
  return entry;
}

absl::StatusOr<std::string> TokenSource::Token(HttpClient& http, const TokenRequest& request, absl::string_view stale,
                                               const std::function<bool()>& cancelled) {
  std::shared_ptr<Entry> entry = Find(request);
  {
    absl::MutexLock lock(&mutex_);
    while (entry->asked) {
      if (cancelled && cancelled()) return absl::CancelledError("cancelled");
      answered_.Await(
          mutex_, [&] { return !entry->asked; }, Deadline::In(kPoll));
    }
    if (entry->token != stale && entry->expires.Left() > kMargin) return entry->token;
    entry->asked = true;
  }
  absl::StatusOr<TokenAnswer> answer = Fetch(http, request, cancelled);
  absl::MutexLock lock(&mutex_);
  entry->asked = false;
  answered_.NotifyAll();
  RETURN_IF_ERROR(answer);
  entry->token = std::move(answer->token);
  entry->expires = Deadline::In(answer->lifetime);
  return entry->token;
}

}  // namespace berth::image
