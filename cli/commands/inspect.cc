#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/resolve.h"

namespace berth::cli {
namespace {

struct Options {
  std::string word, type;
};

absl::StatusOr<std::string> Inspect(CriClient& client, const Options& options) {
  const std::string &word = options.word, &type = options.type;
  auto wanted = [&type](const char* kind) { return type.empty() || type == kind; };
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client.ListPods());
  if (wanted("pod")) {
    auto pod = ResolvePod(word, pods);
    if (pod.ok()) return client.InspectPod(pod->id);
    if (!absl::IsNotFound(pod.status()) || type == "pod") return pod.status();
  }
  if (wanted("container")) {
    ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client.ListContainers());
    auto container = ResolveContainer(word, pods, containers);
    if (container.ok()) return client.InspectContainer(container->id);
    if (!absl::IsNotFound(container.status()) || type == "container") return container.status();
  }
  auto image = client.InspectImage(word);
  if (absl::IsNotFound(image.status()) && type.empty()) {
    return absl::NotFoundError(absl::StrCat("no pod, container or image '", word, "'"));
  }
  return image;
}

}  // namespace

void AddInspect(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("inspect", "Print all that the daemon knows of a pod, container or image, as JSON");
  auto options = std::make_shared<Options>();
  command->add_option("NAME", options->word, "Name or id; pods come first, then containers, then images")->required();
  command->add_option("--type", options->type, "Only this kind")->check(CLI::IsMember({"pod", "container", "image"}));
  command->footer(
      "Examples:\n  berth inspect web\n  berth inspect web/app\n  berth inspect --type image "
      "nginx:1.27");
  command->callback([options, &action] {
    action = [options](Session& session) -> absl::StatusOr<int> {
      std::string what = absl::StrCat("inspect ", options->word);
      ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
      ASSIGN_OR_RETURN(std::string json, Inspect(*client, *options), what);
      session.io.out << json << "\n";
      return kExitOk;
    };
  });
}

}  // namespace berth::cli
