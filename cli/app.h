// The whole command line but for main(): so that tests run it as a user does.
#pragma once

#include <string>
#include <vector>

#include "cli/session.h"

namespace CLI {
class App;
}

namespace berth::cli {

// Parses `arguments` (without the program's name), runs the command, prints its error and returns
// the exit code.
int RunBerth(const std::vector<std::string>& arguments, Session& session);

// The options that go with every command; `app` is changed in place.
void AddGlobalOptions(CLI::App& app, Session& session);
void AddAllCommands(CLI::App& app, Action& action);

}  // namespace berth::cli
