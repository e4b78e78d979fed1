#include "cli/commands/push_progress.h"

#include <ostream>

#include "absl/strings/str_cat.h"
#include "cli/text/human.h"

namespace berth::cli {
namespace {

constexpr size_t kShortDigest = 19;  // "sha256:" and twelve digits

}  // namespace

std::string DescribePush(const std::vector<BlobState>& blobs) {
  size_t finished = 0;
  uint64_t sent = 0;
  for (const BlobState& blob : blobs) {
    finished += blob.finished ? 1 : 0;
    sent += blob.already_there ? 0 : blob.done;
  }
  return absl::StrCat(finished, " of ", blobs.size(), " blobs, ", HumanBytes(sent), " sent");
}

PushProgress::~PushProgress() {
  if (drawn_) err_ << "\r\x1b[K" << std::flush;
}

void PushProgress::Update(const std::vector<BlobState>& blobs) {
  if (terminal_) {
    drawn_ = true;
    err_ << "\r\x1b[Kpushing: " << DescribePush(blobs) << std::flush;
    return;
  }
  for (const BlobState& blob : blobs) {
    if (!blob.finished || !told_.insert(blob.digest).second) continue;
    err_ << blob.digest.substr(0, kShortDigest) << ": "
         << (blob.already_there ? "already there" : absl::StrCat(HumanBytes(blob.done), " sent")) << std::endl;
  }
}

}  // namespace berth::cli
