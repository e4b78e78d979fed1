// What a container's first process is, from the CRI request and the image's config. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/store.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// command set: command + args, the image's Cmd is ignored. command empty: the image's Entrypoint + (args, or the
// image's Cmd when args are empty too). InvalidArgument "command: …" when nothing is left to run.
absl::StatusOr<std::vector<std::string>> MergeCommand(const state::v1::ContainerSpec& spec,
                                                      const image::ImageConfig& image);

// HOSTNAME, the image's Env, then the request's: a later value replaces an earlier one of the same key. PATH gets the
// usual default, HOME that of the user, and TERM=xterm with a terminal, each only when nobody set it.
// Each entry is "KEY=value"; values may hold any byte but NUL.
std::vector<std::string> MergeEnv(const state::v1::ContainerSpec& spec, const image::ImageConfig& image,
                                  absl::string_view hostname, absl::string_view home);

// The request's, else the image's, else "/".
std::string WorkingDir(const state::v1::ContainerSpec& spec, const image::ImageConfig& image);

// "SIGTERM", "TERM", "15", "SIGRTMIN+3", any case. InvalidArgument for anything else. An empty name is SIGTERM.
absl::StatusOr<int> ParseSignal(absl::string_view name);
// "SIGTERM" for 15; "SIGRTMIN+3" for 37; "SIGRTMAX-1" for 63.
std::string SignalName(int signal);

}  // namespace berth::spec
