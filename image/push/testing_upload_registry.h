// The writing half of a registry, in memory, for tests: uploads in chunks, blobs and manifests of any repository.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/pull/testing_server.h"

namespace berth::image::testing_upload_registry {

class UploadRegistry {
 public:
  using Before = std::function<bool(const testing_server::Request&, testing_server::Reply&)>;
  // `before` may answer first; it may call TakePart.
  explicit UploadRegistry(Before before = {});

  std::string host() const { return server_.host(); }
  std::vector<testing_server::Request> requests() const { return server_.requests(); }
  // "METHOD" of each request, in order, with "?mount" or "?digest" behind it.
  std::vector<std::string> Methods() const;
  std::map<std::string, std::string> blobs() const ABSL_LOCKS_EXCLUDED(mutex_);      // by digest
  std::map<std::string, std::string> manifests() const ABSL_LOCKS_EXCLUDED(mutex_);  // by "repository:tag"
  size_t open_uploads() const ABSL_LOCKS_EXCLUDED(mutex_);

  // As if the connection broke after `bytes` of a PATCH.
  void TakePart(const testing_server::Request& patch, size_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void ForgetUploads() ABSL_LOCKS_EXCLUDED(mutex_);
  // The answers to POST name this host for what follows.
  void SendElsewhere(const std::string& host) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  testing_server::Reply Handle(const testing_server::Request& request) ABSL_LOCKS_EXCLUDED(mutex_);
  testing_server::Reply HandleUpload(const testing_server::Request& request, const std::string& repository,
                                     const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Before before_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::string> uploads_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> blobs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> manifests_ ABSL_GUARDED_BY(mutex_);
  std::string elsewhere_ ABSL_GUARDED_BY(mutex_);
  int last_upload_ ABSL_GUARDED_BY(mutex_) = 0;
  testing_server::FaultServer server_;
};

}  // namespace berth::image::testing_upload_registry
