// A CRI server that keeps pods, containers and images in memory, for tests of the command line:
// just the calls that it makes, each of which can be made to fail.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "berth/v1/berth.pb.h"
#include "cri/v1/api.pb.h"

namespace berth::cli {

class FakeCri {
 public:
  // Serves on a socket in a directory of its own until it is destroyed. With `admin` berth.v1 is
  // there, too.
  explicit FakeCri(bool admin = false);
  ~FakeCri();
  const std::string& socket() const { return socket_; }

  struct Container {
    std::string pod_id;
    ::runtime::v1::ContainerConfig config;
    ::runtime::v1::ContainerState state = ::runtime::v1::CONTAINER_CREATED;
    int exit_code = 0;
    std::string image_id;
  };
  struct Failure {
    int code = 0;  // a gRPC code
    std::string message;
    int skip = 0;  // so many calls still succeed
  };

  // What a test fills in and looks at; not while a call is under way.
  std::map<std::string, ::runtime::v1::PodSandbox> pods;  // by id
  std::map<std::string, Container> containers;            // by id
  std::map<std::string, ::runtime::v1::Image> images;     // present, by reference
  std::map<std::string, ::runtime::v1::Image> registry;   // can be pulled, by reference
  std::map<std::string, Failure> failures;                // by the name of the call
  std::map<std::string, int> exits;                       // containers so named end at once, with this code
  ::berth::v1::DiskUsageResponse disk;                    // what DiskUsage answers
  ::berth::v1::PruneImagesResponse prune;                 // likewise
  ::berth::v1::PruneImagesRequest prune_request;
  ::berth::v1::TagImageRequest tag_request;
  int hang_milliseconds = 0;       // how long StartContainer takes
  std::vector<std::string> calls;  // in order, but for lists and status

  ::runtime::v1::PodSandboxConfig last_pod;
  ::runtime::v1::ExecSyncRequest exec_request;
  ::runtime::v1::ExecSyncResponse exec_answer;
  ::runtime::v1::ExecRequest exec_stream;
  ::runtime::v1::AttachRequest attach_stream;
  ::runtime::v1::PortForwardRequest forward_request;
  std::string url =
      "http://127.0.0.1:1/session/SECRET";  // of all streams; streaming.sock beside the socket is asked first
  ::runtime::v1::PullImageRequest pull_request;
  std::vector<std::pair<std::string, int64_t>> stops;  // containers' names and grace

  std::string AddPod(const std::string& name, const std::string& ns = "default", bool ready = true);
  std::string AddContainer(const std::string& pod_id, const std::string& name, bool running = true);
  void AddToRegistry(const std::string& reference, const std::string& id);

 private:
  struct Server;
  std::string directory_, socket_;
  std::unique_ptr<Server> server_;
};

}  // namespace berth::cli
