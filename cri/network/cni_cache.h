// What was given to the plugins and what they answered, kept for DEL: a file per attachment.
#pragma once

#include <string>
#include <vector>

#include "cri/network/cni_config.h"
#include "cri/network/network.h"
#include "runtime/base/id.h"
#include "runtime/base/json.h"
#include "runtime/sys/unique_fd.h"

namespace berth::network {

struct CniAttachment {
  PodId pod;
  CniConfig config;   // the one ADD was done with, whatever the configuration directory says later
  Json capabilities;  // as CapabilityValues made them
  std::string args;   // CNI_ARGS
  Json result;        // of the last plugin; null while ADD is under way (or was when the daemon was killed)
};

std::string AttachmentText(const CniAttachment& attachment);
absl::StatusOr<CniAttachment> ParseAttachment(absl::string_view text);

// Where the files of a network with these options are.
inline std::string CniCacheDir(const CniOptions& options) { return options.cache_dir + "/berth"; }

// Files in `dir`, named by pod, interface and network. Replaced by rename, not synced: without its file, DEL is done
// without prevResult, which plugins must accept. The directory is made with the first write. Thread-safe for different
// pods.
class CniCache {
 public:
  struct Entry {
    PodId pod;
    std::string network;
    std::string file;
  };
  explicit CniCache(std::string dir) : dir_(std::move(dir)) {}
  absl::Status Save(const CniAttachment& attachment);
  // What there are files of, readable or not, also of a Save that was cut short.
  absl::StatusOr<std::vector<Entry>> List();
  // Every attachment of the pod whose file is whole.
  absl::StatusOr<std::vector<CniAttachment>> Find(const PodId& pod);
  // All files of the pod, readable or not. OK when there are none.
  absl::Status Remove(const PodId& pod);

 private:
  std::string dir_;
};

}  // namespace berth::network
