#include "image/push/pusher.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "image/content/digest.h"
#include "image/pull/manifest.h"
#include "image/pull/manifest_rewrite.h"
#include "image/pull/parallel_jobs.h"
#include "image/push/layer_push.h"
#include "image/push/push_monitor.h"
#include "image/registry/hosts_config.h"

namespace berth::image {
namespace {

// A layer to push; one that occurs twice in the image is pushed once.
struct Job {
  Descriptor pulled;
  std::string diff_id;
};

// The repositories of `host` that the image's names speak of, but for `path`.
std::vector<std::string> Siblings(const ImageRow& row, const Reference& destination) {
  std::set<std::string> paths;
  for (const auto* names : {&row.digests, &row.tags}) {
    for (const std::string& name : *names) {
      auto reference = ParseReference(name);
      if (reference.ok() && reference->host == destination.host) paths.insert(reference->path);
    }
  }
  paths.erase(destination.path);
  return {paths.begin(), paths.end()};
}

std::string Scope(const Reference& destination, const std::vector<std::string>& siblings) {
  std::string scope = absl::StrCat("repository:", destination.path, ":pull,push");
  for (const std::string& sibling : siblings) absl::StrAppend(&scope, " repository:", sibling, ":pull");
  return scope;
}

absl::StatusOr<Endpoint> EndpointForPush(const Reference& destination, const std::vector<std::string>& dirs) {
  ASSIGN_OR_RETURN(std::vector<Endpoint> endpoints, FindEndpoints(destination, dirs));
  for (auto it = endpoints.rbegin(); it != endpoints.rend(); ++it) {
    if (!it->is_mirror) return std::move(*it);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("hosts.toml names only mirrors for ", destination.host, ": nothing is pushed to a mirror"));
}

absl::string_view Suffix(Compression compression) {
  return compression == Compression::kZstd ? "+zstd" : compression == Compression::kGzip ? "+gzip" : "";
}

absl::StatusOr<Manifest> ReadStoredManifest(absl::string_view bytes, const ImageRow& row) {
  ASSIGN_OR_RETURN(auto parsed, ParseManifest(bytes, ""), "stored manifest ", row.manifest_digest);
  auto* manifest = std::get_if<Manifest>(&parsed);
  if (manifest == nullptr || manifest->layers.size() != row.layers.size()) {
    return absl::DataLossError(absl::StrCat("the stored manifest of ", row.id.str(), " is another image's"));
  }
  return std::move(*manifest);
}

// What the manifest says instead of the blobs of the pull.
std::vector<std::optional<LayerReplacement>> Replacements(const Manifest& manifest, const ImageRow& row,
                                                          const std::map<std::string, UploadedBlob>& pushed,
                                                          Compression compression) {
  std::vector<std::optional<LayerReplacement>> out(manifest.layers.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const UploadedBlob& blob = pushed.at(row.layers[i]);
    if (blob.digest == manifest.layers[i].digest) continue;
    out[i] = {.digest = blob.digest, .size = blob.size, .suffix = std::string(Suffix(compression))};
  }
  return out;
}

std::vector<Job> Jobs(const Manifest& manifest, const ImageRow& row) {
  std::vector<Job> jobs;
  std::set<std::string> seen;
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    if (seen.insert(row.layers[i]).second) jobs.push_back({manifest.layers[i], row.layers[i]});
  }
  return jobs;
}

}  // namespace

absl::StatusOr<Reference> PushDestination(const PushRequest& request, const ImageRow& row) {
  const std::string& text = request.destination.empty() ? request.image : request.destination;
  ASSIGN_OR_RETURN(Reference destination, ParseReference(text), "push destination");
  if (!destination.digest.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("push destination \"", text, "\" has a digest: an image is pushed to a tag"));
  }
  const std::string normal = destination.Normal();
  if (request.destination.empty() && std::find(row.tags.begin(), row.tags.end(), normal) == row.tags.end()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no tag of the image: name a destination"));
  }
  return destination;
}

namespace {

absl::StatusOr<PushResult> Push(const PushParts& parts, const ImageRow& row, const Reference& destination,
                                const PushRequest& request) {
  ASSIGN_OR_RETURN(Compression compression, ParseCompression(request.compression));
  if (row.id.str() == row.manifest_digest) {
    return absl::InvalidArgumentError("it is an artifact: only container images are pushed");
  }
  RETURN_IF_ERROR(VerifyDigest(row.id.str(), row.config), "stored config");
  ASSIGN_OR_RETURN(std::string original, parts.store->content->Get(row.manifest_digest), "manifest of the image");
  ASSIGN_OR_RETURN(Manifest manifest, ReadStoredManifest(original, row));
  ASSIGN_OR_RETURN(Endpoint endpoint, EndpointForPush(destination, parts.store->hosts_dirs));

  HttpClient http(parts.store->http, *parts.store->health);
  std::atomic<bool> stop{false};
  const std::vector<std::string> siblings = Siblings(row, destination);
  auto cancelled = [&] { return stop.load() || (request.cancelled && request.cancelled()); };
  // Those for another server are left out.
  Credentials credentials;
  if (IsRegistryOf(destination, request.credentials.server_address)) credentials = request.credentials;
  RegistrySession session(
      std::move(endpoint), destination, credentials,
      {.http = &http, .tokens = parts.store->tokens, .cancelled = cancelled, .scope = Scope(destination, siblings)});
  RepositoryWriter writer(&session, parts.store->retry, cancelled);
  PushMonitor monitor;
  uint64_t reported = 0;
  auto report = [&] {
    uint64_t version = monitor.Version();
    if (!request.progress || version == reported) return;
    reported = version;
    request.progress(monitor.Blobs());
  };

  std::vector<Job> jobs = Jobs(manifest, row);
  std::vector<BlobProgress> progress;
  for (const Job& job : jobs) progress.push_back({.digest = job.diff_id});
  progress.push_back({.digest = row.id.str(), .total = row.config.size()});
  const size_t config = jobs.size();
  monitor.SetBlobs(std::move(progress));

  LayerPush push{.writer = &writer,
                 .layers = parts.store->layers,
                 .known = parts.known,
                 .siblings = siblings,
                 .compression = compression,
                 .chunk = parts.chunk};
  std::vector<UploadedBlob> pushed(jobs.size());  // each is written by the thread that has the job
  auto push_one = [&](size_t i) -> absl::Status {
    auto progressed = [&monitor, i](uint64_t bytes) { monitor.SetDone(i, bytes); };
    ASSIGN_OR_RETURN(pushed[i], PushLayer(push, jobs[i].pulled, jobs[i].diff_id, progressed));
    monitor.SetFinished(i, pushed[i]);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(RunJobs(jobs.size(), parts.parallel_layers, stop, push_one, report));
  std::map<std::string, UploadedBlob> blobs;
  for (size_t i = 0; i < jobs.size(); ++i) blobs[jobs[i].diff_id] = pushed[i];
  ASSIGN_OR_RETURN(UploadedBlob config_blob, PushBytes(writer, row.config));
  monitor.SetFinished(config, config_blob);
  report();
  ASSIGN_OR_RETURN(ManifestBytes document, RewriteManifest(original, Replacements(manifest, row, blobs, compression)));
  RETURN_IF_ERROR(writer.PutManifest(destination.tag, document.media_type, document.bytes, document.digest));
  return PushResult{.digest = document.digest, .name = destination.Normal()};
}

}  // namespace

absl::StatusOr<PushResult> PushImage(const PushParts& parts, const ImageRow& row, const Reference& destination,
                                     const PushRequest& request) {
  absl::StatusOr<PushResult> result = Push(parts, row, destination, request);
  if (!absl::IsUnavailable(result.status())) return result;
  return absl::UnavailableError(absl::StrCat("RegistryUnavailable: ", result.status().message()));
}

}  // namespace berth::image
