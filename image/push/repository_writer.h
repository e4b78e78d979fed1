// What a push asks of one repository: is a blob there, take it from another repository, put a manifest
// (opencontainers/distribution-spec, "Push" and end-2, end-4, end-7, end-11).
// Thread-safe. Blocking.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "image/registry/retry.h"
#include "image/registry/session.h"
#include "runtime/base/status.h"

namespace berth::image {

// The error for an answer that is no success: Unauthenticated (401), PermissionDenied (403, and 401 for credentials
// that are good but do not suffice), NotFound (404), InvalidArgument (other 4xx: the registry refuses what was sent,
// and the message says what it says), ResourceExhausted (413), FailedPrecondition (405: nothing can be pushed there),
// Unavailable for what may be better in a moment, FailedPrecondition for answers that the protocol does not know.
absl::Status StatusOfWrite(const RegistrySession& session, const HttpResponse& response, absl::string_view what);

// Whether a request that was answered so may be answered better in a moment.
bool IsTransient(int http_status);

// The place that an answer's Location names. InvalidArgument when it names none; PermissionDenied when it leads from
// https to http.
absl::StatusOr<Url> NextLocation(const RegistrySession::Written& written);

class RepositoryWriter {
 public:
  // `session` is that of a registry itself, no mirror's, and outlives the object.
  RepositoryWriter(RegistrySession* session, const RetryPolicy& retry, Cancelled cancelled)
      : session_(session), retry_(retry), cancelled_(std::move(cancelled)) {}

  // Its size; NotFound when it is not there.
  absl::StatusOr<uint64_t> BlobSize(absl::string_view digest);

  // Makes a blob of another repository of the same registry one of this. False when the registry does not do that.
  absl::StatusOr<bool> Mount(absl::string_view digest, absl::string_view from);

  // DataLoss when the registry says that what it took has another digest.
  absl::Status PutManifest(absl::string_view tag, absl::string_view media_type, absl::string_view bytes,
                           absl::string_view digest);

  // RegistrySession::Send, made again after a pause when there is no answer or a transient one: only for what is as
  // good when it is done twice.
  absl::StatusOr<RegistrySession::Written> SendRetrying(const RegistrySession::Write& write);
  // After the failure number `failures`, counted from 1: waits before the next try, or gives `status` back when that
  // was the last one or it is no Unavailable.
  absl::Status PauseAfter(const absl::Status& status, int failures) const;

  RegistrySession* session() const { return session_; }

 private:
  RegistrySession* const session_;
  const RetryPolicy retry_;
  const Cancelled cancelled_;
};

}  // namespace berth::image
