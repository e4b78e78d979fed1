// Shows how far a pull is while it runs: bars that are redrawn in place, lines for a log, or JSON for a program. All of
// it goes to stderr: stdout is for the result.
#pragma once

#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cli/client/cri_client.h"
#include "cli/commands/pull_layout.h"
#include "cli/session.h"

namespace berth::cli {

enum class ProgressMode { kNone, kBars, kPlain, kJson };

// Bars on a terminal that can redraw, else plain lines.
ProgressMode ModeFor(const Session& session);

class PullProgress {
 public:
  // `streams` outlives the object.
  PullProgress(Streams& streams, ProgressMode mode, std::string image);
  // Leaves what was shown last.
  ~PullProgress();
  // From another thread than the drawing one, while the object lives.
  PullWatcher Watcher();
  // The pull ended well.
  void Succeeded() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Draw() ABSL_LOCKS_EXCLUDED(mu_);
  void DrawFrame() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Watch(const PullState& state) ABSL_LOCKS_EXCLUDED(mu_);

  Streams& streams_;
  const ProgressMode mode_;
  const std::string image_;
  absl::Mutex mu_;
  PullView view_ ABSL_GUARDED_BY(mu_);
  PlainPull plain_ ABSL_GUARDED_BY(mu_);
  size_t drawn_ ABSL_GUARDED_BY(mu_) = 0;  // lines of the last frame, which the cursor is below
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::thread drawer_;  // redraws when nothing is reported, so that the time goes on
};

// Fetches the image with its progress shown; its id. Errors as CriClient::PullImage.
absl::StatusOr<std::string> PullShown(CriClient& client, Session& session, ProgressMode mode, const std::string& image,
                                      const std::optional<Credentials>& credentials);

}  // namespace berth::cli
