#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/streamed.h"
#include "cli/resolve.h"
#include "cli/stream/forwarder.h"
#include "cli/stream/port_spec.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

struct Options {
  std::string pod, address = "localhost";
  std::vector<std::string> ports;
};

absl::StatusOr<std::vector<stream::PortSpec>> ParsePorts(const Options& options) {
  std::vector<stream::PortSpec> specs;
  for (const std::string& text : options.ports) {
    auto spec = stream::ParsePortSpec(text);
    if (!spec.ok()) return UsageError(absl::StrCat("port-forward: ", spec.status().message()));
    if (spec->address.empty()) spec->address = options.address;
    specs.push_back(*spec);
  }
  return specs;
}

void PrintListeners(const std::vector<stream::Listener>& listeners, Session& session) {
  Json json = Json::array();
  for (const stream::Listener& listener : listeners) {
    json.push_back({{"address", listener.address}, {"port", listener.local}, {"remotePort", listener.remote}});
    if (!session.json()) session.io.out << "Forwarding from " << listener.name << " -> " << listener.remote << "\n";
  }
  if (session.json()) session.io.out << DumpJson(json, 2) << "\n";
  session.io.out << std::flush;
}

// OK while the pod can be connected to; Unavailable while the daemon cannot tell.
absl::Status CheckPod(CriClient& client, const std::string& id) {
  auto pods = client.ListPods();
  if (!pods.ok()) return absl::UnavailableError(pods.status().message());
  const PodInfo* pod = FindPod(*pods, id);
  if (pod == nullptr) return absl::NotFoundError("the pod is gone");
  return pod->ready ? absl::OkStatus() : absl::FailedPreconditionError("the pod was stopped");
}

absl::StatusOr<int> PortForward(const Options& options, Session& session) {
  std::string what = absl::StrCat("port-forward ", options.pod);
  ASSIGN_OR_RETURN(std::vector<stream::PortSpec> specs, ParsePorts(options));
  std::vector<uint16_t> remotes;
  for (const stream::PortSpec& spec : specs) remotes.push_back(spec.remote);
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client->ListPods(), what);
  ASSIGN_OR_RETURN(PodInfo pod, ResolvePod(options.pod, pods), what);

  stream::Forwarder::Hooks hooks;
  hooks.connect = [&]() -> absl::StatusOr<std::unique_ptr<stream::SpdyClient>> {
    ASSIGN_OR_RETURN(std::string url, client->PortForwardUrl(pod.id, remotes));
    return OpenStreams(session, url, stream::kForwardProtocol);
  };
  hooks.check = [&] { return CheckPod(*client, pod.id); };
  hooks.complain = [&](absl::string_view why) {
    session.io.err << "berth: " << what << ": " << Printable(why) << std::endl;
  };
  // Before anything listens: an error that all connections would have is shown at once.
  ASSIGN_OR_RETURN(auto forward, hooks.connect(), what);
  std::vector<stream::Listener> listeners;
  for (const stream::PortSpec& spec : specs) {
    ASSIGN_OR_RETURN(std::vector<stream::Listener> more, stream::Listen(spec), what);
    for (stream::Listener& listener : more) listeners.push_back(std::move(listener));
  }
  PrintListeners(listeners, session);
  stream::Forwarder forwarder(std::move(listeners), std::move(forward), std::move(hooks));
  return Annotate(forwarder.Run(), what);
}

}  // namespace

void AddPortForward(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("port-forward", "Carry connections to local ports into a pod");
  auto options = std::make_shared<Options>();
  command->add_option("POD", options->pod, "Name, NAMESPACE/NAME or id")->required();
  command->add_option("PORT", options->ports, "[ADDRESS:][LOCAL:]REMOTE; LOCAL empty or 0 is a free port")->required();
  command
      ->add_option("--address", options->address, "What to listen on where PORT does not say it; localhost is ::1, too")
      ->type_name("ADDRESS")
      ->capture_default_str();
  command->footer(
      "Goes on until it is interrupted or the pod is gone.\n\n"
      "Examples:\n"
      "  berth port-forward web 8080\n"
      "  berth port-forward web :80 9000:90\n"
      "  berth port-forward web 0.0.0.0:8080:80");
  command->callback(
      [options, &action] { action = [options](Session& session) { return PortForward(*options, session); }; });
}

}  // namespace berth::cli
