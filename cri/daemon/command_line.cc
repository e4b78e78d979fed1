#include "cri/daemon/command_line.h"

#include <CLI/CLI.hpp>
#include <utility>

namespace berth::daemon {

void AddDirectoryFlags(CLI::App& app, Flags& flags) {
  app.add_option("--config", flags.config_file, "configuration file; the drop-in directory is then not read")
      ->capture_default_str()
      ->each([&flags](const std::string&) { flags.config_given = true; });
  app.add_option("--root", flags.root, "images and records (config key root)");
  app.add_option("--state", flags.state, "live pods (config key state)");
}

absl::StatusOr<Config> Configure(const Flags& flags) {
  ASSIGN_OR_RETURN(Config config,
                   LoadConfig(flags.config_file, flags.config_given, flags.config_given ? "" : flags.dropins));
  // Flags are read like one more file, so that they are checked as one.
  std::string toml;
  for (auto [key, value] : {std::pair<const char*, const std::string&>{"root", flags.root},
                            {"state", flags.state},
                            {"socket", flags.socket},
                            {"log_level", flags.log_level},
                            {"network.mode", flags.network}}) {
    if (!value.empty()) absl::StrAppend(&toml, key, " = '", value, "'\n");
  }
  RETURN_IF_ERROR(ApplyToml(toml, "command line", config));
  return config;
}

}  // namespace berth::daemon
