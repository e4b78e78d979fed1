// What a push asks of one repository: is a blob there, take it from another repository, put a manifest
// (opencontainers/distribution-spec, "Push" and end-2, end-4, end-7, end-11).
// Thread-safe. Blocking.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "image/registry/session.h"
#include "runtime/base/status.h"

namespace berth::image {

// The error for an answer that is no success: Unauthenticated (401), PermissionDenied (403, and 401 for credentials
// that are good but do not suffice), NotFound (404), InvalidArgument (other 4xx: the registry refuses what was sent,
// and the message says what it says), ResourceExhausted (413), FailedPrecondition (405: nothing can be pushed there),
// Unavailable with "RegistryUnavailable: " in front for the rest.
absl::Status StatusOfWrite(const RegistrySession& session, const HttpResponse& response, absl::string_view what);

// The place that an answer's Location names. InvalidArgument when it names none; PermissionDenied when it leads from
// https to http.
absl::StatusOr<Url> NextLocation(const RegistrySession::Written& written);

class RepositoryWriter {
 public:
  // `session` is that of a registry itself, no mirror's, and outlives the object.
  explicit RepositoryWriter(RegistrySession* session) : session_(session) {}

  // Its size; NotFound when it is not there.
  absl::StatusOr<uint64_t> BlobSize(absl::string_view digest);

  // Makes a blob of another repository of the same registry one of this. False when the registry does not do that.
  absl::StatusOr<bool> Mount(absl::string_view digest, absl::string_view from);

  // DataLoss when the registry says that what it took has another digest.
  absl::Status PutManifest(absl::string_view tag, absl::string_view media_type, absl::string_view bytes,
                           absl::string_view digest);

  RegistrySession* session() const { return session_; }

 private:
  RegistrySession* session_;
};

}  // namespace berth::image
