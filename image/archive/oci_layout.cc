// An OCI layout (image-spec, image-layout.md) in an archive. Which name an entry of its index has is by annotation:
// "io.containerd.image.name" is a whole reference; "org.opencontainers.image.ref.name" may be one (podman, skopeo), or
// a tag of a name that is told elsewhere, which is then no name for us.
#include <map>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "image/archive/image_reader.h"
#include "image/content/digest.h"
#include "image/pull/image_config.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr int kMaxNesting = 3;
constexpr size_t kMaxEntries = 1000;
constexpr size_t kMaxDocument = ContentStore::kMaxDocument;

absl::StatusOr<ArchiveMember> FindBlob(const Archive& archive, const Descriptor& blob) {
  auto member =
      archive.Find(absl::StrCat("blobs/", blob.digest.substr(0, blob.digest.find(':')), "/", DigestHex(blob.digest)));
  RETURN_IF_ERROR(member, "blob ", blob.digest);
  if (member->size != blob.size) {
    return absl::DataLossError(
        absl::StrCat("blob ", blob.digest, " has ", member->size, " bytes instead of ", blob.size));
  }
  return member;
}

absl::StatusOr<std::string> ReadDocument(const Archive& archive, const Descriptor& blob) {
  ASSIGN_OR_RETURN(ArchiveMember member, FindBlob(archive, blob));
  ASSIGN_OR_RETURN(std::string bytes, archive.Read(member, kMaxDocument));
  RETURN_IF_ERROR(VerifyDigest(blob.digest, bytes), "blob ", blob.digest);
  return bytes;
}

// What an entry says that it is for, if it does.
bool IsForOthers(const IndexEntry& entry, const Platform& host) {
  bool unsaid = entry.platform.os.empty() && entry.platform.architecture.empty();
  return !unsaid && !Runs(host, entry.platform);
}

absl::Status AddName(const Json& annotations, absl::string_view digest, NewImage& image) {
  if (!annotations.is_object()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string whole, StringField(annotations, "io.containerd.image.name"), "index.json: annotations");
  ASSIGN_OR_RETURN(std::string name, StringField(annotations, "org.opencontainers.image.ref.name"),
                   "index.json: annotations");
  auto reference = ParseReference(whole.empty() ? name : whole);
  if (!whole.empty()) {
    RETURN_IF_ERROR(reference, "index.json: annotation io.containerd.image.name");
  } else if (!reference.ok() || (!absl::StrContains(name, '/') && !absl::StrContains(name, ':'))) {
    return absl::OkStatus();
  }
  if (reference->digest.empty()) {
    image.tags.push_back(reference->Normal());
  } else if (reference->digest == digest) {
    image.digests.push_back(reference->Normal());
  }
  return absl::OkStatus();
}

class Layout {
 public:
  Layout(const Archive& archive, const Platform& host) : archive_(archive), host_(host) {}

  absl::StatusOr<std::vector<ArchivedImage>> Read() {
    RETURN_IF_ERROR(CheckVersion());
    ASSIGN_OR_RETURN(ArchiveMember member, archive_.Find("index.json"));
    ASSIGN_OR_RETURN(std::string bytes, archive_.Read(member, kMaxDocument));
    ASSIGN_OR_RETURN(auto parsed, ParseManifest(bytes, ""), "index.json");
    auto* index = std::get_if<Index>(&parsed);
    if (index == nullptr) return absl::InvalidArgumentError("index.json is a manifest, not an index");
    if (index->entries.size() > kMaxEntries) return absl::InvalidArgumentError("index.json has too many entries");
    ASSIGN_OR_RETURN(Json json, ParseJson(bytes), "index.json");
    for (size_t i = 0; i < index->entries.size(); ++i) {
      if (IsForOthers(index->entries[i], host_)) continue;
      RETURN_IF_ERROR(AddEntry(index->entries[i].manifest, json["manifests"][i].value("annotations", Json())));
    }
    if (!images_.empty()) return std::move(images_);
    RETURN_IF_ERROR(ChooseManifest(*index, host_), "index.json");
    return absl::InvalidArgumentError("index.json names no image");
  }

 private:
  absl::Status CheckVersion() const {
    ASSIGN_OR_RETURN(ArchiveMember member, archive_.Find("oci-layout"));
    ASSIGN_OR_RETURN(std::string bytes, archive_.Read(member, kMaxDocument));
    ASSIGN_OR_RETURN(Json json, ParseJson(bytes), "oci-layout");
    if (!json.is_object()) return absl::InvalidArgumentError("oci-layout is not a JSON object");
    ASSIGN_OR_RETURN(std::string version, StringField(json, "imageLayoutVersion"), "oci-layout");
    if (absl::StartsWith(version, "1.")) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("oci-layout: version '", absl::CHexEscape(version.substr(0, 50)), "' is not supported"));
  }

  absl::Status AddEntry(Descriptor descriptor, const Json& annotations) {
    const std::string entry_digest = descriptor.digest;
    for (int depth = 0; depth < kMaxNesting; ++depth) {
      ASSIGN_OR_RETURN(std::string bytes, ReadDocument(archive_, descriptor));
      ASSIGN_OR_RETURN(auto parsed, ParseManifest(bytes, descriptor.media_type), "manifest ", descriptor.digest);
      if (auto* manifest = std::get_if<Manifest>(&parsed)) {
        ASSIGN_OR_RETURN(size_t at, AddImage(descriptor, std::move(bytes), *manifest));
        return AddName(annotations, entry_digest, images_[at].record);
      }
      ASSIGN_OR_RETURN(descriptor, ChooseManifest(std::get<Index>(parsed), host_), "index ", descriptor.digest);
    }
    return absl::InvalidArgumentError(absl::StrCat("index ", entry_digest, ": indexes within indexes"));
  }

  // Where in images_ it is: an image with several names has several entries in the index.
  absl::StatusOr<size_t> AddImage(const Descriptor& descriptor, std::string bytes, const Manifest& manifest) {
    if (auto known = at_.find(descriptor.digest); known != at_.end()) return known->second;
    ArchivedImage image;
    image.record.manifest_digest = descriptor.digest;
    image.record.manifest_bytes = std::move(bytes);
    image.record.id = manifest.config.digest;
    ASSIGN_OR_RETURN(image.record.config, ReadDocument(archive_, manifest.config));
    ASSIGN_OR_RETURN(ConfigDocument config, ParseImageConfig(image.record.config), "config ", manifest.config.digest);
    RETURN_IF_ERROR(CheckConfig(config, manifest, host_), "image ", manifest.config.digest);
    RETURN_IF_ERROR(CountDocuments(image.record, documents_));
    image.record.diff_ids = std::move(config.diff_ids);
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      const Descriptor& layer = manifest.layers[i];
      ASSIGN_OR_RETURN(ArchiveMember member, FindBlob(archive_, layer));
      image.layers.push_back({std::move(member), {layer.digest, layer.size, image.record.diff_ids[i]}});
    }
    images_.push_back(std::move(image));
    return at_[descriptor.digest] = images_.size() - 1;
  }

  const Archive& archive_;
  const Platform& host_;
  std::vector<ArchivedImage> images_;
  size_t documents_ = 0;              // bytes
  std::map<std::string, size_t> at_;  // manifest digest to index of images_
};

}  // namespace

absl::StatusOr<std::vector<ArchivedImage>> ReadOciLayout(const Archive& archive, const Platform& host) {
  return Layout(archive, host).Read();
}

}  // namespace berth::image
