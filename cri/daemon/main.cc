// berthd: the wiring diagram. Everything is made here, in the order in which it depends on each other.
#include <malloc.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/notification.h"
#include "commit.h"  // written by the build
#include "cri/cdi/registry.h"
#include "cri/daemon/command_line.h"
#include "cri/daemon/config.h"
#include "cri/daemon/parts.h"
#include "cri/pod/engine.h"
#include "cri/service/server.h"
#include "cri/spec/features.h"
#include "cri/state/state_store.h"
#include "cri/streaming/server.h"
#include "runtime/sys/file.h"

#ifndef BERTH_VERSION
#error "the build defines BERTH_VERSION"
#endif

namespace berth::daemon {
namespace {

// Calls under way when the daemon is told to end get this long. Containers are not touched.
constexpr absl::Duration kShutdownGrace = absl::Seconds(10);
// Threads that start streaming sessions, at most: each asks a shim, which may not answer for a while.
constexpr int kMostStarting = 128;
constexpr size_t kMostWaiting = 1024;

std::string ShimBinary(const Config& config) {
  if (!config.shim_binary.empty()) return config.shim_binary;
  char self[4096];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  std::string path(self, n > 0 ? static_cast<size_t>(n) : 0);
  std::string beside = path.substr(0, path.rfind('/') + 1) + "berth-shim";
  return access(beside.c_str(), X_OK) == 0 ? beside : "/usr/libexec/berth/berth-shim";
}

void LogPull(const image::PullSummary& pull) {
  spdlog::info("pulled {} as {} in {:.2f} s: {} bytes, {} layers fetched, {} already there", pull.reference,
               pull.id.str(), absl::ToDoubleSeconds(pull.took), pull.bytes, pull.layers_fetched, pull.layers_there);
}

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

absl::StatusOr<std::unique_ptr<image::Store>> OpenImages(const Config& config) {
  image::Store::Options options = ImageOptionsOf(config);
  options.pulled = LogPull;
  options.healed = [](absl::string_view what) { spdlog::warn("images: {}", std::string(what)); };
  return image::Store::Open(std::move(options));
}

void ProbeLabels(const Config& config, security::Confinement& out) {
  out.apparmor = security::AppArmor::Probe();
  if (auto profile = out.apparmor->DefaultProfile(); out.apparmor->available() && !profile.ok()) {
    spdlog::warn("containers that name no AppArmor profile run without one: {}", profile.status().ToString());
  }
  out.selinux = security::Selinux::Probe(config.selinux == SelinuxMode::kOff);
  spdlog::info("seccomp: {}; AppArmor: {}; SELinux: {}", out.has_seccomp, out.apparmor->available(),
               out.selinux->available() ? "true" : out.selinux->reason());
}

absl::StatusOr<spec::LaunchOptions> LaunchOptionsOf(const Config& config, cdi::Registry& cdi) {
  spec::LaunchOptions options;
  options.privileged_without_host_devices = config.privileged_without_host_devices;
  options.device_ownership = config.device_ownership_from_security_context;
  ASSIGN_OR_RETURN(options.rlimits, spec::ParseRlimits(config.default_rlimits, "default_rlimits"));
  if (!config.blockio_config_file.empty()) {
    ASSIGN_OR_RETURN(options.block_io, spec::LoadBlockIoClasses(config.blockio_config_file), "blockio_config_file");
  }
  options.resctrl_root = config.resctrl_root;
  options.pids_limit = config.pids_limit;
  options.max_log_line = static_cast<uint32_t>(
      config.max_container_log_line_size > 0 ? config.max_container_log_line_size : kMaxContainerLogLine);
  options.cdi = &cdi;
  return options;
}

streaming::Server::Options StreamingOptions(const Config& config) {
  streaming::Server::Options options;
  options.address = config.streaming.address;
  options.port = static_cast<uint16_t>(config.streaming.port);
  options.unix_socket = DirectoryOf(config.socket) + "/streaming.sock";
  options.tls_cert = config.streaming.tls_cert;
  options.tls_key = config.streaming.tls_key;
  options.tls_client_ca = config.streaming.tls_client_ca;
  options.url_lifetime = absl::Seconds(config.streaming.url_lifetime);
  options.max_pending = static_cast<size_t>(config.streaming.max_pending);
  options.max_sessions = static_cast<size_t>(config.streaming.max_sessions);
  return options;
}

// What a pull needs for a moment goes back to the machine when it ends. glibc would keep it: for every thread an arena
// of its own, into which buffers of megabytes are taken once one of their size was freed (mallopt(3)).
void BoundMemory() {
  constexpr int kArenas = 4, kMapped = 128 << 10;
  mallopt(M_ARENA_MAX, kArenas);
  mallopt(M_MMAP_THRESHOLD, kMapped);
  mallopt(M_TRIM_THRESHOLD, kMapped);
}

// Waits for SIGTERM or SIGINT, which every thread has blocked.
void AwaitEnd() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  int signal = 0;
  while (sigwait(&set, &signal) != 0) continue;
  spdlog::info("{}: ending; containers go on", strsignal(signal));
}

absl::Status Run(const Config& config) {
  RETURN_IF_ERROR(sys::MakeDirs(config.root, 0711), "root");
  RETURN_IF_ERROR(sys::MakeDirs(config.state, 0711), "state");
  ASSIGN_OR_RETURN(Claim claim, ClaimDirectories(config));
  ASSIGN_OR_RETURN(auto store, state::OpenSqliteStateStore(config.root + "/state.db"));
  ASSIGN_OR_RETURN(auto images, OpenImages(config), "images");
  ASSIGN_OR_RETURN(auto network, MakeNetwork(config), "network");
  ASSIGN_OR_RETURN(auto cgroups, cgroup::Hierarchy::Probe(), "cgroups");
  security::Confinement confinement;
  ProbeLabels(config, confinement);
  cdi::Registry cdi(config.cdi_spec_dirs);
  ASSIGN_OR_RETURN(spec::LaunchOptions launch, LaunchOptionsOf(config, cdi));
  spec::SysctlDefaults sysctls{config.enable_unprivileged_ports, config.enable_unprivileged_icmp};
  ASSIGN_OR_RETURN(cgroup::Driver driver, cgroup::ChooseDriver(config.cgroup_driver, *cgroups), "cgroup_driver");
  std::string parent(config.cgroup_parent.empty() ? cgroup::DefaultParent(driver) : config.cgroup_parent);
  RETURN_IF_ERROR(cgroup::PathOfPod(driver, parent, "pod"), "cgroup_parent");
  cgroup::PodCgroups pod_cgroups(*cgroups, driver, ShimBinary(config));
  const spec::Features features = spec::ProbeFeatures(*images);
  pod::Engine engine({config.state, parent, config.image.copy_volumes, sysctls, std::move(launch), features,
                      absl::Seconds(config.network.detach_patience)},
                     {*store, *images, *network, *cgroups, pod_cgroups, confinement});
  ASSIGN_OR_RETURN(auto launcher, client::ShimLauncher::Start({ShimBinary(config), engine.Events()}), "shims");
  engine.UseLauncher(*launcher);
  // Before the launcher ends, whichever way this function is left.
  auto end = absl::MakeCleanup([&] {
    network->Interrupt();
    engine.End();
  });
  RETURN_IF_ERROR(engine.Recover(), "recovery");

  service::DaemonInfo info{
      BERTH_VERSION,
      BERTH_COMMIT,
      config.state,
      config.root,
      config.network.mode == NetworkMode::kCni ? "cni" : "embedded",
      FormatConfig(config),
      cgroups->version(),
      features,
      &cdi,
      {confinement.has_seccomp, confinement.apparmor->available(), confinement.selinux->available()}};
  RETURN_IF_ERROR(sys::MakeDirs(DirectoryOf(config.socket), 0711), "socket");
  pod::WorkerPool starting(kMostStarting, kMostWaiting);  // ends after the streaming server, which posts to it
  auto post = [&starting](std::function<void()> work) { return starting.Post(std::move(work)); };
  ASSIGN_OR_RETURN(
      auto streaming,
      streaming::Server::Start(StreamingOptions(config), {engine, post, absl::Seconds(config.streaming.idle_timeout),
                                                          absl::Seconds(config.streaming.creation_timeout)}),
      "streaming");
  service::Calls calls(engine, *images, *network, *streaming, info);
  service::AdminCalls admin(*images, std::move(info));
  ASSIGN_OR_RETURN(auto server, service::Server::Listen(config.socket, calls, admin));
  spdlog::info("berthd {} serves CRI on {}", BERTH_VERSION, config.socket);
  sd_notify(0, "READY=1");
  AwaitEnd();
  sd_notify(0, "STOPPING=1");
  absl::Notification shut_down;
  std::thread impatient([&] {
    if (shut_down.WaitForNotificationWithTimeout(kShutdownGrace)) return;
    network->Interrupt();
    engine.Interrupt();
  });
  server->Shutdown(kShutdownGrace);
  shut_down.Notify();
  impatient.join();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  BoundMemory();
  Flags flags;
  CLI::App app{"berthd: a Kubernetes node runtime that serves CRI v1", "berthd"};
  app.set_version_flag("--version", std::string("berthd ") + BERTH_VERSION);
  AddDirectoryFlags(app, flags);
  app.add_option("--socket", flags.socket, "where CRI is served (config key socket)");
  app.add_option("--network", flags.network, "cni or embedded (config key network.mode)");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn or error (config key log_level)");
  auto* print = app.add_subcommand("config", "print the configuration in force as TOML, with a comment for each key");
  CLI11_PARSE(app, argc, argv);

  spdlog::set_default_logger(spdlog::stderr_color_mt("berthd"));
  spdlog::set_pattern(getenv("JOURNAL_STREAM") ? "%l %v" : "%Y-%m-%dT%H:%M:%S.%e %l %v");
  auto config = Configure(flags);
  if (!config.ok()) {
    std::fprintf(stderr, "berthd: %s\n", std::string(config.status().message()).c_str());
    return 2;
  }
  if (print->parsed()) {
    std::fputs(FormatConfig(*config).c_str(), stdout);
    return 0;
  }
  spdlog::set_level(spdlog::level::from_str(config->log_level));
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);  // before any thread is made
  signal(SIGPIPE, SIG_IGN);
  if (absl::Status s = Run(*config); !s.ok()) {
    spdlog::critical("{}", s.ToString());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace berth::daemon

int main(int argc, char** argv) { return berth::daemon::Main(argc, argv); }
