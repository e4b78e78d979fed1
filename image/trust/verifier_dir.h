// Programs that judge images: each file of a directory is run with the image's name and digest, and all must agree. The
// contract is that of containerd's docs/image-verification.md, so that its verifiers work as they are.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::image {

struct VerifierDir {
  std::string path;                            // one that is missing or empty accepts everything
  int most = 10;                               // of the files in lexical order the first so many are run; -1: all
  absl::Duration timeout = absl::Seconds(10);  // for each
};

struct JudgedImage {
  std::string name;        // normalised
  std::string digest;      // of what the name means: an index, or a manifest
  std::string media_type;  // as the registry sent it
  uint64_t size = 0;       // bytes of the document
};

// Runs them one after the other. PermissionDenied names the verifier that refused, with its reason, or that could not
// be run to its end. Verifiers run as the daemon's user with nothing but PATH in their environment; one that takes too
// long is killed with all that it started. What they write to stderr is logged at debug. Thread-safe. Blocking.
absl::Status AskVerifiers(const VerifierDir& dir, const JudgedImage& image);

}  // namespace berth::image
