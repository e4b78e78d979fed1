#include "cli/commands/pull_progress.h"

#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "cli/text/human.h"

namespace berth::cli {

std::string DescribePull(const PullState& state) {
  std::string phase = state.phase.empty() ? "pulling" : state.phase;
  if (state.total == 0) return phase;
  uint64_t percent = static_cast<uint64_t>(static_cast<double>(state.done) * 100 / static_cast<double>(state.total));
  return absl::StrCat(phase, " ", HumanBytes(state.done), " of ", HumanBytes(state.total), " (", percent, "%)");
}

PullProgress::PullProgress(std::ostream& err, bool terminal, std::string image)
    : err_(err), terminal_(terminal), image_(std::move(image)), start_(absl::Now()) {
  if (!terminal_) {
    err_ << "pulling " << image_ << std::endl;
    return;
  }
  drawer_ = std::thread([this] { Draw(); });
}

void PullProgress::Draw() {
  static constexpr const char kSpinner[] = "|/-\\";
  absl::MutexLock lock(&mu_);
  for (size_t i = 0; !done_; ++i) {
    err_ << absl::StrFormat("\r\x1b[K%c %s: %s, %.1fs", kSpinner[i % 4], image_, DescribePull(state_),
                            absl::ToDoubleSeconds(absl::Now() - start_))
         << std::flush;
    mu_.AwaitWithTimeout(absl::Condition(&done_), absl::Milliseconds(120));
  }
  err_ << "\r\x1b[K" << std::flush;
}

PullProgress::~PullProgress() {
  {
    absl::MutexLock lock(&mu_);
    done_ = true;
  }
  if (drawer_.joinable()) drawer_.join();
}

PullWatcher PullProgress::Watcher() {
  return [this](const PullState& state) {
    absl::MutexLock lock(&mu_);
    state_ = state;
  };
}

absl::StatusOr<std::string> PullShown(CriClient& client, std::ostream& err, bool terminal, const std::string& image,
                                      const std::optional<Credentials>& credentials) {
  PullProgress progress(err, terminal, image);
  return client.PullImage(image, credentials, progress.Watcher());
}

}  // namespace berth::cli
