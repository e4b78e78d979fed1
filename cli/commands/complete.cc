#include "cli/commands/complete.h"

#include <CLI/CLI.hpp>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace berth::cli {
namespace {

// CLI11 lists without a filter only the subcommands that were parsed.
const std::function<bool(const CLI::App*)> kAll = [](const CLI::App*) { return true; };

const CLI::Option* FindOption(const CLI::App* app, const std::string& word) {
  for (; app != nullptr; app = app->get_parent()) {
    if (const CLI::Option* option = app->get_option_no_throw(word)) return option;
  }
  return nullptr;
}

bool TakesValue(const CLI::Option* option) { return option != nullptr && option->get_items_expected_max() > 0; }

std::vector<std::string> OptionNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    }
  }
  return names;
}

std::vector<std::string> ValuesOf(const std::string& command, const std::string& option, const NameLookup& names) {
  if (command == "save" && option == "-o") return {};  // a file
  if (command == "save" && option == "--format") return {"oci", "docker"};
  if (command == "push" && option == "--compression") return {"gzip", "zstd"};
  if (option == "-o" || option == "--output") return {"table", "wide", "json"};
  if (command == "ps" && (option == "-p" || option == "--pod")) return names("pod");
  if (command == "pull" && option == "--progress") return {"auto", "plain", "json", "none"};
  if (command == "inspect" && option == "--type") return {"pod", "container", "image"};
  return {};
}

std::vector<std::string> PositionalsOf(const std::string& command, size_t position, const NameLookup& names) {
  static const std::map<std::string, std::vector<std::string>> kKinds = {{"logs", {"container", "pod"}},
                                                                         {"exec", {"container", "pod"}},
                                                                         {"attach", {"container", "pod"}},
                                                                         {"port-forward", {"pod"}},
                                                                         {"stop", {"pod", "container"}},
                                                                         {"rm", {"pod", "container"}},
                                                                         {"pull", {"image"}},
                                                                         {"tag", {"image"}},
                                                                         {"push", {"image"}},
                                                                         {"save", {"image"}},
                                                                         {"rmi", {"image"}},
                                                                         {"inspect", {"pod", "container", "image"}}};
  static const std::set<std::string> kSeveral = {"stop", "rm", "rmi", "tag", "push", "save"};
  if (command == "completion") return {"bash", "zsh", "fish"};
  auto kinds = kKinds.find(command);
  if (kinds == kKinds.end() || (position > 0 && kSeveral.count(command) == 0)) return {};
  std::vector<std::string> all;
  for (const std::string& kind : kinds->second) {
    for (std::string& name : names(kind)) all.push_back(std::move(name));
  }
  return all;
}

}  // namespace

std::vector<std::string> Complete(const CLI::App& app, const std::vector<std::string>& words, const NameLookup& names) {
  const CLI::App* current = &app;
  std::string command, pending;
  size_t positionals = 0;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (!pending.empty()) {
      pending.clear();
    } else if (absl::StartsWith(word, "-") && word.size() > 1) {
      bool value_inside = absl::StrContains(word, '=');
      if (!value_inside && TakesValue(FindOption(current, word))) pending = word;
    } else if (command.empty()) {
      command = word;
      for (const CLI::App* sub : app.get_subcommands(kAll)) current = sub->get_name() == word ? sub : current;
    } else {
      ++positionals;
    }
  }
  std::string prefix = words.empty() ? "" : words.back();
  std::vector<std::string> candidates;
  if (!pending.empty()) {
    candidates = ValuesOf(command, pending, names);
  } else if (absl::StartsWith(prefix, "-")) {
    candidates = OptionNames(current);
  } else if (command.empty()) {
    for (const CLI::App* sub : app.get_subcommands(kAll)) {
      if (!sub->get_group().empty()) candidates.push_back(sub->get_name());
    }
  } else {
    candidates = PositionalsOf(command, positionals, names);
  }
  std::set<std::string> sorted;
  for (const std::string& candidate : candidates) {
    if (absl::StartsWith(candidate, prefix)) sorted.insert(candidate);
  }
  return {sorted.begin(), sorted.end()};
}

std::string GivenValue(const std::vector<std::string>& words, const std::string& option) {
  std::string value;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] == option && i + 2 < words.size()) value = words[i + 1];
    if (absl::StartsWith(words[i], option + "=")) value = words[i].substr(option.size() + 1);
  }
  return value;
}

std::string CompletionScript(const std::string& shell) {
  if (shell == "bash") {
    return R"sh(# berth completion for bash: source it, or put it into /etc/bash_completion.d/berth
_berth() {
  local cur=${COMP_WORDS[COMP_CWORD]} cword=$COMP_CWORD IFS=$'\n'
  local words=("${COMP_WORDS[@]}")
  # Image names have colons, at which bash splits words.
  declare -F _get_comp_words_by_ref >/dev/null && _get_comp_words_by_ref -n : cur words cword
  COMPREPLY=($(berth __complete -- "${words[@]:1:cword}" 2>/dev/null))
  [ ${#COMPREPLY[@]} -eq 0 ] && compopt -o default 2>/dev/null
  declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
  return 0
}
complete -F _berth berth
)sh";
  }
  if (shell == "zsh") {
    return R"sh(#compdef berth
# berth completion for zsh: put it as _berth into a directory of $fpath
_berth() {
  local -a found
  found=("${(@f)$(berth __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then
    compadd -a found
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_berth" ]; then _berth "$@"; else compdef _berth berth; fi
)sh";
  }
  return R"sh(# berth completion for fish: put it into ~/.config/fish/completions/berth.fish
function __berth_complete
  set -l words (commandline -opc) (commandline -ct)
  berth __complete -- $words[2..-1] 2>/dev/null
end
complete -c berth -a '(__berth_complete)'
)sh";
}

}  // namespace berth::cli
