// What a network holds for its pods, read off the disk and the kernel without opening it: nothing is made, dropped or
// asked of a plugin. To be compared with the pods that there are.
#pragma once

#include <string>
#include <vector>

#include "cri/network/network.h"

namespace berth::network {

struct Trace {
  enum class Kind {
    kLease,      // of the embedded network: `name` is the file
    kLink,       // the host's end of a veth pair, `name`, on the bridge
    kPort,       // an entry of the packet rules for an address without a lease: `name` is what it publishes
    kCniResult,  // what a CNI plugin answered: `name` is the file
  };
  Kind kind;
  std::string name;
  std::string pod;      // its id; of a link the first 12 digits; empty when nothing tells
  std::string problem;  // why it cannot be read, or that it does not fit with the rest; empty: nothing
};

absl::StatusOr<std::vector<Trace>> SurveyEmbedded(const EmbeddedOptions& options);
absl::StatusOr<std::vector<Trace>> SurveyCni(const CniOptions& options);

}  // namespace berth::network
