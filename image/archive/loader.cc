#include "image/archive/loader.h"

#include <atomic>
#include <memory>
#include <set>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "image/archive/archive.h"
#include "image/archive/image_reader.h"
#include "image/pull/image_record.h"
#include "image/pull/manifest.h"
#include "image/pull/parallel_jobs.h"

namespace berth::image {
namespace {

std::vector<std::string> AllNames(const std::vector<ArchivedImage>& images) {
  std::vector<std::string> names;
  for (const ArchivedImage& image : images) {
    names.push_back(image.record.manifest_digest);
    names.push_back(image.record.id);
    for (const ArchivedLayer& layer : image.layers) names.push_back(layer.blob.diff_id);
  }
  return names;
}

// Those that are not in the store, each once.
std::vector<const ArchivedLayer*> MissingLayers(const std::vector<ArchivedImage>& images, const LayerStore& layers) {
  std::vector<const ArchivedLayer*> out;
  std::set<std::string> seen;
  for (const ArchivedImage& image : images) {
    for (const ArchivedLayer& layer : image.layers) {
      if (!layers.Has(layer.blob.diff_id) && seen.insert(layer.blob.diff_id).second) out.push_back(&layer);
    }
  }
  return out;
}

absl::Status ImportLayers(const PullParts& parts, const Archive& archive,
                          const std::vector<const ArchivedLayer*>& layers, const std::function<bool()>& cancelled) {
  std::atomic<bool> stop{false};
  absl::Mutex mutex;
  std::vector<std::unique_ptr<LayerSink>> sinks;
  auto import = [&](size_t i) -> absl::Status {
    ASSIGN_OR_RETURN(std::unique_ptr<LayerSink> sink, parts.layers->NewSink(layers[i]->blob));
    RETURN_IF_ERROR(archive.Copy(layers[i]->member, [&](absl::string_view bytes) -> absl::Status {
      if (stop.load()) return absl::CancelledError("the load was cancelled");
      return sink->Write(bytes);
    }));
    RETURN_IF_ERROR(sink->Finish());
    absl::MutexLock lock(&mutex);
    sinks.push_back(std::move(sink));
    return absl::OkStatus();
  };
  auto watch = [&] {
    if (cancelled && cancelled()) stop.store(true);
  };
  RETURN_IF_ERROR(RunJobs(layers.size(), parts.parallel_layers, stop, import, watch));
  if (stop.load()) return absl::CancelledError("the load was cancelled");
  return parts.layers->Commit(std::move(sinks));
}

}  // namespace

absl::StatusOr<std::vector<ImageRow>> LoadImages(const PullParts& parts, const std::string& staging,
                                                 const LoadRequest& request) {
  ASSIGN_OR_RETURN(std::unique_ptr<Archive> archive, Archive::Receive(staging, request.input));
  ASSIGN_OR_RETURN(std::vector<ArchivedImage> images, ReadImages(*archive, HostPlatform()));
  LayerLeases::Lease lease = parts.leases->Hold(AllNames(images));
  RETURN_IF_ERROR(ImportLayers(parts, *archive, MissingLayers(images, *parts.layers), request.cancelled));
  if (request.cancelled && request.cancelled()) return absl::CancelledError("the load was cancelled");
  std::vector<ImageRow> rows;
  for (ArchivedImage& image : images) {
    ASSIGN_OR_RETURN(ImageRow row, RecordImage(parts, std::move(image.record), {}));
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace berth::image
