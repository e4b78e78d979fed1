#include "image/pull/puller.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "image/content/digest.h"
#include "image/pull/image_config.h"
#include "image/pull/image_record.h"
#include "image/pull/layer_fetch.h"
#include "image/pull/manifest.h"
#include "image/registry/hosts_config.h"
#include "image/registry/session.h"

namespace berth::image {
namespace {

constexpr int kMaxNesting = 3;  // an index in an index is allowed by the specification, and rare

// A manifest for this platform, and what led to it.
struct Resolved {
  std::string reference_digest;  // of the document that the reference names: the index, if there is one
  ManifestDocument document;
  Manifest manifest;
};

class Pull {
 public:
  Pull(const PullParts& parts, const Reference& reference, const Credentials& credentials, PullMonitor& monitor)
      : parts_(parts), reference_(reference), monitor_(monitor), host_(HostPlatform()), http_(parts.http) {
    context_ = {.http = &http_,
                .tokens = parts.tokens,
                .cancelled = [this] { return monitor_.cancelled(); },
                .retry = parts.retry};
    credentials_ = credentials;
  }

  absl::StatusOr<ImageRow> Run() {
    ASSIGN_OR_RETURN(std::vector<Endpoint> endpoints, FindEndpoints(reference_, parts_.hosts_dirs));
    for (Endpoint& endpoint : endpoints) {
      sessions_.push_back(std::make_unique<RegistrySession>(std::move(endpoint), reference_, credentials_, context_));
    }
    ASSIGN_OR_RETURN(Resolved resolved, Resolve());
    ASSIGN_OR_RETURN(std::string config_bytes, GetConfig(resolved.manifest.config));
    ASSIGN_OR_RETURN(ConfigDocument config, ParseImageConfig(config_bytes), reference_.Normal());
    RETURN_IF_ERROR(CheckConfig(config, resolved.manifest, host_), reference_.Normal());
    std::vector<std::string> held = config.diff_ids;
    held.push_back(resolved.document.digest);
    held.push_back(resolved.manifest.config.digest);
    lease_ = parts_.leases->Hold(std::move(held));
    RETURN_IF_ERROR(FetchLayers(
        {.layers = parts_.layers, .sessions = Sessions(), .parallel = parts_.parallel_layers, .monitor = &monitor_},
        Blobs(resolved.manifest, config)));
    NewImage image{.manifest_digest = resolved.document.digest,
                   .manifest_bytes = std::move(resolved.document.bytes),
                   .config_digest = resolved.manifest.config.digest,
                   .config_bytes = std::move(config_bytes),
                   .config = std::move(config)};
    if (reference_.digest.empty()) image.tags.push_back(reference_.Normal());
    image.digests.push_back(absl::StrCat(reference_.Name(), "@", resolved.reference_digest));
    return RecordImage(parts_, std::move(image), context_.cancelled);
  }

 private:
  // Asks each endpoint in turn that may answer such a question. The registry itself is last, and its error counts.
  template <typename Ask>
  auto AskEach(bool by_tag, Ask ask) -> decltype(ask(std::declval<RegistrySession&>())) {
    decltype(ask(std::declval<RegistrySession&>())) last =
        absl::NotFoundError(absl::StrCat("no server is configured for ", reference_.Name()));
    for (const auto& session : sessions_) {
      if (by_tag ? !session->endpoint().resolve : !session->endpoint().pull) continue;
      last = ask(*session);
      if (last.ok() || absl::IsCancelled(last.status())) break;
    }
    return last;
  }

  absl::StatusOr<Resolved> Resolve() {
    Resolved out;
    std::string selector = reference_.Selector(), promised_type;
    for (int depth = 0; depth < kMaxNesting; ++depth) {
      bool by_tag = depth == 0 && reference_.digest.empty();
      ASSIGN_OR_RETURN(out.document, AskEach(by_tag, [&](RegistrySession& s) { return s.GetManifest(selector); }));
      if (depth == 0) out.reference_digest = out.document.digest;
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

  absl::StatusOr<std::string> GetConfig(const Descriptor& config) {
    if (config.size > ContentStore::kMaxDocument) {
      return absl::InvalidArgumentError(absl::StrCat(reference_.Normal(), ": a config of ", config.size, " bytes"));
    }
    if (auto known = parts_.content->Get(config.digest); known.ok() && known->size() == config.size) return known;
    return AskEach(false, [&](RegistrySession& s) { return s.GetDocument(config.digest, config.size); });
  }

  std::vector<RegistrySession*> Sessions() const {
    std::vector<RegistrySession*> out;
    for (const auto& session : sessions_) {
      if (session->endpoint().pull) out.push_back(session.get());
    }
    return out;
  }

  // A layer that occurs twice is fetched once.
  static std::vector<LayerBlob> Blobs(const Manifest& manifest, const ConfigDocument& config) {
    std::vector<LayerBlob> out;
    std::set<std::string> seen;
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      if (!seen.insert(config.diff_ids[i]).second) continue;
      out.push_back({manifest.layers[i].digest, manifest.layers[i].size, config.diff_ids[i]});
    }
    return out;
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
  return row;
}

}  // namespace berth::image
