#include "cli/testing/fake_cri.h"

#include <grpcpp/grpcpp.h>
#include <stdlib.h>
#include <unistd.h>

#include <mutex>

#include "berth/v1/berth.grpc.pb.h"
#include "cri/v1/api.grpc.pb.h"

namespace berth::cli {
namespace {

namespace cri = ::runtime::v1;
using grpc::ServerContext;

std::string NewId(char kind, size_t number) {
  std::string digits = std::to_string(number);
  return std::string(1, kind) + std::string(63 - digits.size(), '0') + digits;
}

// One mutex for all: the commands call from several threads.
class Base {
 public:
  explicit Base(FakeCri* fake) : fake_(fake) {}

 protected:
  grpc::Status Check(const char* call, bool record = true) {
    if (record) fake_->calls.push_back(call);
    auto failure = fake_->failures.find(call);
    if (failure == fake_->failures.end() || failure->second.skip-- > 0) return grpc::Status::OK;
    return grpc::Status(static_cast<grpc::StatusCode>(failure->second.code), failure->second.message);
  }
  FakeCri* fake_;
  inline static std::mutex mu_;
};

#define LOCK_AND_CHECK(...)                  \
  std::lock_guard<std::mutex> lock(mu_);     \
  grpc::Status checked = Check(__VA_ARGS__); \
  if (!checked.ok()) return checked

class Runtime final : public cri::RuntimeService::Service, Base {
 public:
  using Base::Base;

  grpc::Status Version(ServerContext*, const cri::VersionRequest*, cri::VersionResponse* out) override {
    LOCK_AND_CHECK("Version", false);
    out->set_runtime_name("fake");
    out->set_runtime_version("9.9");
    out->set_runtime_api_version("v1");
    return grpc::Status::OK;
  }

  grpc::Status Status(ServerContext*, const cri::StatusRequest*, cri::StatusResponse* out) override {
    LOCK_AND_CHECK("Status", false);
    auto* condition = out->mutable_status()->add_conditions();
    condition->set_type("NetworkReady");
    condition->set_reason("NetworkPluginNotReady");
    condition->set_message("no CNI");
    out->add_runtime_handlers();
    out->add_runtime_handlers()->set_name("berth");
    return grpc::Status::OK;
  }

  grpc::Status RuntimeConfig(ServerContext*, const cri::RuntimeConfigRequest*,
                             cri::RuntimeConfigResponse* out) override {
    out->mutable_linux()->set_cgroup_driver(cri::CGROUPFS);
    return grpc::Status::OK;
  }

  grpc::Status ListPodSandbox(ServerContext*, const cri::ListPodSandboxRequest*,
                              cri::ListPodSandboxResponse* out) override {
    LOCK_AND_CHECK("ListPodSandbox", false);
    for (const auto& [id, pod] : fake_->pods) *out->add_items() = pod;
    return grpc::Status::OK;
  }

  grpc::Status RunPodSandbox(ServerContext*, const cri::RunPodSandboxRequest* in,
                             cri::RunPodSandboxResponse* out) override {
    LOCK_AND_CHECK("RunPodSandbox");
    fake_->last_pod = in->config();
    cri::PodSandbox pod;
    pod.set_id(NewId('a', fake_->calls.size()));
    *pod.mutable_metadata() = in->config().metadata();
    *pod.mutable_labels() = in->config().labels();
    *pod.mutable_annotations() = in->config().annotations();
    pod.set_runtime_handler(in->runtime_handler());
    pod.set_created_at(1);
    fake_->pods[pod.id()] = pod;
    out->set_pod_sandbox_id(pod.id());
    return grpc::Status::OK;
  }

  grpc::Status PodSandboxStatus(ServerContext*, const cri::PodSandboxStatusRequest* in,
                                cri::PodSandboxStatusResponse* out) override {
    LOCK_AND_CHECK("PodSandboxStatus", false);
    auto pod = fake_->pods.find(in->pod_sandbox_id());
    if (pod == fake_->pods.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such pod");
    out->mutable_status()->set_id(pod->first);
    *out->mutable_status()->mutable_metadata() = pod->second.metadata();
    out->mutable_status()->mutable_network()->set_ip("10.1.2.3");
    if (in->verbose()) {
      (*out->mutable_info())["json"] = R"({"pid":42})";
      (*out->mutable_info())["text"] = "not json";
    }
    return grpc::Status::OK;
  }

  grpc::Status StopPodSandbox(ServerContext*, const cri::StopPodSandboxRequest* in,
                              cri::StopPodSandboxResponse*) override {
    LOCK_AND_CHECK("StopPodSandbox");
    auto pod = fake_->pods.find(in->pod_sandbox_id());
    if (pod != fake_->pods.end()) pod->second.set_state(cri::SANDBOX_NOTREADY);
    for (auto& [id, c] : fake_->containers) {
      if (c.pod_id == in->pod_sandbox_id()) c.state = cri::CONTAINER_EXITED;
    }
    return grpc::Status::OK;
  }

  grpc::Status RemovePodSandbox(ServerContext*, const cri::RemovePodSandboxRequest* in,
                                cri::RemovePodSandboxResponse*) override {
    LOCK_AND_CHECK("RemovePodSandbox");
    fake_->pods.erase(in->pod_sandbox_id());
    for (auto c = fake_->containers.begin(); c != fake_->containers.end();) {
      c = c->second.pod_id == in->pod_sandbox_id() ? fake_->containers.erase(c) : std::next(c);
    }
    return grpc::Status::OK;
  }

  grpc::Status ListContainers(ServerContext*, const cri::ListContainersRequest*,
                              cri::ListContainersResponse* out) override {
    LOCK_AND_CHECK("ListContainers", false);
    for (const auto& [id, c] : fake_->containers) {
      auto* item = out->add_containers();
      item->set_id(id);
      item->set_pod_sandbox_id(c.pod_id);
      *item->mutable_metadata() = c.config.metadata();
      *item->mutable_image() = c.config.image();
      item->set_image_id(c.image_id);
      *item->mutable_labels() = c.config.labels();
      *item->mutable_annotations() = c.config.annotations();
      item->set_state(c.state);
      item->set_created_at(1);
    }
    return grpc::Status::OK;
  }

  grpc::Status CreateContainer(ServerContext*, const cri::CreateContainerRequest* in,
                               cri::CreateContainerResponse* out) override {
    LOCK_AND_CHECK("CreateContainer");
    std::string id = NewId('c', fake_->calls.size());
    fake_->containers[id] = {in->pod_sandbox_id(), in->config(), cri::CONTAINER_CREATED, 0, ""};
    out->set_container_id(id);
    return grpc::Status::OK;
  }

  grpc::Status StartContainer(ServerContext* context, const cri::StartContainerRequest* in,
                              cri::StartContainerResponse*) override {
    for (int i = 0; i < fake_->hang_milliseconds && !context->IsCancelled(); ++i) usleep(1000);
    LOCK_AND_CHECK("StartContainer");
    auto& container = fake_->containers[in->container_id()];
    container.state = cri::CONTAINER_RUNNING;
    auto exit = fake_->exits.find(container.config.metadata().name());
    if (exit != fake_->exits.end()) {
      container.state = cri::CONTAINER_EXITED;
      container.exit_code = exit->second;
    }
    return grpc::Status::OK;
  }

  grpc::Status StopContainer(ServerContext*, const cri::StopContainerRequest* in,
                             cri::StopContainerResponse*) override {
    LOCK_AND_CHECK("StopContainer");
    auto& container = fake_->containers[in->container_id()];
    container.state = cri::CONTAINER_EXITED;
    fake_->stops.emplace_back(container.config.metadata().name(), in->timeout());
    return grpc::Status::OK;
  }

  grpc::Status RemoveContainer(ServerContext*, const cri::RemoveContainerRequest* in,
                               cri::RemoveContainerResponse*) override {
    LOCK_AND_CHECK("RemoveContainer");
    fake_->containers.erase(in->container_id());
    return grpc::Status::OK;
  }

  grpc::Status ContainerStatus(ServerContext*, const cri::ContainerStatusRequest* in,
                               cri::ContainerStatusResponse* out) override {
    LOCK_AND_CHECK("ContainerStatus", false);
    auto found = fake_->containers.find(in->container_id());
    if (found == fake_->containers.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such container");
    auto* status = out->mutable_status();
    status->set_id(found->first);
    *status->mutable_metadata() = found->second.config.metadata();
    status->set_state(found->second.state);
    status->set_exit_code(found->second.exit_code);
    status->set_reason(found->second.exit_code == 0 ? "Completed" : "Error");
    status->set_log_path(found->second.config.log_path());
    const auto& config = found->second.config;
    (*out->mutable_info())["info"] = std::string(R"({"config":{"stdin":)") + (config.stdin() ? "true" : "false") +
                                     R"(,"tty":)" + (config.tty() ? "true" : "false") + "}}";
    return grpc::Status::OK;
  }

  grpc::Status ListContainerStats(ServerContext*, const cri::ListContainerStatsRequest*,
                                  cri::ListContainerStatsResponse* out) override {
    LOCK_AND_CHECK("ListContainerStats");
    for (const auto& [id, c] : fake_->containers) {
      auto* stats = out->add_stats();
      stats->mutable_attributes()->set_id(id);
      *stats->mutable_attributes()->mutable_metadata() = c.config.metadata();
      // Each look finds 50 ms more CPU time, 100 ms later: half a core.
      auto look = static_cast<int64_t>(fake_->calls.size());
      stats->mutable_cpu()->set_timestamp(look * 100'000'000);
      stats->mutable_cpu()->mutable_usage_core_nano_seconds()->set_value(static_cast<uint64_t>(look) * 50'000'000);
      stats->mutable_memory()->mutable_working_set_bytes()->set_value(12'345'678);
    }
    return grpc::Status::OK;
  }

  grpc::Status ExecSync(ServerContext*, const cri::ExecSyncRequest* in, cri::ExecSyncResponse* out) override {
    LOCK_AND_CHECK("ExecSync");
    fake_->exec_request = *in;
    *out = fake_->exec_answer;
    return grpc::Status::OK;
  }

  grpc::Status Exec(ServerContext*, const cri::ExecRequest* in, cri::ExecResponse* out) override {
    LOCK_AND_CHECK("Exec");
    fake_->exec_stream = *in;
    out->set_url(fake_->url);
    return grpc::Status::OK;
  }

  grpc::Status Attach(ServerContext*, const cri::AttachRequest* in, cri::AttachResponse* out) override {
    LOCK_AND_CHECK("Attach");
    fake_->attach_stream = *in;
    out->set_url(fake_->url);
    return grpc::Status::OK;
  }

  grpc::Status PortForward(ServerContext*, const cri::PortForwardRequest* in, cri::PortForwardResponse* out) override {
    LOCK_AND_CHECK("PortForward");
    fake_->forward_request = *in;
    out->set_url(fake_->url);
    return grpc::Status::OK;
  }
};

class Images final : public cri::ImageService::Service, Base {
 public:
  using Base::Base;

  grpc::Status ListImages(ServerContext*, const cri::ListImagesRequest*, cri::ListImagesResponse* out) override {
    LOCK_AND_CHECK("ListImages", false);
    for (const auto& [reference, image] : fake_->images) *out->add_images() = image;
    return grpc::Status::OK;
  }

  grpc::Status ImageStatus(ServerContext*, const cri::ImageStatusRequest* in, cri::ImageStatusResponse* out) override {
    LOCK_AND_CHECK("ImageStatus", false);
    for (const auto& [reference, image] : fake_->images) {
      if (reference == in->image().image() || image.id() == in->image().image()) *out->mutable_image() = image;
    }
    return grpc::Status::OK;
  }

  grpc::Status PullImage(ServerContext*, const cri::PullImageRequest* in, cri::PullImageResponse* out) override {
    LOCK_AND_CHECK("PullImage");
    fake_->pull_request = *in;
    auto found = fake_->registry.find(in->image().image());
    if (found == fake_->registry.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such manifest");
    fake_->images.insert(*found);
    out->set_image_ref(found->second.id());
    return grpc::Status::OK;
  }

  grpc::Status RemoveImage(ServerContext*, const cri::RemoveImageRequest* in, cri::RemoveImageResponse*) override {
    LOCK_AND_CHECK("RemoveImage");
    for (auto i = fake_->images.begin(); i != fake_->images.end();) {
      bool match = i->first == in->image().image() || i->second.id() == in->image().image();
      i = match ? fake_->images.erase(i) : std::next(i);
    }
    return grpc::Status::OK;
  }
};

class Admin final : public berth::v1::Admin::Service, Base {
 public:
  using Base::Base;

  grpc::Status Info(ServerContext*, const berth::v1::InfoRequest*, berth::v1::InfoResponse* out) override {
    out->set_kernel("6.1");
    out->set_network_mode(berth::v1::NETWORK_MODE_BUILTIN);
    return grpc::Status::OK;
  }

  grpc::Status PullWithProgress(ServerContext*, const berth::v1::PullRequest* in,
                                grpc::ServerWriter<berth::v1::PullProgress>* out) override {
    LOCK_AND_CHECK("PullWithProgress");
    berth::v1::PullProgress progress;
    progress.set_phase(berth::v1::PULL_PHASE_DOWNLOADING);
    auto* layer = progress.add_layers();
    layer->set_digest("sha256:a1b2c3d4e5f60718");
    layer->set_phase(berth::v1::PULL_PHASE_DOWNLOADING);
    layer->set_bytes_done(10);
    layer->set_bytes_total(100);
    out->Write(progress);
    auto found = fake_->registry.find(in->image());
    if (found == fake_->registry.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such manifest");
    fake_->images.insert(*found);
    progress.set_phase(berth::v1::PULL_PHASE_DONE);
    progress.mutable_layers(0)->set_phase(berth::v1::PULL_PHASE_DONE);
    progress.mutable_layers(0)->set_bytes_done(100);
    progress.set_image_id(found->second.id());
    out->Write(progress);
    return grpc::Status::OK;
  }

  grpc::Status TagImage(ServerContext*, const berth::v1::TagImageRequest* in,
                        berth::v1::TagImageResponse* out) override {
    LOCK_AND_CHECK("TagImage");
    fake_->tag_request = *in;
    out->set_name("docker.io/library/" + in->name());
    return grpc::Status::OK;
  }

  grpc::Status PruneImages(ServerContext*, const berth::v1::PruneImagesRequest* in,
                           berth::v1::PruneImagesResponse* out) override {
    LOCK_AND_CHECK(in->dry_run() ? "PruneImages (dry)" : "PruneImages");
    fake_->prune_request = *in;
    *out = fake_->prune;
    return grpc::Status::OK;
  }

  grpc::Status DiskUsage(ServerContext*, const berth::v1::DiskUsageRequest*,
                         berth::v1::DiskUsageResponse* out) override {
    LOCK_AND_CHECK("DiskUsage", false);
    *out = fake_->disk;
    return grpc::Status::OK;
  }
};

}  // namespace

struct FakeCri::Server {
  explicit Server(FakeCri* fake) : runtime(fake), images(fake), admin(fake) {}
  Runtime runtime;
  Images images;
  Admin admin;
  std::unique_ptr<grpc::Server> grpc;
};

FakeCri::FakeCri(bool admin) : server_(std::make_unique<Server>(this)) {
  char name[] = "/tmp/berth-cri-XXXXXX";
  directory_ = mkdtemp(name);
  socket_ = directory_ + "/s";
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket_, grpc::InsecureServerCredentials());
  builder.RegisterService(&server_->runtime);
  builder.RegisterService(&server_->images);
  if (admin) builder.RegisterService(&server_->admin);
  server_->grpc = builder.BuildAndStart();
}

FakeCri::~FakeCri() {
  server_->grpc->Shutdown();
  unlink(socket_.c_str());
  rmdir(directory_.c_str());
}

std::string FakeCri::AddPod(const std::string& name, const std::string& ns, bool ready) {
  cri::PodSandbox pod;
  pod.set_id(NewId('b', pods.size()));
  pod.mutable_metadata()->set_name(name);
  pod.mutable_metadata()->set_namespace_(ns);
  pod.mutable_metadata()->set_uid("uid-" + name);
  pod.set_state(ready ? cri::SANDBOX_READY : cri::SANDBOX_NOTREADY);
  pod.set_created_at(1);
  pods[pod.id()] = pod;
  return pod.id();
}

std::string FakeCri::AddContainer(const std::string& pod_id, const std::string& name, bool running) {
  Container container;
  container.pod_id = pod_id;
  container.config.mutable_metadata()->set_name(name);
  container.config.mutable_image()->set_user_specified_image("img:1");
  container.state = running ? cri::CONTAINER_RUNNING : cri::CONTAINER_EXITED;
  std::string id = NewId('d', containers.size());
  containers[id] = container;
  return id;
}

void FakeCri::AddToRegistry(const std::string& reference, const std::string& id) {
  cri::Image image;
  image.set_id(id);
  image.add_repo_tags(reference);
  image.set_size(123'456'789);
  registry[reference] = image;
}

}  // namespace berth::cli
