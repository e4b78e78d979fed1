// One HTTP exchange at a time per calling thread, over connections that are kept and reused. No redirects, no
// authentication, no retries: those are decisions of the registry session.
// Thread-safe. Blocking.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "image/registry/url.h"
#include "runtime/base/status.h"

namespace berth::image {

// How a server is recognised and how we identify ourselves. Paths of PEM files.
struct TlsOptions {
  std::vector<std::string> ca_files;  // besides the system's
  std::string client_cert;
  std::string client_key;  // empty: in client_cert
  bool skip_verify = false;
};

struct HttpRequest {
  Url url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string form;  // when not empty: a POST of application/x-www-form-urlencoded
  // HEAD, POST, PATCH, PUT or DELETE; empty is GET, or the form's POST.
  std::string method;
  // Sent with its Content-Length, "" as well. Stays valid and unchanged until the exchange is over.
  std::optional<absl::string_view> body;
  TlsOptions tls;
};

struct HttpResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;

  // The first header of that name (given in lower case), or "".
  absl::string_view Header(absl::string_view name) const;
};

class HttpClient {
 public:
  struct Options {
    absl::Duration connect_timeout = absl::Seconds(30);
    absl::Duration stall_timeout = absl::Seconds(60);  // without a byte in either direction
  };
  // Receives the body of a 200 or 206 instead of HttpResponse::body. Its first error ends the exchange and is returned.
  using BodySink = std::function<absl::Status(const HttpResponse& head, absl::string_view bytes)>;

  HttpClient() : HttpClient(Options()) {}
  explicit HttpClient(const Options& options);
  ~HttpClient();

  // Any complete answer is OK, whatever its status. Unavailable: no or half an answer (the message says which host and
  // why). ResourceExhausted: a 2xx body over `max_body`; other bodies are cut there. Cancelled: `cancelled` (asked at
  // least once a second; may be empty) said so. InvalidArgument: a header with control characters, a missing TLS file.
  absl::StatusOr<HttpResponse> Exchange(const HttpRequest& request, size_t max_body,
                                        const std::function<bool()>& cancelled, const BodySink& sink = {});

 private:
  void* Take() ABSL_LOCKS_EXCLUDED(mutex_);
  void Return(void* handle) ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  absl::Mutex mutex_;
  std::vector<void*> idle_ ABSL_GUARDED_BY(mutex_);  // curl easy handles with their connections
};

}  // namespace berth::image
