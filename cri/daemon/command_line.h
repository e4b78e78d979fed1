// The configuration as the command line asks for it: for the daemon, and for what looks at the daemon's world without
// it.
#pragma once

#include <string>

#include "cri/daemon/config.h"

namespace CLI {
class App;
}

namespace berth::daemon {

struct Flags {
  std::string config_file = "/etc/berth/config.toml";
  std::string dropins = "/etc/berth/config.d";
  std::string network, root, state, socket, log_level;  // empty: what the files say
  bool config_given = false;                            // then the file must be there, and the drop-ins are not read
};

// The options --config, --root and --state, which write into `flags`; it outlives the parsing.
void AddDirectoryFlags(CLI::App& app, Flags& flags);

// The files, and the flags on top of them. InvalidArgument as of ApplyToml.
absl::StatusOr<Config> Configure(const Flags& flags);

}  // namespace berth::daemon
