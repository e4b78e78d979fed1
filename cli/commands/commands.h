// One function per command: adds it to the command line, and sets `action` when it is the one that
// was given.
#pragma once

#include "cli/session.h"

namespace CLI {
class App;
}

namespace berth::cli {

void AddVersion(CLI::App& app, Action& action);
void AddInfo(CLI::App& app, Action& action);
void AddPull(CLI::App& app, Action& action);
void AddPush(CLI::App& app, Action& action);
void AddSave(CLI::App& app, Action& action);
void AddLoad(CLI::App& app, Action& action);
void AddImages(CLI::App& app, Action& action);
void AddRmi(CLI::App& app, Action& action);
void AddTag(CLI::App& app, Action& action);
void AddPrune(CLI::App& app, Action& action);
void AddDf(CLI::App& app, Action& action);
void AddRun(CLI::App& app, Action& action);
void AddPs(CLI::App& app, Action& action);
void AddPods(CLI::App& app, Action& action);
void AddLogs(CLI::App& app, Action& action);
void AddExec(CLI::App& app, Action& action);
void AddAttach(CLI::App& app, Action& action);
void AddPortForward(CLI::App& app, Action& action);
void AddStop(CLI::App& app, Action& action);
void AddRm(CLI::App& app, Action& action);
void AddInspect(CLI::App& app, Action& action);
void AddStats(CLI::App& app, Action& action);
void AddDoctor(CLI::App& app, Action& action);
void AddCompletion(CLI::App& app, Action& action);  // with the hidden __complete

}  // namespace berth::cli
