#include "image/pull/layer_fetch.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"

namespace berth::image {
namespace {

class Fetcher {
 public:
  Fetcher(const LayerFetch& fetch, const std::vector<LayerBlob>& blobs) : fetch_(fetch), blobs_(blobs) {}

  absl::Status Run() {
    Plan();
    size_t workers = std::min<size_t>(queue_.size(), std::max(fetch_.parallel, 1));
    std::vector<std::thread> threads;
    for (size_t i = 1; i < workers; ++i) threads.emplace_back([this] { Work(); });
    Work();
    for (std::thread& thread : threads) thread.join();
    absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(first_error_);
    if (fetch_.monitor->cancelled()) return absl::CancelledError("the pull was cancelled");
    return fetch_.layers->Commit(std::move(sinks_));
  }

 private:
  void Plan() {
    std::vector<LayerProgress> progress;
    for (size_t i = 0; i < blobs_.size(); ++i) {
      bool there = fetch_.layers->Has(blobs_[i].diff_id);
      progress.push_back(
          {.digest = blobs_[i].digest, .total = blobs_[i].size, .unpacked = there, .already_there = there});
      if (!there) queue_.push_back(i);
    }
    std::stable_sort(queue_.begin(), queue_.end(), [&](size_t a, size_t b) { return blobs_[a].size > blobs_[b].size; });
    fetch_.monitor->SetLayers(std::move(progress));
  }

  void Work() {
    while (!stop_.load() && !fetch_.monitor->cancelled()) {
      size_t at = next_.fetch_add(1);
      if (at >= queue_.size()) return;
      absl::StatusOr<std::unique_ptr<LayerSink>> sink = FetchAnywhere(queue_[at]);
      absl::MutexLock lock(&mutex_);
      if (sink.ok()) {
        sinks_.push_back(*std::move(sink));
      } else {
        stop_.store(true);
        if (first_error_.ok()) first_error_ = sink.status();
      }
    }
  }

  // The same bytes may come from any of the servers, so a transfer goes on at the next one. A layer that turned out
  // wrong begins anew there.
  absl::StatusOr<std::unique_ptr<LayerSink>> FetchAnywhere(size_t index) {
    const LayerBlob& blob = blobs_[index];
    absl::Status last = absl::NotFoundError("no server is configured for layers");
    std::unique_ptr<LayerSink> sink;
    BlobTransfer transfer;
    for (RegistrySession* session : fetch_.sessions) {
      if (!sink) {
        ASSIGN_OR_RETURN(sink, fetch_.layers->NewSink(blob));
        transfer = {.digest = blob.digest, .size = blob.size};
      }
      last = FetchFrom(*session, index, transfer, *sink);
      if (last.ok()) return sink;
      if (stop_.load() || fetch_.monitor->cancelled()) break;
      if (absl::IsDataLoss(last) || absl::IsInvalidArgument(last)) {
        sink.reset();  // what looks like a malformed archive may be bytes that this server made up
      } else if (!absl::IsUnavailable(last) && !absl::IsNotFound(last) && !absl::IsUnauthenticated(last) &&
                 !absl::IsPermissionDenied(last)) {
        break;  // of this machine: another server would not change it
      }
    }
    return last;
  }

  absl::Status FetchFrom(RegistrySession& session, size_t index, BlobTransfer& transfer, LayerSink& sink) {
    auto write = [&](absl::string_view bytes) -> absl::Status {
      if (stop_.load()) return absl::CancelledError("another layer failed");
      RETURN_IF_ERROR(sink.Write(bytes));
      fetch_.monitor->SetDone(index, transfer.received + bytes.size());
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(session.GetBlob(transfer, write));
    RETURN_IF_ERROR(sink.Finish());
    fetch_.monitor->SetUnpacked(index);
    return absl::OkStatus();
  }

  const LayerFetch& fetch_;
  const std::vector<LayerBlob>& blobs_;
  std::vector<size_t> queue_;  // indexes into blobs_
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<LayerSink>> sinks_ ABSL_GUARDED_BY(mutex_);
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::Status FetchLayers(const LayerFetch& fetch, const std::vector<LayerBlob>& blobs) {
  return Fetcher(fetch, blobs).Run();
}

}  // namespace berth::image
