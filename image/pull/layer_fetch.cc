#include "image/pull/layer_fetch.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "image/pull/ranged_blob.h"
#include "image/registry/server_queue.h"

namespace berth::image {
namespace {

constexpr uint64_t kProgress = 256 << 10;  // received since the last failure: then the count of failures begins anew
constexpr absl::Duration kPoll = absl::Milliseconds(50);
constexpr int kMaxWaits = 3;  // for other pulls that then do not bring the layer

// A layer to be fetched by us: `claim` is ours, or somebody else's whom we do not want to wait for.
struct Job {
  size_t index;  // into the blobs
  LayerFlights::Claim claim;
};

// Fetches some of the layers, each once.
class Fetcher {
 public:
  Fetcher(const LayerFetch& fetch, const std::vector<LayerBlob>& blobs, std::vector<Job> jobs)
      : fetch_(fetch), blobs_(blobs), jobs_(std::move(jobs)) {
    std::stable_sort(jobs_.begin(), jobs_.end(),
                     [&](const Job& a, const Job& b) { return blobs_[a.index].size > blobs_[b.index].size; });
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
    if (running_ > 0) changed_.WaitWithTimeout(&mutex_, kPoll);
    return running_ > 0;
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
      if (fetch_.layers->Has(blobs_[jobs_[at].index].diff_id)) continue;
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
    changed_.Signal();
  }

  // The same bytes may come from any of the servers, so a transfer goes on at the next one. A layer that turned out
  // wrong begins anew there.
  absl::StatusOr<std::unique_ptr<LayerSink>> FetchAnywhere(const Job& job) {
    const LayerBlob& blob = blobs_[job.index];
    ServerQueue queue(fetch_.sessions, fetch_.retry, *fetch_.health, [this] { return Stopped(); });
    std::unique_ptr<LayerSink> sink;
    BlobTransfer transfer;
    while (true) {
      ASSIGN_OR_RETURN(RegistrySession * session, queue.Next());
      ASSIGN_OR_RETURN(TransferSlots::Slot slot, fetch_.slots->Take([this] { return Stopped(); }));
      if (!sink) {
        ASSIGN_OR_RETURN(sink, fetch_.layers->NewSink(blob));
        transfer = {.digest = blob.digest, .size = blob.size};
      }
      const uint64_t before = transfer.received;
      absl::Status status = FetchFrom(*session, job, transfer, *sink);
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

  absl::Status FetchFrom(RegistrySession& session, const Job& job, BlobTransfer& transfer, LayerSink& sink) {
    auto write = [&](absl::string_view bytes) -> absl::Status {
      RETURN_IF_ERROR(sink.Write(bytes));
      fetch_.monitor->SetDone(job.index, transfer.received + bytes.size());
      if (job.claim.mine()) job.claim.flight().SetReceived(transfer.received + bytes.size());
      return absl::OkStatus();
    };
    RangedBlob ranged{.session = &session, .slots = fetch_.slots, .connections = fetch_.range_connections};
    RETURN_IF_ERROR(GetBlobInRanges(ranged, transfer, write, [this] { return stop_.load(); }));
    if (job.claim.mine()) job.claim.flight().SetLanding();
    RETURN_IF_ERROR(sink.Finish());
    fetch_.monitor->SetUnpacked(job.index);
    return absl::OkStatus();
  }

  const LayerFetch& fetch_;
  const std::vector<LayerBlob>& blobs_;
  std::vector<Job> jobs_;
  std::atomic<size_t> next_{0};  // into jobs_
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  absl::CondVar changed_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Finished> finished_ ABSL_GUARDED_BY(mutex_);  // a sink goes when it is committed
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

// What is there already, for who watches; the rest is to be had.
std::vector<size_t> Missing(const LayerFetch& fetch, const std::vector<LayerBlob>& blobs) {
  std::vector<LayerProgress> progress;
  std::vector<size_t> missing;
  for (size_t i = 0; i < blobs.size(); ++i) {
    bool there = fetch.layers->Has(blobs[i].diff_id);
    progress.push_back({.digest = blobs[i].digest, .total = blobs[i].size, .unpacked = there, .already_there = there});
    if (!there) missing.push_back(i);
  }
  fetch.monitor->SetLayers(std::move(progress));
  return missing;
}

}  // namespace

absl::Status FetchLayers(const LayerFetch& fetch, const std::vector<LayerBlob>& blobs) {
  std::vector<size_t> missing = Missing(fetch, blobs);
  std::vector<int> waits(blobs.size());
  while (!missing.empty()) {
    std::vector<Job> jobs, others;
    for (size_t index : missing) {
      Job job{index, fetch.flights->TryClaim(blobs[index].diff_id)};
      if (fetch.layers->Has(blobs[index].diff_id)) {
        fetch.monitor->SetDone(index, blobs[index].size);
        fetch.monitor->SetUnpacked(index);
      } else {
        (job.claim.mine() || waits[index] >= kMaxWaits ? jobs : others).push_back(std::move(job));
      }
    }
    missing.clear();
    if (!jobs.empty()) RETURN_IF_ERROR(Fetcher(fetch, blobs, std::move(jobs)).Run());
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
