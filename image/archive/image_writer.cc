#include "image/archive/image_writer.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "image/archive/tar_writer.h"
#include "image/content/digest.h"
#include "image/content/read_range.h"
#include "image/pull/kept_blob.h"
#include "image/pull/manifest.h"
#include "image/pull/manifest_rewrite.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr char kOciIndex[] = "application/vnd.oci.image.index.v1+json";

// A member of the archive: bytes in memory, a kept blob, or a layer out of the store.
struct Member {
  std::string bytes;
  std::string layer;  // diffID
  sys::UniqueFd blob;
  uint64_t size = 0;
};

absl::StatusOr<uint64_t> ArchiveSize(const LayerStore& layers, const std::string& diff_id) {
  ASSIGN_OR_RETURN(LayerInfo info, layers.Info(diff_id));
  if (info.format == LayerFormat::kErofs) return info.archive_size;
  return absl::FailedPreconditionError(absl::StrCat("layer ", diff_id, " is kept as a directory, without its archive"));
}

class Writer {
 public:
  explicit Writer(const PullParts& parts) : parts_(parts) {}

  absl::Status AddOci(const SavedImage& image);
  absl::Status AddDocker(const SavedImage& image);
  void AddOciIndex();
  void AddDockerIndex();
  absl::Status Write(const std::function<absl::Status(absl::string_view)>& output);

 private:
  void AddBytes(const std::string& name, std::string bytes) { members_[name] = {.bytes = std::move(bytes)}; }
  // The size of the layer's archive, as member `name`.
  absl::StatusOr<uint64_t> AddLayer(const std::string& name, const std::string& diff_id);

  const PullParts& parts_;
  std::map<std::string, Member> members_;  // by name: that is their order
  Json index_ = Json::array();
};

std::string BlobName(absl::string_view digest) {
  return absl::StrCat("blobs/", digest.substr(0, digest.find(':')), "/", DigestHex(digest));
}

absl::StatusOr<uint64_t> Writer::AddLayer(const std::string& name, const std::string& diff_id) {
  auto known = members_.find(name);
  if (known != members_.end()) return known->second.size;
  ASSIGN_OR_RETURN(uint64_t size, ArchiveSize(*parts_.layers, diff_id));
  members_[name] = {.layer = diff_id, .size = size};
  return size;
}

absl::Status Writer::AddOci(const SavedImage& image) {
  const ImageRow& row = image.row;
  ASSIGN_OR_RETURN(std::string original, parts_.content->Get(row.manifest_digest), "manifest of ", row.id.str());
  ASSIGN_OR_RETURN(auto parsed, ParseManifest(original, ""), "manifest of ", row.id.str());
  auto* manifest = std::get_if<Manifest>(&parsed);
  if (manifest == nullptr || manifest->layers.size() != row.layers.size()) {
    return absl::DataLossError(absl::StrCat("the stored manifest of ", row.id.str(), " is another image's"));
  }
  std::vector<std::optional<LayerReplacement>> replaced(row.layers.size());
  for (size_t i = 0; i < row.layers.size(); ++i) {
    const Descriptor& pulled = manifest->layers[i];
    if (auto blob = OpenKeptBlob(*parts_.layers, row.layers[i], pulled); blob.ok()) {
      members_[BlobName(pulled.digest)] = {.blob = *std::move(blob), .size = pulled.size};
      continue;
    }
    // Compressed anew, its size would be known only after the header that names it.
    ASSIGN_OR_RETURN(uint64_t size, AddLayer(BlobName(row.layers[i]), row.layers[i]));
    if (pulled.digest != row.layers[i]) replaced[i] = {.digest = row.layers[i], .size = size};
  }
  ASSIGN_OR_RETURN(ManifestBytes document, RewriteManifest(original, replaced), row.id.str());
  AddBytes(BlobName(row.id.str()), row.config);
  const Json descriptor{
      {"mediaType", document.media_type}, {"digest", document.digest}, {"size", document.bytes.size()}};
  AddBytes(BlobName(document.digest), std::move(document.bytes));
  for (const std::string& name : image.names) {
    Json named = descriptor;
    named["annotations"] = {{"org.opencontainers.image.ref.name", name}, {"io.containerd.image.name", name}};
    index_.push_back(std::move(named));
  }
  if (image.names.empty()) index_.push_back(descriptor);
  return absl::OkStatus();
}

void Writer::AddOciIndex() {
  AddBytes("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  AddBytes("index.json", DumpJson(Json{{"schemaVersion", 2}, {"mediaType", kOciIndex}, {"manifests", index_}}));
}

absl::Status Writer::AddDocker(const SavedImage& image) {
  const ImageRow& row = image.row;
  Json layers = Json::array();
  for (const std::string& layer : row.layers) {
    std::string name = absl::StrCat(DigestHex(layer), ".tar");
    RETURN_IF_ERROR(AddLayer(name, layer));
    layers.push_back(std::move(name));
  }
  std::string config = absl::StrCat(DigestHex(row.id.str()), ".json");
  AddBytes(config, row.config);
  index_.push_back(Json{{"Config", config}, {"RepoTags", image.names}, {"Layers", std::move(layers)}});
  return absl::OkStatus();
}

void Writer::AddDockerIndex() { AddBytes("manifest.json", DumpJson(index_)); }

absl::Status Writer::Write(const std::function<absl::Status(absl::string_view)>& output) {
  TarWriter tar(output);
  for (auto& [name, member] : members_) {
    if (member.layer.empty() && !member.blob) {
      RETURN_IF_ERROR(tar.File(name, member.bytes));
      continue;
    }
    RETURN_IF_ERROR(tar.BeginFile(name, member.size));
    if (member.blob) {
      RETURN_IF_ERROR(ReadRange(member.blob.get(), 0, member.size, "a kept blob",
                                [&](absl::string_view bytes) { return tar.Data(bytes); }),
                      name);
    } else {
      RETURN_IF_ERROR(
          parts_.layers->ReadArchive(member.layer, [&](absl::string_view bytes) { return tar.Data(bytes); }));
    }
    RETURN_IF_ERROR(tar.EndFile(), name);
  }
  return tar.Finish();
}

}  // namespace

absl::Status WriteImages(const PullParts& parts, const std::vector<SavedImage>& images, ArchiveFormat format,
                         const std::function<absl::Status(absl::string_view)>& output) {
  Writer writer(parts);
  for (const SavedImage& image : images) {
    if (image.row.id.str() == image.row.manifest_digest) {
      return absl::InvalidArgumentError(
          absl::StrCat(image.row.id.str(), " is an artifact: only container images are saved"));
    }
    RETURN_IF_ERROR(VerifyDigest(image.row.id.str(), image.row.config), "stored config");
    RETURN_IF_ERROR(format == ArchiveFormat::kOci ? writer.AddOci(image) : writer.AddDocker(image));
  }
  if (format == ArchiveFormat::kOci) {
    writer.AddOciIndex();
  } else {
    writer.AddDockerIndex();
  }
  return writer.Write(output);
}

}  // namespace berth::image
