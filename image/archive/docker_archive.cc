// What docker save writes (moby's image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format"): a list of
// images in manifest.json, each with its config and layers, which no manifest describes: we make one.
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "image/archive/image_reader.h"
#include "image/content/digest.h"
#include "image/pull/image_config.h"
#include "image/pull/manifest_rewrite.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr size_t kMaxEntries = 1000;
constexpr size_t kMagic = 4;

// A config is called after its digest, whatever else is in its name: "HEX.json", "blobs/sha256/HEX".
absl::Status CheckConfigName(absl::string_view name, absl::string_view digest) {
  absl::string_view base = absl::StripSuffix(name.substr(name.rfind('/') + 1), ".json");
  if (!DigestFromHex(base).ok() || base == DigestHex(digest)) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("config '", absl::CHexEscape(name.substr(0, 200)), "' has the digest ", digest));
}

// By name of the member: one that many images refer to is read once.
using Digests = std::map<std::string, std::string>;

absl::StatusOr<std::string> DigestOf(const Archive& archive, const ArchiveMember& member, Digests& digests) {
  if (auto known = digests.find(member.name); known != digests.end()) return known->second;
  Hasher hasher;
  RETURN_IF_ERROR(archive.Copy(member, [&](absl::string_view bytes) {
    hasher.Update(bytes);
    return absl::OkStatus();
  }));
  return digests[member.name] = hasher.Finish();
}

// A layer is plain as a rule; docker load takes compressed ones too.
absl::StatusOr<ArchivedLayer> FindLayer(const Archive& archive, const std::string& name, const std::string& diff_id,
                                        Digests& digests, LayerReplacement& described) {
  ArchivedLayer layer;
  ASSIGN_OR_RETURN(layer.member, archive.Find(name));
  ASSIGN_OR_RETURN(std::string magic, archive.Head(layer.member, kMagic));
  described.suffix = absl::StartsWith(magic, "\x1f\x8b")           ? "+gzip"
                     : absl::StartsWith(magic, "\x28\xb5\x2f\xfd") ? "+zstd"
                                                                   : "";
  layer.blob = {.digest = diff_id, .size = layer.member.size, .diff_id = diff_id};
  if (!described.suffix.empty()) {
    ASSIGN_OR_RETURN(layer.blob.digest, DigestOf(archive, layer.member, digests));
  }
  described.digest = layer.blob.digest;
  described.size = layer.blob.size;
  return layer;
}

absl::StatusOr<ArchivedImage> ReadEntry(const Archive& archive, const Json& entry, const Platform& host,
                                        Digests& digests) {
  if (!entry.is_object()) return absl::InvalidArgumentError("expected an object");
  ASSIGN_OR_RETURN(std::string config_name, StringField(entry, "Config"));
  ASSIGN_OR_RETURN(std::vector<std::string> tags, StringListField(entry, "RepoTags"));
  ASSIGN_OR_RETURN(std::vector<std::string> layers, StringListField(entry, "Layers"));
  if (config_name.empty()) return absl::InvalidArgumentError("field 'Config' is missing");
  ArchivedImage image;
  NewImage& record = image.record;
  ASSIGN_OR_RETURN(ArchiveMember member, archive.Find(config_name));
  ASSIGN_OR_RETURN(record.config, archive.Read(member, ContentStore::kMaxDocument));
  record.id = Sha256Digest(record.config);
  RETURN_IF_ERROR(CheckConfigName(config_name, record.id));
  ASSIGN_OR_RETURN(ConfigDocument config, ParseImageConfig(record.config), "config ", record.id);
  if (layers.empty()) return absl::InvalidArgumentError("the image has no layers");
  if (layers.size() != config.diff_ids.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("field 'Layers' has ", layers.size(), ", the config speaks of ", config.diff_ids.size()));
  }
  std::vector<LayerReplacement> described(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    ASSIGN_OR_RETURN(ArchivedLayer layer, FindLayer(archive, layers[i], config.diff_ids[i], digests, described[i]));
    image.layers.push_back(std::move(layer));
  }
  ManifestBytes made = MakeManifest(record.id, record.config.size(), described);
  ASSIGN_OR_RETURN(auto parsed, ParseManifest(made.bytes, made.media_type));
  RETURN_IF_ERROR(CheckConfig(config, std::get<Manifest>(parsed), host));
  record.diff_ids = std::move(config.diff_ids);
  record.manifest_digest = std::move(made.digest);
  record.manifest_bytes = std::move(made.bytes);
  for (const std::string& tag : tags) {
    ASSIGN_OR_RETURN(Reference reference, ParseReference(tag), "field 'RepoTags'");
    if (!reference.digest.empty()) return absl::InvalidArgumentError("field 'RepoTags': a tag has a digest");
    record.tags.push_back(reference.Normal());
  }
  return image;
}

}  // namespace

absl::StatusOr<std::vector<ArchivedImage>> ReadDockerArchive(const Archive& archive, const Platform& host) {
  ASSIGN_OR_RETURN(ArchiveMember member, archive.Find("manifest.json"));
  ASSIGN_OR_RETURN(std::string bytes, archive.Read(member, ContentStore::kMaxDocument));
  ASSIGN_OR_RETURN(Json json, ParseJson(bytes), "manifest.json");
  if (!json.is_array() || json.empty()) return absl::InvalidArgumentError("manifest.json is not a list of images");
  if (json.size() > kMaxEntries) return absl::InvalidArgumentError("manifest.json has too many entries");
  std::vector<ArchivedImage> images;
  Digests digests;
  size_t documents = 0;
  for (size_t i = 0; i < json.size(); ++i) {
    ASSIGN_OR_RETURN(ArchivedImage image, ReadEntry(archive, json[i], host, digests), "manifest.json[", i, "]");
    RETURN_IF_ERROR(CountDocuments(image.record, documents));
    images.push_back(std::move(image));
  }
  return images;
}

absl::Status CountDocuments(const NewImage& image, size_t& sum) {
  sum += image.config.size() + image.manifest_bytes.size();
  if (sum <= kMaxDocuments) return absl::OkStatus();
  return absl::ResourceExhaustedError("the manifests and configs of the archive's images are over 64 MiB");
}

absl::StatusOr<std::vector<ArchivedImage>> ReadImages(const Archive& archive, const Platform& host) {
  if (archive.Has("index.json") && archive.Has("oci-layout")) return ReadOciLayout(archive, host);
  if (archive.Has("manifest.json")) return ReadDockerArchive(archive, host);
  return absl::InvalidArgumentError(
      "neither an OCI layout (oci-layout, index.json) nor a docker-archive (manifest.json)");
}

}  // namespace berth::image
