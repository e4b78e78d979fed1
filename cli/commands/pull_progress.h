// Shows on a terminal how far a pull is, on one line that is rewritten; elsewhere it says that the
// pull began.
#pragma once

#include <iosfwd>
#include <string>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cli/client/cri_client.h"

namespace berth::cli {

class PullProgress {
 public:
  PullProgress(std::ostream& err, bool terminal, std::string image);
  ~PullProgress();  // clears the line
  PullWatcher Watcher();

 private:
  void Draw();

  std::ostream& err_;
  const bool terminal_;
  const std::string image_;
  const absl::Time start_;
  absl::Mutex mu_;
  PullState state_ ABSL_GUARDED_BY(mu_);
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  std::thread drawer_;  // redraws when nothing is reported, so that the time goes on
};

// "downloading 12.5MB of 187MB (6%)"; without the bytes while they are not known.
std::string DescribePull(const PullState& state);

// Fetches the image with its progress shown.
absl::StatusOr<std::string> PullShown(CriClient& client, std::ostream& err, bool terminal, const std::string& image,
                                      const std::optional<Credentials>& credentials);

}  // namespace berth::cli
