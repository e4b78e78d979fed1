#include "image/pull/ranged_blob.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace berth::image {
namespace {

// Its workers fetch chunks; the thread of Run gives them to the sink.
class Chunks {
 public:
  Chunks(RegistrySession& session, BlobTransfer& transfer, int connections, const Cancelled& stopped)
      : session_(session),
        transfer_(transfer),
        stopped_([this, &stopped] { return stop_.load() || (stopped && stopped()); }),
        ahead_(static_cast<uint64_t>(connections)),
        begin_(transfer.received) {}

  absl::Status Run(const BlobSink& sink) {
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < ahead_; ++i) threads.emplace_back([this] { Work(); });
    absl::Status status = Deliver(sink);
    {
      absl::MutexLock lock(&mutex_);
      stop_.store(true);
      changed_.SignalAll();
    }
    for (std::thread& thread : threads) thread.join();
    return status;
  }

 private:
  uint64_t Start(uint64_t chunk) const { return begin_ + chunk * RangedBlob::kChunk; }
  uint64_t Count() const { return (size_ - begin_ + RangedBlob::kChunk - 1) / RangedBlob::kChunk; }

  absl::Status Deliver(const BlobSink& sink) ABSL_LOCKS_EXCLUDED(mutex_) {
    for (uint64_t chunk = 0, count = Count(); chunk < count; ++chunk) {
      ASSIGN_OR_RETURN(std::string bytes, Await(chunk));
      RETURN_IF_ERROR(sink(bytes));
      transfer_.received += bytes.size();
      absl::MutexLock lock(&mutex_);
      delivered_ = chunk + 1;
      changed_.SignalAll();
    }
    return absl::OkStatus();
  }

  // The first chunk that fails ends it, but not before those that stand before it were delivered.
  absl::StatusOr<std::string> Await(uint64_t chunk) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    while (fetched_.count(chunk) == 0) changed_.Wait(&mutex_);
    absl::StatusOr<std::string> out = std::move(fetched_.at(chunk));
    fetched_.erase(chunk);
    return out;
  }

  void Work() ABSL_LOCKS_EXCLUDED(mutex_) {
    while (true) {
      uint64_t chunk = 0;
      {
        absl::MutexLock lock(&mutex_);
        // One that is being fetched is in memory like one that waits for its turn.
        while (!stop_.load() && next_ < Count() && next_ >= delivered_ + ahead_) changed_.Wait(&mutex_);
        if (stop_.load() || next_ >= Count()) return;
        chunk = next_++;
      }
      uint64_t from = Start(chunk), length = std::min(RangedBlob::kChunk, size_ - from);
      absl::StatusOr<std::string> bytes = session_.GetRange(digest_, size_, from, length, stopped_);
      absl::MutexLock lock(&mutex_);
      fetched_.emplace(chunk, std::move(bytes));
      changed_.SignalAll();
    }
  }

  RegistrySession& session_;
  BlobTransfer& transfer_;  // the thread of Run's
  const std::string digest_ = transfer_.digest;
  const uint64_t size_ = transfer_.size;
  const Cancelled stopped_;
  const uint64_t ahead_;  // chunks in memory
  const uint64_t begin_;
  std::atomic<bool> stop_{false};  // set under mutex_, for those who wait
  absl::Mutex mutex_;
  absl::CondVar changed_;
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t delivered_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, absl::StatusOr<std::string>> fetched_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::Status GetBlobInRanges(const RangedBlob& blob, BlobTransfer& transfer, const BlobSink& sink,
                             const Cancelled& stopped) {
  std::vector<TransferSlots::Slot> slots;
  if (transfer.size > blob.large) {
    while (static_cast<int>(slots.size()) + 1 < blob.connections) {
      TransferSlots::Slot slot = blob.slots->TryTake();
      if (!slot) break;
      slots.push_back(std::move(slot));
    }
  }
  if (!slots.empty()) {
    absl::Status status = Chunks(*blob.session, transfer, static_cast<int>(slots.size()) + 1, stopped).Run(sink);
    if (!absl::IsUnimplemented(status)) return status;
    slots.clear();
  }
  return blob.session->GetBlob(transfer, sink, stopped);
}

}  // namespace berth::image
