// One HTTP exchange at a time per calling thread, over connections that are kept and reused, through the proxies that
// are set up, and never to a host that rests. No redirects, no authentication, no retries: those are
// decisions of the registry session and of who has several servers to ask. Thread-safe. Blocking.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "image/registry/host_health.h"
#include "image/registry/proxy.h"
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
  TlsOptions tls;
  absl::Duration connect_timeout;  // zero: the client's
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
    // An exchange in which fewer than kLeastProgress bytes came in such a time is given up. Time in the sink does not
    // count.
    absl::Duration progress_timeout = absl::Seconds(60);
    Proxies proxies;
  };
  static constexpr size_t kLeastProgress = 4096;

  // Receives the body of a 200 or 206 instead of HttpResponse::body. Its first error ends the exchange and is returned.
  using BodySink = std::function<absl::Status(const HttpResponse& head, absl::string_view bytes)>;

  // `health` outlives the client.
  HttpClient(const Options& options, HostHealth& health);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Any complete answer is OK, whatever its status. Unavailable: the host rests (RestOf; it is not asked), or gave no
  // or half an answer, or stalled (the message says which host and why). FailedPrecondition: its certificate is not
  // trusted. ResourceExhausted: a 2xx body over `max_body`; other bodies are cut there. Cancelled: `cancelled` (asked
  // about ten times a second; may be empty) said so. InvalidArgument: a header with control characters, a missing TLS
  // file.
  absl::StatusOr<HttpResponse> Exchange(const HttpRequest& request, size_t max_body,
                                        const std::function<bool()>& cancelled, const BodySink& sink = {});

 private:
  // One transfer's libcurl objects, with its connections.
  struct Handle;
  struct Transfer;

  std::unique_ptr<Handle> Take() ABSL_LOCKS_EXCLUDED(mutex_);
  void Return(std::unique_ptr<Handle> handle) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Perform(Handle& handle, const HttpRequest& request, Transfer& transfer);

  const Options options_;
  HostHealth& health_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Handle>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::image
