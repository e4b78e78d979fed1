// What the embedded network keeps about an attached pod: a small JSON file per pod.
#pragma once

#include <string>
#include <vector>

#include "cri/network/network.h"
#include "runtime/sys/unique_fd.h"

namespace berth::network {

struct Lease {
  PodId pod;
  std::string pod_name;          // "namespace/name", for messages
  std::vector<std::string> ips;  // primary first
  std::string link;              // the host's end of the veth pair
  std::vector<PortMapping> ports;
};

absl::string_view ProtocolName(Protocol protocol);  // "tcp", "udp", "sctp"

std::string LeaseText(const Lease& lease);
// InvalidArgument for what LeaseText cannot have written, with the field's name.
absl::StatusOr<Lease> ParseLease(absl::string_view text);

// The directory of lease files. Thread-safe for different pods.
//
// A lease has to outlive the daemon, not the machine: after a power cut no pod is left and every lease is void. So
// files are replaced by rename, which a kill cannot tear, and nothing waits for the disk; a file that a power cut
// tore is dropped on load like every other lease whose veth is gone.
class LeaseStore {
 public:
  // Makes the directory when it is missing.
  static absl::StatusOr<LeaseStore> Open(absl::string_view dir);
  // Every readable lease. Files that cannot be read are removed and their names and errors put into `problems`.
  absl::StatusOr<std::vector<Lease>> Load(std::vector<std::string>* problems);
  absl::Status Save(const Lease& lease);
  // OK when there is none.
  absl::Status Remove(const PodId& pod);

 private:
  LeaseStore(std::string path, sys::UniqueFd dir) : path_(std::move(path)), dir_(std::move(dir)) {}
  std::string path_;
  sys::UniqueFd dir_;
};

}  // namespace berth::network
