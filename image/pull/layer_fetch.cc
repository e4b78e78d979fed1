#include "image/pull/layer_fetch.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "image/pull/file_layer.h"

namespace berth::image {
namespace {

struct Fetched {
  std::unique_ptr<LayerSink> sink;
  std::string diff_id;
};

class Fetcher {
 public:
  Fetcher(const LayerFetch& fetch, const std::vector<WantedLayer>& layers) : fetch_(fetch), layers_(layers) {}

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
    if (fetch_.known) fetch_.known(diff_ids_);
    return fetch_.layers->Commit(std::move(sinks_));
  }

 private:
  void Plan() {
    std::vector<LayerProgress> progress;
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const LayerBlob& blob = layers_[i].blob;
      bool there = !blob.diff_id.empty() && fetch_.layers->Has(blob.diff_id);
      diff_ids_.push_back(blob.diff_id);
      progress.push_back({.digest = blob.digest, .total = blob.size, .unpacked = there, .already_there = there});
      if (!there) queue_.push_back(i);
    }
    std::stable_sort(queue_.begin(), queue_.end(),
                     [&](size_t a, size_t b) { return layers_[a].blob.size > layers_[b].blob.size; });
    fetch_.monitor->SetLayers(std::move(progress));
  }

  void Work() {
    while (!stop_.load() && !fetch_.monitor->cancelled()) {
      size_t at = next_.fetch_add(1);
      if (at >= queue_.size()) return;
      absl::StatusOr<Fetched> fetched = FetchAnywhere(queue_[at]);
      absl::MutexLock lock(&mutex_);
      if (fetched.ok()) {
        sinks_.push_back(std::move(fetched->sink));
        diff_ids_[queue_[at]] = std::move(fetched->diff_id);
      } else {
        stop_.store(true);
        if (first_error_.ok()) first_error_ = fetched.status();
      }
    }
  }

  // The same bytes may come from any of the servers, so a transfer goes on at the next one. A layer that turned out
  // wrong begins anew there.
  absl::StatusOr<Fetched> FetchAnywhere(size_t index) {
    const auto& [blob, file] = layers_[index];
    absl::Status last = absl::NotFoundError("no server is configured for layers");
    std::unique_ptr<LayerSink> sink;
    std::optional<FileLayer> as_file;
    BlobTransfer transfer;
    for (RegistrySession* session : fetch_.sessions) {
      if (!sink) {
        ASSIGN_OR_RETURN(sink, fetch_.layers->NewSink(file.empty() ? blob : LayerBlob()));
        if (!file.empty()) as_file.emplace(blob, file, sink.get());
        transfer = {.digest = blob.digest, .size = blob.size};
      }
      auto diff_id =
          as_file ? FetchFrom(*session, index, transfer, *as_file) : FetchFrom(*session, index, transfer, *sink);
      if (diff_id.ok()) return Fetched{std::move(sink), *std::move(diff_id)};
      last = diff_id.status();
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

  // The diffID. `Sink` is a LayerSink, or a FileLayer over one.
  template <typename Sink>
  absl::StatusOr<std::string> FetchFrom(RegistrySession& session, size_t index, BlobTransfer& transfer, Sink& sink) {
    auto write = [&](absl::string_view bytes) -> absl::Status {
      if (stop_.load()) return absl::CancelledError("another layer failed");
      RETURN_IF_ERROR(sink.Write(bytes));
      fetch_.monitor->SetDone(index, transfer.received + bytes.size());
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(session.GetBlob(transfer, write));
    ASSIGN_OR_RETURN(LayerResult result, sink.Finish());
    fetch_.monitor->SetUnpacked(index);
    return std::move(result.diff_id);
  }

  const LayerFetch& fetch_;
  const std::vector<WantedLayer>& layers_;
  std::vector<size_t> queue_;  // indexes into layers_
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<LayerSink>> sinks_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> diff_ids_ ABSL_GUARDED_BY(mutex_);  // in the order of layers_
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::Status FetchLayers(const LayerFetch& fetch, const std::vector<WantedLayer>& layers) {
  return Fetcher(fetch, layers).Run();
}

}  // namespace berth::image
