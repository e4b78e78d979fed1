#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/labels.h"
#include "cli/pod/volumes.h"
#include "cli/resolve.h"
#include "runtime/base/id.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> words;
  bool force = false, all = false;
};

// A directory that `berth run` made for the pod. Its last part names the pod, so that no
// annotation, whoever wrote it, makes this remove anything else.
absl::Status RemoveOwn(const PodInfo& pod, const char* annotation, const std::string& last_part) {
  auto found = pod.annotations.find(annotation);
  if (found == pod.annotations.end()) return absl::OkStatus();
  const std::string& path = found->second;
  if (!IsSafeName(pod.uid) || !absl::StartsWith(path, "/") || absl::StrContains(path, "/../") ||
      !absl::EndsWith(path, absl::StrCat("/", last_part))) {
    return absl::InvalidArgumentError(absl::StrCat("not removing '", path, "' of annotation ", annotation));
  }
  return RemoveDirectory(path);
}

absl::Status RemovePod(CriClient& client, const PodInfo& pod, const std::vector<ContainerInfo>& containers,
                       bool force) {
  for (const ContainerInfo& container : containers) {
    if (force || container.pod_id != pod.id || container.state != ContainerState::kRunning) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("container ", container.name, " is running: stop the pod first, or use rm -f"));
  }
  RETURN_IF_ERROR(client.StopPod(pod.id));
  RETURN_IF_ERROR(client.RemovePod(pod.id));
  RETURN_IF_ERROR(RemoveOwn(pod, kVolumesAnnotation, pod.uid));
  return RemoveOwn(pod, kLogsAnnotation, absl::StrCat(pod.ns, "_", pod.name, "_", pod.uid));
}

absl::Status RemoveOne(CriClient& client, const std::string& word, bool force) {
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client.ListPods());
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client.ListContainers());
  auto pod = ResolvePod(word, pods);
  if (pod.ok()) return RemovePod(client, *pod, containers, force);
  if (!absl::IsNotFound(pod.status())) return pod.status();
  auto container = ResolveContainer(word, pods, containers);
  if (absl::IsNotFound(container.status())) {
    if (force) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat("no pod or container '", word, "'"));
  }
  RETURN_IF_ERROR(container);
  if (container->state == ContainerState::kRunning && !force) {
    return absl::FailedPreconditionError("it is running: stop it first, or use rm -f");
  }
  return client.RemoveContainer(container->id);
}

absl::StatusOr<int> Rm(const Options& options, Session& session) {
  if (options.all != options.words.empty()) return UsageError("rm: give names, or --all");
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), "rm");
  std::vector<std::string> words = options.words;
  if (options.all) {
    ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client->ListPods(), "rm");
    for (const PodInfo& pod : pods) words.push_back(pod.id);
  }
  int code = kExitOk;
  for (const std::string& word : words) {
    absl::Status status = RemoveOne(*client, word, options.force);
    if (status.ok()) {
      session.io.out << word << "\n";
    } else {
      session.io.err << "berth: rm " << word << ": " << status.message() << "\n";
      code = kExitFailure;
    }
  }
  return code;
}

}  // namespace

void AddRm(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("rm", "Remove pods with all they have, or single containers");
  auto options = std::make_shared<Options>();
  command->add_option("POD|CONTAINER", options->words, "Names or ids; a pod's name wins over a container's");
  command->add_flag("-f,--force", options->force, "Kill what runs; no error for what is not there");
  command->add_flag("-a,--all", options->all, "All pods");
  command->footer("Examples:\n  berth rm web\n  berth rm -f web shop/db\n  berth rm -f --all");
  command->callback([options, &action] { action = [options](Session& session) { return Rm(*options, session); }; });
}

}  // namespace berth::cli
