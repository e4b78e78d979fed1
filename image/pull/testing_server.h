// Servers for tests on loopback: one that fails in ways that are told to it, and Debian's docker-registry.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/pull/testing_image.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image::testing_server {

struct Request {
  std::string method;
  std::string target;                          // path and query
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

struct Reply {
  int status = 200;
  std::vector<std::string> headers;  // "Name: value"; Content-Length is added
  std::string body;
  bool announce = true;                  // without: no Content-Length, the end of the connection ends the body
  size_t cut_after = std::string::npos;  // close the connection after so many bytes of the body
  int delay_ms = 0;
  size_t piece = 0;              // not 0: the body is sent in such pieces, with a pause of 100 ms after each
  bool endless_body = false;     // the body again and again, until the client has enough; set announce to false
  bool endless_headers = false;  // likewise a header, before any body
};

// One connection at a time per thread, one request per connection.
class FaultServer {
 public:
  using Handler = std::function<Reply(const Request&)>;
  explicit FaultServer(Handler handler);
  ~FaultServer();

  int port() const { return port_; }
  std::string host() const { return absl::StrCat("127.0.0.1:", port_); }
  // What came so far.
  std::vector<Request> requests() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Accept();
  void SendBody(int connection, const Reply& reply);
  void Serve(sys::UniqueFd connection);

  Handler handler_;
  int port_ = 0;  // set by what makes the listener: stands before it
  sys::UniqueFd listener_;
  std::atomic<bool> stop_{false};
  mutable absl::Mutex mutex_;
  std::vector<Request> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> workers_ ABSL_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

// A handler that serves the image under /v2/app/ as a registry does, Range included. `before` may answer first.
FaultServer::Handler Serving(const testing_image::TestImage& image,
                             std::function<bool(const Request&, Reply&)> before = {});

// docker-registry with its data in `dir`. With a user, it asks for basic authentication.
class DockerRegistry {
 public:
  // Unavailable, with the reason, when the program (or htpasswd, with a user) is not installed.
  static absl::StatusOr<std::unique_ptr<DockerRegistry>> Start(const std::string& dir, const std::string& user = "",
                                                               const std::string& password = "");
  ~DockerRegistry();
  std::string host() const { return absl::StrCat("127.0.0.1:", port_); }
  // Uploads all blobs and puts `manifest` (or the image's own) under repository:tag.
  absl::Status Push(const testing_image::TestImage& image, const std::string& repository, const std::string& tag,
                    const std::string& manifest = "");

 private:
  DockerRegistry() = default;
  pid_t pid_ = -1;
  int port_ = 0;
  std::string user_;  // "user:password", or empty
};

}  // namespace berth::image::testing_server
