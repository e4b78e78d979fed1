// Attach and Detach, embedded against the CNI plugins bridge, host-local and portmap: the median of each, in
// milliseconds, over pods with and without a published port. Needs root, iptables and containernetworking-plugins.
// Usage: network_bench [rounds]
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/time/clock.h"
#include "cri/network/fake_host.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

constexpr char kConfig[] = R"({"cniVersion":"1.0.0","name":"bench","plugins":[
  {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,
   "ipam":{"type":"host-local","dataDir":"%s/ipam","ranges":[[{"subnet":"10.99.0.0/16"}]],
           "routes":[{"dst":"0.0.0.0/0"}]}},
  {"type":"portmap","snat":true,"capabilities":{"portMappings":true}}]})";

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Measure(const char* name, PodNetwork& network, int rounds, bool with_port) {
  std::vector<double> attach, detach, ready;
  for (int i = 0; i < rounds; ++i) {
    Netns netns;
    PodRequest request;
    request.pod = PodId(RandomHexId());
    request.pod_name = "bench";
    request.pod_namespace = "default";
    request.netns_path = netns.path();
    if (with_port) request.ports = {{Protocol::kTcp, 80, 20000 + i, ""}};
    auto timed = [&](std::vector<double>& into, auto&& work) {
      absl::Time start = absl::Now();
      absl::Status status = work();
      into.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
      if (!status.ok()) fprintf(stderr, "%s: %s\n", name, status.ToString().c_str());
    };
    timed(attach, [&] { return network.Attach(request).status(); });
    timed(ready, [&] { return network.Ready(); });
    timed(detach, [&] { return network.Detach(request); });
  }
  printf("%-10s %-12s attach %7.2f ms  detach %7.2f ms  ready %5.2f ms\n", name, with_port ? "one port" : "no port",
         Median(attach), Median(detach), Median(ready));
}

int Main(int rounds) {
  char dir[] = "/tmp/berth-network-bench-XXXXXX";
  if (mkdtemp(dir) == nullptr) return 1;
  FakeHost host;
  std::string conf = absl::StrCat(dir, "/conf");
  char text[1024];
  snprintf(text, sizeof text, kConfig, dir);
  (void)sys::MakeDirs(conf, 0755);
  auto fd = sys::Open(conf, O_RDONLY | O_DIRECTORY);
  (void)sys::ReplaceFileAt(fd->get(), "10.conflist", text, 0644);
  auto embedded = NewEmbeddedNetwork({.state_dir = absl::StrCat(dir, "/leases")});
  auto cni = NewCniNetwork({.conf_dirs = {conf}, .cache_dir = absl::StrCat(dir, "/cache")});
  for (bool with_port : {false, true}) {
    Measure("embedded", **embedded, rounds, with_port);
    Measure("cni", *cni, rounds, with_port);
  }
  return sys::RemoveTreeAt(AT_FDCWD, dir).ok() ? 0 : 1;
}

}  // namespace
}  // namespace berth::network

int main(int argc, char** argv) { return berth::network::Main(argc > 1 ? atoi(argv[1]) : 51); }
