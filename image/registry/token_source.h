// Bearer tokens from a registry's token service (distribution's docs/spec/auth/token.md and oauth.md), kept for as long
// as they are valid. Credentials and tokens are never part of a message.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "image/registry/http_client.h"
#include "image/store.h"
#include "runtime/base/status.h"
#include "runtime/base/timed_condition.h"

namespace berth::image {

struct TokenRequest {
  std::string realm;  // URL of the token service
  std::string service;
  std::string scope;        // several have spaces between them
  Credentials credentials;  // user and password, an identity token (which goes first), both, or neither
  TlsOptions tls;           // used when the service is at the registry's own origin
};

// "Basic …" of RFC 7617.
std::string BasicAuthorization(const Credentials& credentials);

// A fingerprint of credentials, fit to be a key in memory.
std::string CredentialsKey(const Credentials& credentials);

// Thread-safe.
class TokenSource {
 public:
  // A token that is valid for some seconds at least: a kept one, or a new one by asking the service; callers that want
  // the same one wait for the first. `stale`, when not empty, is a token that was refused and is not given again.
  // Unauthenticated / PermissionDenied: the service refuses the credentials. Unavailable: it cannot be reached or
  // fails. FailedPrecondition: credentials would have to travel in the clear. InvalidArgument: a malformed realm or
  // answer.
  absl::StatusOr<std::string> Token(HttpClient& http, const TokenRequest& request, absl::string_view stale,
                                    const std::function<bool()>& cancelled);

 private:
  struct Entry {  // guarded by TokenSource::mutex_
    std::string token;
    Deadline expires = Deadline::In(absl::ZeroDuration());
    bool asked = false;  // a thread is asking the service for it
  };

  std::shared_ptr<Entry> Find(const TokenRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  TimedCondition answered_;
  std::map<std::string, std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
};

struct TokenAnswer {
  std::string token;
  absl::Duration lifetime;
};
// The body of a token service's 200. InvalidArgument when it has no usable token. Pure.
absl::StatusOr<TokenAnswer> ParseTokenAnswer(absl::string_view body);

}  // namespace berth::image
