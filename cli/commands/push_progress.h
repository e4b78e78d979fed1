// Shows how far a push is, on stderr: one line that is rewritten on a terminal, else a line for each blob that is done.
// For one thread.
#pragma once

#include <iosfwd>
#include <set>
#include <string>

#include "cli/client/cri_client.h"

namespace berth::cli {

class PushProgress {
 public:
  PushProgress(std::ostream& err, bool terminal) : err_(err), terminal_(terminal) {}
  ~PushProgress();  // clears the line
  void Update(const std::vector<BlobState>& blobs);

 private:
  std::ostream& err_;
  const bool terminal_;
  bool drawn_ = false;
  std::set<std::string> told_;  // digests
};

// "2 of 3 blobs, 12.5MB sent"
std::string DescribePush(const std::vector<BlobState>& blobs);

}  // namespace berth::cli
