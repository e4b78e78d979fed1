#include "image/pull/puller.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "image/content/digest.h"
#include "image/pull/artifact.h"
#include "image/pull/image_config.h"
#include "image/pull/layer_fetch.h"
#include "image/pull/manifest.h"
#include "image/registry/hosts_config.h"
#include "image/registry/server_queue.h"
#include "image/registry/session.h"
#include "image/trust/trust.h"

namespace berth::image {
namespace {

constexpr int kMaxNesting = 3;  // an index in an index is allowed by the specification, and rare

// A manifest for this platform, and what led to it.
struct Resolved {
  JudgedImage named;  // what the reference means: the index, if there is one
  ManifestDocument document;
  Manifest manifest;
};

class Pull {
 public:
  Pull(const PullParts& parts, const Reference& reference, const Credentials& credentials, PullMonitor& monitor)
      : parts_(parts),
        reference_(reference),
        monitor_(monitor),
        host_(HostPlatform()),
        http_(parts.http, *parts.health) {
    context_ = {.http = &http_, .tokens = parts.tokens, .cancelled = [this] { return monitor_.cancelled(); }};
    if (IsRegistryOf(reference, credentials.server_address)) credentials_ = credentials;
  }

  absl::StatusOr<ImageRow> Run() {
    ASSIGN_OR_RETURN(std::vector<Endpoint> endpoints, FindEndpoints(reference_, parts_.hosts_dirs));
    for (Endpoint& endpoint : endpoints) {
      sessions_.push_back(std::make_unique<RegistrySession>(std::move(endpoint), reference_, credentials_, context_));
    }
    ASSIGN_OR_RETURN(Resolved resolved, Resolve());
    RETURN_IF_ERROR(CheckTrust(parts_.trust, {reference_, resolved.named, resolved.document.digest}, Reader()));
    if (!resolved.manifest.artifact_type.empty()) return RunArtifact(resolved);
    ASSIGN_OR_RETURN(std::string config_bytes, GetConfig(resolved.manifest.config));
    ASSIGN_OR_RETURN(ConfigDocument config, ParseImageConfig(config_bytes), reference_.Normal());
    RETURN_IF_ERROR(CheckConfig(config, resolved.manifest, host_), reference_.Normal());
    std::vector<std::string> held = config.diff_ids;
    held.push_back(resolved.document.digest);
    held.push_back(resolved.manifest.config.digest);
    lease_ = parts_.leases->Hold(std::move(held));
    RETURN_IF_ERROR(FetchLayers(Fetch(), Blobs(resolved.manifest, config)));
    RETURN_IF_ERROR(parts_.content->Put(resolved.document.digest, resolved.document.bytes));
    RETURN_IF_ERROR(parts_.content->Put(resolved.manifest.config.digest, config_bytes));
    return Record(resolved, resolved.manifest.config.digest, config.diff_ids, std::move(config_bytes));
  }

 private:
  // An artifact is known by its manifest, as many of them share one empty config. Nothing promises the diffIDs of its
  // layers: they are in the catalogue, or they are found out.
  absl::StatusOr<ImageRow> RunArtifact(const Resolved& resolved) {
    const std::string& id = resolved.document.digest;
    ASSIGN_OR_RETURN(std::vector<WantedLayer> wanted, ArtifactLayers(resolved.manifest), reference_.Normal());
    lease_ = parts_.leases->Hold({id});
    std::vector<std::string> diff_ids;
    LayerLeases::Lease layers;
    if (auto before = parts_.catalog->LayersOf(ImageId(id)); before.ok()) {
      diff_ids = *std::move(before);
      layers = parts_.leases->Hold(diff_ids);
    }
    auto is_there = [&](const std::string& layer) { return parts_.layers->Has(layer); };
    if (diff_ids.empty() || !std::all_of(diff_ids.begin(), diff_ids.end(), is_there)) {
      LayerFetch fetch = Fetch();
      fetch.known = [&](const std::vector<std::string>& known) {
        diff_ids = known;
        layers = parts_.leases->Hold(known);
      };
      RETURN_IF_ERROR(FetchLayers(fetch, wanted));
    }
    RETURN_IF_ERROR(parts_.content->Put(id, resolved.document.bytes));
    std::string config = ArtifactConfig(resolved.manifest, diff_ids);
    return Record(resolved, id, diff_ids, std::move(config));
  }

  LayerFetch Fetch() const {
    return {.layers = parts_.layers,
            .flights = parts_.flights,
            .slots = parts_.slots,
            .health = parts_.health,
            .retry = parts_.retry,
            .sessions = Sessions(false),
            .parallel = parts_.parallel_layers,
            .range_connections = parts_.range_connections,
            .monitor = &monitor_};
  }

  // Asks those that may answer such a question until one does.
  template <typename Ask>
  auto AskEach(bool by_tag, Ask ask) -> decltype(ask(std::declval<RegistrySession&>())) {
    ServerQueue queue(Sessions(by_tag), parts_.retry, *parts_.health, context_.cancelled);
    while (true) {
      ASSIGN_OR_RETURN(RegistrySession * session, queue.Next());
      auto answer = ask(*session);
      if (answer.ok()) return answer;
      queue.Failed(answer.status());
    }
  }

  absl::StatusOr<Resolved> Resolve() {
    Resolved out;
    std::string selector = reference_.Selector(), promised_type;
    for (int depth = 0; depth < kMaxNesting; ++depth) {
      bool by_tag = depth == 0 && reference_.digest.empty();
      ASSIGN_OR_RETURN(out.document, AskEach(by_tag, [&](RegistrySession& s) { return s.GetManifest(selector); }));
      if (depth == 0) {
        out.named = {reference_.Normal(), out.document.digest, out.document.media_type, out.document.bytes.size()};
      }
      ASSIGN_OR_RETURN(auto parsed, ParseManifest(out.document.bytes, out.document.media_type), reference_.Normal());
      if (auto* manifest = std::get_if<Manifest>(&parsed)) {
        out.manifest = std::move(*manifest);
        return out;
      }
      ASSIGN_OR_RETURN(Descriptor chosen, ChooseManifest(std::get<Index>(parsed), host_), reference_.Normal());
      selector = chosen.digest;
    }
    return absl::InvalidArgumentError(absl::StrCat(reference_.Normal(), ": indexes within indexes"));
  }

  // What else the check of trust asks the repository for.
  RepositoryReader Reader() {
    return {.manifest = [this](const std::string& tag) -> absl::StatusOr<std::string> {
              ASSIGN_OR_RETURN(ManifestDocument document,
                               AskEach(true, [&](RegistrySession& s) { return s.GetManifest(tag); }));
              return std::move(document.bytes);
            },
            .blob =
                [this](const std::string& digest, uint64_t size) {
                  return AskEach(false, [&](RegistrySession& s) { return s.GetDocument(digest, size); });
                }};
  }

  absl::StatusOr<std::string> GetConfig(const Descriptor& config) {
    if (config.size > ContentStore::kMaxDocument) {
      return absl::InvalidArgumentError(absl::StrCat(reference_.Normal(), ": a config of ", config.size, " bytes"));
    }
    if (auto known = parts_.content->Get(config.digest); known.ok() && known->size() == config.size) return known;
    return AskEach(false, [&](RegistrySession& s) { return s.GetDocument(config.digest, config.size); });
  }

  // Those that may say what a tag means, or have what a digest names.
  std::vector<RegistrySession*> Sessions(bool by_tag) const {
    std::vector<RegistrySession*> out;
    for (const auto& session : sessions_) {
      if (by_tag ? session->endpoint().resolve : session->endpoint().pull) out.push_back(session.get());
    }
    return out;
  }

  // A layer that occurs twice is fetched once.
  static std::vector<WantedLayer> Blobs(const Manifest& manifest, const ConfigDocument& config) {
    std::vector<WantedLayer> out;
    std::set<std::string> seen;
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      if (!seen.insert(config.diff_ids[i]).second) continue;
      out.push_back({.blob = {manifest.layers[i].digest, manifest.layers[i].size, config.diff_ids[i]}});
    }
    return out;
  }

  absl::StatusOr<ImageRow> Record(const Resolved& resolved, const std::string& id,
                                  const std::vector<std::string>& diff_ids, std::string config) {
    ImageRow row;
    row.id = ImageId(id);
    row.manifest_digest = resolved.document.digest;
    row.pulled_at = absl::Now();
    row.config = std::move(config);
    row.layers = diff_ids;
    for (const std::string& layer : row.layers) {
      ASSIGN_OR_RETURN(LayerInfo info, parts_.layers->Info(layer));
      row.size += info.bytes;
    }
    row.size = std::max<uint64_t>(row.size, 1);
    if (reference_.digest.empty()) row.tags.push_back(reference_.Normal());
    row.digests.push_back(absl::StrCat(reference_.Name(), "@", resolved.named.digest));
    row.pinned = parts_.pinned.count(reference_.Normal()) > 0 || parts_.pinned.count(row.digests[0]) > 0;
    if (auto before = parts_.catalog->FindById(row.id.str()); before.ok()) row.pinned |= before->pinned;
    if (monitor_.cancelled()) return absl::CancelledError("the pull was cancelled");
    RETURN_IF_ERROR(parts_.catalog->PutImage(row));
    return parts_.catalog->FindById(row.id.str());
  }

  const PullParts& parts_;
  const Reference& reference_;
  Credentials credentials_;
  PullMonitor& monitor_;
  const Platform host_;
  HttpClient http_;
  RegistrySession::Context context_;
  std::vector<std::unique_ptr<RegistrySession>> sessions_;
  LayerLeases::Lease lease_;
};

}  // namespace

absl::StatusOr<ImageRow> PullImage(const PullParts& parts, const Reference& reference, const Credentials& credentials,
                                   PullMonitor& monitor) {
  absl::StatusOr<ImageRow> row = Pull(parts, reference, credentials, monitor).Run();
  // To a caller of the image service this code would say that pulling is not implemented.
  if (absl::IsUnimplemented(row.status())) {
    return absl::InvalidArgumentError(absl::StrCat(reference.Normal(), ": ", row.status().message()));
  }
  if (absl::IsUnavailable(row.status())) {
    return absl::UnavailableError(absl::StrCat("RegistryUnavailable: ", row.status().message()));
  }
  return row;
}

}  // namespace berth::image
