#include <CLI/CLI.hpp>

#include "cli/commands/commands.h"
#include "cli/commands/complete.h"
#include "cli/resolve.h"

namespace berth::cli {
namespace {

std::vector<std::string> Names(CriClient& client, const std::string& kind) {
  std::vector<std::string> names;
  if (kind == "image") {
    for (const ImageInfo& image : client.ListImages().value_or(std::vector<ImageInfo>())) {
      names.insert(names.end(), image.tags.begin(), image.tags.end());
    }
    return names;
  }
  std::vector<PodInfo> pods = client.ListPods().value_or(std::vector<PodInfo>());
  if (kind == "pod") {
    for (const PodInfo& pod : pods) names.push_back(DisplayName(pod));
    return names;
  }
  for (const ContainerInfo& container : client.ListContainers().value_or(std::vector<ContainerInfo>())) {
    const PodInfo* pod = FindPod(pods, container.pod_id);
    if (pod != nullptr) names.push_back(DisplayName(*pod) + "/" + container.name);
  }
  return names;
}

// Somebody is waiting for a key to do something: no errors, and no long waiting.
absl::StatusOr<int> PrintCandidates(const CLI::App& app, const std::vector<std::string>& words, Session& session) {
  std::string socket = GivenValue(words, "--socket");
  if (!socket.empty()) session.options.socket = socket;
  session.options.timeout = absl::Seconds(1);
  NameLookup lookup = [&session](const std::string& kind) {
    auto client = session.Client();
    return client.ok() ? Names(**client, kind) : std::vector<std::string>();
  };
  for (const std::string& candidate : Complete(app, words, lookup)) session.io.out << candidate << "\n";
  return kExitOk;
}

}  // namespace

void AddCompletion(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("completion", "Print the completion script for a shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer(
      "Examples:\n"
      "  source <(berth completion bash)\n"
      "  berth completion zsh > /usr/local/share/zsh/site-functions/_berth\n"
      "  berth completion fish > ~/.config/fish/completions/berth.fish");
  command->callback([shell, &action] {
    action = [shell](Session& session) -> absl::StatusOr<int> {
      session.io.out << CompletionScript(*shell);
      return kExitOk;
    };
  });

  auto* complete = app.add_subcommand("__complete", "");
  complete->group("");
  auto words = std::make_shared<std::vector<std::string>>();
  complete->add_option("WORDS", *words);
  complete->callback([words, &app, &action] {
    action = [words, &app](Session& session) { return PrintCandidates(app, *words, session); };
  });
}

}  // namespace berth::cli
