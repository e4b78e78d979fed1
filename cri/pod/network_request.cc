#include "cri/pod/network_request.h"

#include <sys/stat.h>

namespace berth::pod {

network::PodRequest NetworkRequest(const state::v1::Pod& pod) {
  network::PodRequest request;
  request.pod = PodId(pod.id());
  request.pod_name = pod.spec().name();
  request.pod_namespace = pod.spec().namespace_();
  request.pod_uid = pod.spec().uid();
  request.cgroup_parent = pod.spec().cgroup_parent();
  request.annotations = {pod.spec().annotations().begin(), pod.spec().annotations().end()};
  for (const auto& p : pod.spec().ports()) {
    if (p.host_port() <= 0) continue;
    request.ports.push_back(
        {static_cast<network::Protocol>(p.protocol()), p.container_port(), p.host_port(), p.host_ip()});
  }
  request.dns_servers = {pod.spec().dns().servers().begin(), pod.spec().dns().servers().end()};
  request.dns_searches = {pod.spec().dns().searches().begin(), pod.spec().dns().searches().end()};
  request.dns_options = {pod.spec().dns().options().begin(), pod.spec().dns().options().end()};
  struct stat st;
  if (!pod.netns_path().empty() && stat(pod.netns_path().c_str(), &st) == 0) request.netns_path = pod.netns_path();
  return request;
}

}  // namespace berth::pod
