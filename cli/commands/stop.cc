#include <CLI/CLI.hpp>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/labels.h"
#include "cli/resolve.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> words;
  int64_t grace = -1;
};

constexpr int64_t kDefaultGrace = 30;

int64_t GraceOf(const Options& options, const StringMap& annotations) {
  if (options.grace >= 0) return options.grace;
  auto found = annotations.find(kGracePeriodAnnotation);
  int64_t seconds = 0;
  if (found == annotations.end() || !absl::SimpleAtoi(found->second, &seconds) || seconds < 0) return kDefaultGrace;
  return seconds;
}

// All containers at once: a pod's grace period is not the sum of its containers'.
absl::Status StopPod(CriClient& client, const PodInfo& pod, const std::vector<ContainerInfo>& containers,
                     const Options& options) {
  std::vector<std::thread> threads;
  std::vector<absl::Status> results(containers.size());
  for (size_t i = 0; i < containers.size(); ++i) {
    const ContainerInfo& container = containers[i];
    if (container.pod_id != pod.id || container.state != ContainerState::kRunning) continue;
    threads.emplace_back([&client, &container, &result = results[i], grace = GraceOf(options, pod.annotations)] {
      result = Annotate(client.StopContainer(container.id, grace), container.name);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) RETURN_IF_ERROR(result);
  return client.StopPod(pod.id);
}

absl::Status StopOne(CriClient& client, const std::string& word, const Options& options) {
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client.ListPods());
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client.ListContainers());
  auto pod = ResolvePod(word, pods);
  if (pod.ok()) return StopPod(client, *pod, containers, options);
  if (!absl::IsNotFound(pod.status())) return pod.status();
  auto container = ResolveContainer(word, pods, containers);
  if (absl::IsNotFound(container.status())) {
    return absl::NotFoundError(absl::StrCat("no pod or container '", word, "'"));
  }
  RETURN_IF_ERROR(container);
  return client.StopContainer(container->id, GraceOf(options, container->annotations));
}

absl::StatusOr<int> Stop(const Options& options, Session& session) {
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "stop");
  int code = kExitOk;
  for (const std::string& word : options.words) {
    absl::Status status = StopOne(*client, word, options);
    if (status.ok()) {
      session.io.out << word << "\n";
    } else {
      session.io.err << "berth: stop " << word << ": " << status.message() << "\n";
      code = kExitFailure;
    }
  }
  return code;
}

}  // namespace

void AddStop(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("stop", "Stop pods or containers: stop signal, grace period, kill");
  auto options = std::make_shared<Options>();
  command->add_option("POD|CONTAINER", options->words, "Names or ids; a pod's name wins over a container's")
      ->required();
  command
      ->add_option("-t,--time", options->grace,
                   "Seconds of grace; else the pod's terminationGracePeriodSeconds, else 30")
      ->check(CLI::NonNegativeNumber);
  command->footer("Examples:\n  berth stop web\n  berth stop --time 0 web/app");
  command->callback([options, &action] { action = [options](Session& session) { return Stop(*options, session); }; });
}

}  // namespace berth::cli
