#include "image/pull/manifest.h"

#include <sys/utsname.h>

#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "image/content/digest.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr size_t kMaxLayers = 1000;
constexpr size_t kMaxEntries = 10000;
constexpr char kOciIndex[] = "application/vnd.oci.image.index.v1+json";
constexpr char kOciManifest[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kDockerList[] = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";

bool IsIndexType(absl::string_view type) { return type == kOciIndex || type == kDockerList; }
bool IsManifestType(absl::string_view type) { return type == kOciManifest || type == kDockerManifest; }

bool IsConfigType(absl::string_view type) {
  return type == "application/vnd.oci.image.config.v1+json" || type == "application/vnd.docker.container.image.v1+json";
}

std::string Quoted(absl::string_view text) { return absl::StrCat("'", absl::CHexEscape(text.substr(0, 200)), "'"); }

absl::StatusOr<Descriptor> ReadDescriptor(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("a descriptor is not an object");
  Descriptor out;
  ASSIGN_OR_RETURN(out.media_type, StringField(json, "mediaType"));
  ASSIGN_OR_RETURN(out.digest, StringField(json, "digest"));
  RETURN_IF_ERROR(CheckDigest(out.digest));
  ASSIGN_OR_RETURN(int64_t size, IntField(json, "size", -1));
  if (size < 0) return absl::InvalidArgumentError(absl::StrCat("descriptor of ", out.digest, " has no size"));
  out.size = static_cast<uint64_t>(size);
  if (auto annotations = json.find("annotations"); annotations != json.end()) {
    ASSIGN_OR_RETURN(out.title, StringField(*annotations, "org.opencontainers.image.title"), "annotations");
  }
  return out;
}

absl::Status CheckLayerType(const Descriptor& layer, bool is_artifact) {
  if (IsArchiveType(layer.media_type)) return absl::OkStatus();
  if (absl::StrContains(layer.media_type, "foreign") || absl::StrContains(layer.media_type, "nondistributable")) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer.digest, " is not in the registry (",
                                                   layer.media_type, "): foreign layers are not pulled"));
  }
  if (is_artifact) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("layer ", layer.digest, " has media type ", Quoted(layer.media_type), ", which is not supported"));
}

absl::StatusOr<Manifest> ReadManifest(const Json& json) {
  Manifest out;
  if (!json.contains("config")) return absl::InvalidArgumentError("the manifest has no config");
  ASSIGN_OR_RETURN(out.config, ReadDescriptor(json["config"]), "config");
  if (!IsConfigType(out.config.media_type)) {
    ASSIGN_OR_RETURN(out.artifact_type, StringField(json, "artifactType"));
    if (out.artifact_type.empty()) out.artifact_type = out.config.media_type;
    if (out.artifact_type.empty())
      return absl::InvalidArgumentError("neither an image nor an artifact: it has no type");
  }
  const Json& layers = json["layers"];
  if (!layers.is_array() || layers.empty()) return absl::InvalidArgumentError("the manifest has no layers");
  if (layers.size() > kMaxLayers) {
    return absl::InvalidArgumentError(absl::StrCat("the manifest has ", layers.size(), " layers"));
  }
  for (const Json& item : layers) {
    ASSIGN_OR_RETURN(Descriptor layer, ReadDescriptor(item), "layer");
    RETURN_IF_ERROR(CheckLayerType(layer, !out.artifact_type.empty()));
    out.layers.push_back(std::move(layer));
  }
  return out;
}

absl::StatusOr<Index> ReadIndex(const Json& json) {
  const Json& manifests = json["manifests"];
  if (!manifests.is_array()) return absl::InvalidArgumentError("field 'manifests': expected a list");
  if (manifests.size() > kMaxEntries) return absl::InvalidArgumentError("the index has too many entries");
  Index out;
  for (const Json& item : manifests) {
    IndexEntry entry;
    ASSIGN_OR_RETURN(entry.manifest, ReadDescriptor(item), "index");
    if (auto platform = item.find("platform"); platform != item.end() && platform->is_object()) {
      ASSIGN_OR_RETURN(entry.platform.os, StringField(*platform, "os"));
      ASSIGN_OR_RETURN(entry.platform.architecture, StringField(*platform, "architecture"));
      ASSIGN_OR_RETURN(entry.platform.variant, StringField(*platform, "variant"));
    }
    out.entries.push_back(std::move(entry));
  }
  return out;
}

// What a document says it is, and what it was sent as, must not contradict each other or its content: a document that
// one side reads as an index and the other as a manifest has two meanings under one digest.
absl::Status CheckKind(const Json& json, absl::string_view declared, absl::string_view content_type) {
  bool layers = json.contains("layers") || json.contains("config");
  bool manifests = json.contains("manifests");
  if (layers && manifests) return absl::InvalidArgumentError("the document is both a manifest and an index");
  for (absl::string_view type : {declared, content_type}) {
    if (absl::StrContains(type, "manifest.v1+") && absl::StrContains(type, "docker")) {
      return absl::InvalidArgumentError("the image has a schema 1 manifest, which is not supported");
    }
    if ((IsIndexType(type) && layers) || (IsManifestType(type) && manifests)) {
      return absl::InvalidArgumentError(absl::StrCat("the content does not suit the media type ", type));
    }
  }
  if (!layers && !manifests) {
    if (json.value("schemaVersion", Json()) == 1) {
      return absl::InvalidArgumentError("the image has a schema 1 manifest, which is not supported");
    }
    return absl::InvalidArgumentError("the document is neither a manifest nor an index");
  }
  if (!declared.empty() && !IsIndexType(declared) && !IsManifestType(declared)) {
    return absl::InvalidArgumentError(absl::StrCat("media type ", Quoted(declared), " is not supported"));
  }
  bool typed = IsIndexType(content_type) || IsManifestType(content_type);
  if (!declared.empty() && typed && declared != content_type) {
    return absl::InvalidArgumentError(absl::StrCat("sent as ", content_type, ", but says that it is ", declared));
  }
  return absl::OkStatus();
}

// How well the image's platform suits: 0 is best, -1 not at all.
int Rank(const Platform& host, const Platform& image) {
  if (image.os != host.os || image.architecture != host.architecture) return -1;
  if (image.variant == host.variant) return 0;
  if (image.variant.empty()) return 1;
  // The variants that run everywhere the architecture does, named by some builders.
  if (host.variant.empty())
    return (host.architecture == "arm64" && image.variant == "v8") ||
                   (host.architecture == "amd64" && image.variant == "v1")
               ? 0
               : -1;
  bool older = host.architecture == "arm" && image.variant.size() == 2 && image.variant.front() == 'v' &&
               image.variant < host.variant && image.variant >= "v5";
  return older ? 2 + (host.variant.back() - image.variant.back()) : -1;
}

}  // namespace

absl::StatusOr<std::variant<Manifest, Index>> ParseManifest(absl::string_view bytes, absl::string_view content_type) {
  ASSIGN_OR_RETURN(Json json, ParseJson(bytes));
  if (!json.is_object()) return absl::InvalidArgumentError("the document is not a JSON object");
  ASSIGN_OR_RETURN(std::string declared, StringField(json, "mediaType"));
  RETURN_IF_ERROR(CheckKind(json, declared, content_type));
  ASSIGN_OR_RETURN(int64_t schema, IntField(json, "schemaVersion", 2));
  if (schema != 2) return absl::InvalidArgumentError(absl::StrCat("schemaVersion ", schema, " is not supported"));
  if (json.contains("manifests")) {
    ASSIGN_OR_RETURN(Index index, ReadIndex(json));
    return index;
  }
  ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(json));
  return manifest;
}

bool IsArchiveType(absl::string_view media_type) {
  static const auto* types =
      new std::set<std::string, std::less<>>{"application/vnd.oci.image.layer.v1.tar",
                                             "application/vnd.oci.image.layer.v1.tar+gzip",
                                             "application/vnd.oci.image.layer.v1.tar+zstd",
                                             "application/vnd.docker.image.rootfs.diff.tar",
                                             "application/vnd.docker.image.rootfs.diff.tar.gzip",
                                             "application/vnd.docker.image.rootfs.diff.tar.zstd"};
  return types->find(std::string(media_type)) != types->end();
}

Platform HostPlatform() {
  utsname names;
  std::string machine = uname(&names) == 0 ? names.machine : "";
  if (machine == "x86_64") return {"linux", "amd64", ""};
  if (machine == "aarch64") return {"linux", "arm64", ""};
  if (machine == "armv7l" || machine == "armv8l") return {"linux", "arm", "v7"};
  if (machine == "armv6l") return {"linux", "arm", "v6"};
  if (machine == "i686" || machine == "i386") return {"linux", "386", ""};
  if (machine == "loongarch64") return {"linux", "loong64", ""};
  return {"linux", machine, ""};  // riscv64, ppc64le and s390x have one name
}

bool Runs(const Platform& host, const Platform& image) { return Rank(host, image) >= 0; }

absl::StatusOr<Descriptor> ChooseManifest(const Index& index, const Platform& host) {
  const Descriptor* best = nullptr;
  int best_rank = 0;
  std::set<std::string> offered;
  for (const IndexEntry& entry : index.entries) {
    const Platform& platform = entry.platform;
    if (!IsIndexType(entry.manifest.media_type) && !IsManifestType(entry.manifest.media_type)) continue;
    bool unsaid = platform.os.empty() && platform.architecture.empty();
    int rank = unsaid ? 100 : Rank(host, platform);  // the config will tell
    if (!unsaid && platform.os != "unknown") {
      offered.insert(absl::CHexEscape(absl::StrCat(platform.os, "/", platform.architecture,
                                                   platform.variant.empty() ? "" : "/", platform.variant)));
    }
    if (rank < 0 || (best && rank >= best_rank)) continue;
    best = &entry.manifest;
    best_rank = rank;
  }
  if (best) return *best;
  return absl::NotFoundError(absl::StrCat("no image for ", host.os, "/", host.architecture, "; there is ",
                                          offered.empty() ? "none" : absl::StrJoin(offered, ", ")));
}

}  // namespace berth::image
