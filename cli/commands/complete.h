// What may stand at the end of an unfinished command line. Pure, but for the names it asks for.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace berth::cli {

// Kinds of names: "pod", "container", "image".
using NameLookup = std::function<std::vector<std::string>(const std::string& kind)>;

// `words` are those after the program's name; the last one, which may be empty, is being typed. The
// candidates begin with it. None for file names, which shells complete themselves.
std::vector<std::string> Complete(const CLI::App& app, const std::vector<std::string>& words, const NameLookup& names);

// The value that `words` give to a global option, such as "--socket"; empty if none.
std::string GivenValue(const std::vector<std::string>& words, const std::string& option);

// The script for "bash", "zsh" or "fish".
std::string CompletionScript(const std::string& shell);

}  // namespace berth::cli
