#include "image/pull/layer_fetch.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "image/pull/file_layer.h"
#include "image/pull/ranged_blob.h"
#include "image/registry/server_queue.h"
#include "runtime/base/timed_condition.h"

namespace berth::image {
namespace {

constexpr uint64_t kProgress = 256 << 10;  // received since the last failure: then the count of failures begins anew
constexpr absl::Duration kPoll = absl::Milliseconds(50);
constexpr int kMaxWaits = 3;  // for other pulls that then do not bring the layer

// A layer to be fetched by us: `claim` is ours, or somebody else's whom we do not want to wait for.
struct Job {
  size_t index;  // into the layers
  LayerFlights::Claim claim;
};

// Fetches some of the layers, each once.
class Fetcher {
 public:
  Fetcher(const LayerFetch& fetch, const std::vector<WantedLayer>& layers, std::vector<Job> jobs,
          std::vector<std::string>& diff_ids)
      : fetch_(fetch), layers_(layers), jobs_(std::move(jobs)), diff_ids_(diff_ids) {
    std::stable_sort(jobs_.begin(), jobs_.end(), [&](const Job& a, const Job& b) {
      return layers_[a.index].blob.size > layers_[b.index].blob.size;
    });
  }

  // The workers fetch; this thread commits, all together at the end, or before that what another pull waits for.
  absl::Status Run() {
    const int workers = std::min<int>(static_cast<int>(jobs_.size()), std::max(fetch_.parallel, 1));
    {
      absl::MutexLock lock(&mutex_);
      running_ = workers;
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < workers; ++i) threads.emplace_back([this] { Work(); });
    while (Working()) Fail(CommitFinished(false));
    for (std::thread& thread : threads) thread.join();
    {
      absl::MutexLock lock(&mutex_);
      RETURN_IF_ERROR(first_error_);
    }
    if (fetch_.monitor->cancelled()) return absl::CancelledError("the pull was cancelled");
    if (fetch_.known) fetch_.known(diff_ids_);
    return CommitFinished(true);
  }

 private:
  struct Finished {
    std::unique_ptr<LayerSink> sink;
    Job* job;
  };

  bool Stopped() const { return stop_.load() || fetch_.monitor->cancelled(); }

  // Whether workers are left, after a short while.
  bool Working() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ == 0; };
    return !changed_.Await(mutex_, over, Deadline::In(kPoll));
  }

  void Fail(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    if (status.ok()) return;
    stop_.store(true);
    absl::MutexLock lock(&mutex_);
    first_error_.Update(status);
  }

  absl::Status CommitFinished(bool all) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<std::unique_ptr<LayerSink>> sinks;
    std::vector<Job*> jobs;
    {
      absl::MutexLock lock(&mutex_);
      for (Finished& finished : finished_) {
        if (!finished.sink || (!all && !finished.job->claim.flight().wanted())) continue;
        sinks.push_back(std::move(finished.sink));
        jobs.push_back(finished.job);
      }
    }
    if (sinks.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(fetch_.layers->Commit(std::move(sinks)));
    for (Job* job : jobs) job->claim = LayerFlights::Claim();
    return absl::OkStatus();
  }

  void Work() {
    for (size_t at; !Stopped() && (at = next_.fetch_add(1)) < jobs_.size();) {
      // Meanwhile it may have come with another image, whose pull did not wait for us.
      if (fetch_.layers->Has(layers_[jobs_[at].index].blob.diff_id)) continue;
      absl::StatusOr<std::unique_ptr<LayerSink>> sink = FetchAnywhere(jobs_[at]);
      if (!sink.ok()) {
        Fail(sink.status());
        break;
      }
      absl::MutexLock lock(&mutex_);
      finished_.push_back({*std::move(sink), &jobs_[at]});
    }
    absl::MutexLock lock(&mutex_);
    --running_;
    changed_.NotifyAll();
  }

  // The same bytes may come from any of the servers, so a transfer goes on at the next one. A layer that turned out
  // wrong begins anew there.
  absl::StatusOr<std::unique_ptr<LayerSink>> FetchAnywhere(const Job& job) {
    const auto& [blob, file] = layers_[job.index];
    ServerQueue queue(fetch_.sessions, fetch_.retry, *fetch_.health, [this] { return Stopped(); });
    std::unique_ptr<LayerSink> sink;
    std::optional<FileLayer> as_file;
    BlobTransfer transfer;
    while (true) {
      ASSIGN_OR_RETURN(RegistrySession * session, queue.Next());
      ASSIGN_OR_RETURN(TransferSlots::Slot slot, fetch_.slots->Take([this] { return Stopped(); }));
      if (!sink) {
        ASSIGN_OR_RETURN(sink, fetch_.layers->NewSink(file.empty() ? blob : LayerBlob()));
        if (!file.empty()) as_file.emplace(blob, file, sink.get());
        transfer = {.digest = blob.digest, .size = blob.size};
      }
      const uint64_t before = transfer.received;
      absl::Status status =
          as_file ? FetchFrom(*session, job, transfer, *as_file) : FetchFrom(*session, job, transfer, *sink);
      if (status.ok()) return sink;
      if (Stopped()) return status;
      if (absl::IsDataLoss(status) || absl::IsInvalidArgument(status)) {
        sink.reset();  // what looks like a malformed archive may be bytes that this server made up
      } else if (absl::IsResourceExhausted(status) || absl::IsUnimplemented(status) || absl::IsInternal(status)) {
        return status;  // of this machine, or of the layer: another server would not change it
      }
      queue.Failed(status, transfer.received - before >= kProgress);
    }
  }

  // `Sink` is a LayerSink, or a FileLayer over one.
  template <typename Sink>
  absl::Status FetchFrom(RegistrySession& session, const Job& job, BlobTransfer& transfer, Sink& sink) {
    auto write = [&](absl::string_view bytes) -> absl::Status {
      RETURN_IF_ERROR(sink.Write(bytes));
      fetch_.monitor->SetDone(job.index, transfer.received + bytes.size());
      if (job.claim.mine()) job.claim.flight().SetReceived(transfer.received + bytes.size());
      return absl::OkStatus();
    };
    RangedBlob ranged{.session = &session, .slots = fetch_.slots, .connections = fetch_.range_connections};
    RETURN_IF_ERROR(GetBlobInRanges(ranged, transfer, write, [this] { return stop_.load(); }));
    if (job.claim.mine()) job.claim.flight().SetLanding();
    ASSIGN_OR_RETURN(LayerResult result, sink.Finish());
    diff_ids_[job.index] = std::move(result.diff_id);
    fetch_.monitor->SetUnpacked(job.index);
    return absl::OkStatus();
  }

  const LayerFetch& fetch_;
  const std::vector<WantedLayer>& layers_;
  std::vector<Job> jobs_;
  std::vector<std::string>& diff_ids_;  // of the layers; each is written by the one thread that fetches its layer
  std::atomic<size_t> next_{0};         // into jobs_
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  TimedCondition changed_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Finished> finished_ ABSL_GUARDED_BY(mutex_);  // a sink goes when it is committed
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

// What is there already, for who watches; the rest is to be had.
std::vector<size_t> Missing(const LayerFetch& fetch, const std::vector<WantedLayer>& layers) {
  std::vector<LayerProgress> progress;
  std::vector<size_t> missing;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerBlob& blob = layers[i].blob;
    bool there = fetch.layers->Has(blob.diff_id);
    progress.push_back({.digest = blob.digest, .total = blob.size, .unpacked = there, .already_there = there});
    if (!there) missing.push_back(i);
  }
  fetch.monitor->SetLayers(std::move(progress));
  return missing;
}

}  // namespace

absl::Status FetchLayers(const LayerFetch& fetch, const std::vector<WantedLayer>& layers) {
  std::vector<size_t> missing = Missing(fetch, layers);
  std::vector<int> waits(layers.size());
  std::vector<std::string> diff_ids;
  for (const WantedLayer& layer : layers) diff_ids.push_back(layer.blob.diff_id);
  while (!missing.empty()) {
    std::vector<Job> jobs, others;
    for (size_t index : missing) {
      const LayerBlob& blob = layers[index].blob;
      Job job{index, fetch.flights->TryClaim(blob.diff_id)};
      if (fetch.layers->Has(blob.diff_id)) {
        fetch.monitor->SetDone(index, blob.size);
        fetch.monitor->SetUnpacked(index);
      } else {
        // Who does not know the diffID cannot look for what another pull brought.
        const bool is_ours = job.claim.mine() || blob.diff_id.empty() || waits[index] >= kMaxWaits;
        (is_ours ? jobs : others).push_back(std::move(job));
      }
    }
    missing.clear();
    if (!jobs.empty()) RETURN_IF_ERROR(Fetcher(fetch, layers, std::move(jobs), diff_ids).Run());
    for (const Job& job : others) {
      auto moved = [&](uint64_t received) { fetch.monitor->SetDone(job.index, received); };
      auto cancelled = [&] { return fetch.monitor->cancelled(); };
      ASSIGN_OR_RETURN(bool over, fetch.flights->Await(job.claim.flight(), cancelled, moved));
      waits[job.index] = over ? waits[job.index] + 1 : kMaxWaits;
      missing.push_back(job.index);
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::image
