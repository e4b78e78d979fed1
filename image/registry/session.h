// Talks to one endpoint about one repository, as one user: authentication and redirects are settled here
// (opencontainers/distribution-spec, end-2 and end-3). Each call asks once; whether and whom to ask again is
// ServerQueue's decision. What is fetched is not yet verified, unless it says so. Thread-safe. Blocking.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/reference/reference.h"
#include "image/registry/challenge.h"
#include "image/registry/hosts_config.h"
#include "image/registry/http_client.h"
#include "image/registry/token_source.h"
#include "image/store.h"
#include "runtime/base/status.h"

namespace berth::image {

struct ManifestDocument {
  std::string bytes;
  std::string media_type;  // Content-Type without its parameters
  std::string digest;      // of the bytes, verified
};

// How far the transfer of a blob got: it goes on there, also at another endpoint.
struct BlobTransfer {
  std::string digest;
  uint64_t size = 0;
  uint64_t received = 0;  // bytes that the sink took
};

// Takes the bytes of a blob, in order.
using BlobSink = std::function<absl::Status(absl::string_view bytes)>;
// Asked often, in any thread; may be empty.
using Cancelled = std::function<bool()>;

class RegistrySession {
 public:
  struct Context {  // outlives the session
    HttpClient* http;
    TokenSource* tokens;
    Cancelled cancelled;
  };
  static constexpr size_t kMaxManifest = 4 << 20;

  // Credentials are used only when `endpoint` is no mirror.
  RegistrySession(Endpoint endpoint, Reference reference, Credentials credentials, Context context);

  const Endpoint& endpoint() const { return endpoint_; }

  // Errors of all: NotFound; Unauthenticated (401); PermissionDenied (403); Unavailable for what may be better in a
  // moment; Cancelled; FailedPrecondition when credentials would travel in the clear, or for answers that the protocol
  // does not know; ResourceExhausted for a document over its limit; DataLoss as said below.

  // `selector` is a tag or a digest. DataLoss when the bytes have not the digest asked for, or not the one that the
  // registry says they have.
  absl::StatusOr<ManifestDocument> GetManifest(absl::string_view selector);

  // A small blob, whole and verified. DataLoss when digest or size is not as promised.
  absl::StatusOr<std::string> GetDocument(absl::string_view digest, uint64_t size);

  // Gives `sink` the blob's bytes from `transfer.received` on, and counts them there; by Range when that is not 0.
  // DataLoss when the server has more bytes than `transfer.size`, or answers OK with fewer. The digest is for the sink
  // to check. An error of `sink` ends the transfer and is returned as it is. `stopped` cancels like the context.
  absl::Status GetBlob(BlobTransfer& transfer, const BlobSink& sink, const Cancelled& stopped = {});

  // Exactly these bytes of a blob of `size` bytes. Unimplemented when the server gives the whole blob instead.
  absl::StatusOr<std::string> GetRange(absl::string_view digest, uint64_t size, uint64_t from, uint64_t length,
                                       const Cancelled& stopped = {});

 private:
  struct Get {
    std::string path;  // below the repository
    std::vector<std::pair<std::string, std::string>> headers;
    size_t max_body = 0;
    HttpClient::BodySink sink;
    Cancelled stopped;
  };
  struct Answer {
    HttpResponse response;
    bool own_origin = true;     // not redirected elsewhere
    std::string authorization;  // that was sent
  };

  absl::StatusOr<HttpResponse> Send(const Get& get);
  absl::StatusOr<Answer> Follow(const Get& get);
  absl::Status Authenticate(const Answer& answer) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::string> Authorization(const std::vector<Challenge>& challenges, absl::string_view refused);
  absl::Status StatusOfAnswer(const HttpResponse& response, absl::string_view what) const;
  absl::Status CheckBlobHead(const HttpResponse& head, const BlobTransfer& transfer, uint64_t& skip) const;

  const Endpoint endpoint_;
  const Reference reference_;
  const Credentials credentials_;
  const Context context_;
  absl::Mutex mutex_;
  std::string authorization_ ABSL_GUARDED_BY(mutex_);  // header to send, once a challenge was answered
};

}  // namespace berth::image
