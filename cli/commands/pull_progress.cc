#include "cli/commands/pull_progress.h"

#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/text/table.h"

namespace berth::cli {
namespace {

constexpr absl::Duration kFrame = absl::Milliseconds(120);

}  // namespace

ProgressMode ModeFor(const Session& session) {
  return session.io.err_is_terminal && session.Env("TERM") != "dumb" ? ProgressMode::kBars : ProgressMode::kPlain;
}

PullProgress::PullProgress(Streams& streams, ProgressMode mode, std::string image)
    : streams_(streams), mode_(mode), image_(std::move(image)), view_(image_, absl::Now()), plain_(absl::Now()) {
  if (mode_ == ProgressMode::kPlain) streams_.err << "pulling " << Printable(image_) << std::endl;
  if (mode_ == ProgressMode::kBars) drawer_ = std::thread([this] { Draw(); });
}

PullProgress::~PullProgress() {
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
  }
  if (drawer_.joinable()) drawer_.join();
}

void PullProgress::Succeeded() {
  absl::MutexLock lock(&mu_);
  view_.Done();
}

void PullProgress::Draw() {
  absl::MutexLock lock(&mu_);
  for (;;) {
    DrawFrame();
    if (ended_) return;
    mu_.AwaitWithTimeout(absl::Condition(&ended_), kFrame);
  }
}

void PullProgress::DrawFrame() {
  // One write for a frame, over the one before, so that nothing flickers.
  std::string frame = drawn_ == 0 ? "" : absl::StrCat("\x1b[", drawn_, "A");
  const std::vector<std::string> lines = view_.Lines(streams_.err_size(), absl::Now());
  for (const std::string& line : lines) absl::StrAppend(&frame, "\r", line, "\x1b[K\n");
  absl::StrAppend(&frame, "\x1b[J");
  drawn_ = lines.size();
  streams_.err << frame << std::flush;
}

void PullProgress::Watch(const PullState& state) {
  absl::MutexLock lock(&mu_);
  switch (mode_) {
    case ProgressMode::kBars:
      view_.Update(state, absl::Now());
      break;
    case ProgressMode::kPlain:
      for (const std::string& line : plain_.Update(state, absl::Now())) streams_.err << line << std::endl;
      break;
    case ProgressMode::kJson:
      streams_.err << PullJson(image_, state) << std::endl;
      break;
    case ProgressMode::kNone:
      break;
  }
}

PullWatcher PullProgress::Watcher() {
  return [this](const PullState& state) { Watch(state); };
}

absl::StatusOr<std::string> PullShown(CriClient& client, Session& session, ProgressMode mode, const std::string& image,
                                      const std::optional<Credentials>& credentials) {
  PullProgress progress(session.io, mode, image);
  absl::StatusOr<std::string> id = client.PullImage(image, credentials, progress.Watcher());
  if (id.ok()) progress.Succeeded();
  return id;
}

}  // namespace berth::cli
