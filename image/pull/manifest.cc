#include "image/pull/manifest.h"

#include <sys/utsname.h>

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "image/content/digest.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kMaxLayers = 1000;
constexpr size_t kMaxEntries = 10000;
constexpr int kLastRank = 100;
constexpr char kOciIndex[] = "application/vnd.oci.image.index.v1+json";
constexpr char kOciManifest[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kDockerList[] = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";

bool IsIndexType(absl::string_view type) { return type == kOciIndex || type == kDockerList; }
bool IsManifestType(absl::string_view type) { return type == kOciManifest || type == kDockerManifest; }

bool IsConfigType(absl::string_view type) {
  return type == "application/vnd.oci.image.config.v1+json" || type == "application/vnd.docker.container.image.v1+json";
}

// The level of the x86-64 psABI, from the flags that the kernel lists: those that it also lets programs use.
std::string VariantOfAmd64(absl::string_view cpuinfo) {
  std::set<absl::string_view> flags;
  for (absl::string_view line : absl::StrSplit(cpuinfo, '\n')) {
    if (!absl::StartsWith(line, "flags")) continue;
    flags = absl::StrSplit(line, absl::ByAnyChar(" \t:"));
    break;
  }
  static constexpr absl::string_view kLevels[] = {"cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
                                                  "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
                                                  "avx512f avx512bw avx512cd avx512dq avx512vl"};
  int level = 1;
  for (absl::string_view needed : kLevels) {
    for (absl::string_view flag : absl::StrSplit(needed, ' ')) {
      if (flags.count(flag) == 0) return absl::StrCat("v", level);
    }
    ++level;
  }
  return absl::StrCat("v", level);
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
  if (is_artifact || IsArchiveType(layer.media_type)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("layer ", layer.digest, " has media type ", Quoted(layer.media_type), ", which is not supported"));
}

// Of the entries that some tools add beside images, which name no platform at all.
bool IsAttestation(const Json& descriptor) {
  auto annotations = descriptor.find("annotations");
  if (annotations == descriptor.end() || !annotations->is_object()) return false;
  auto type = annotations->find("vnd.docker.reference.type");
  return type != annotations->end() && *type == "attestation-manifest";
}

absl::Status Schema1(absl::string_view type) {
  return absl::InvalidArgumentError(absl::StrCat("the image has a schema 1 manifest (",
                                                 type.empty() ? "no media type" : type,
                                                 "), which is not supported: push it again with a tool of today"));
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
    if (IsAttestation(item)) continue;
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
      return Schema1(type);
    }
    if ((IsIndexType(type) && layers) || (IsManifestType(type) && manifests)) {
      return absl::InvalidArgumentError(absl::StrCat("the content does not suit the media type ", type));
    }
  }
  if (!layers && !manifests) {
    if (json.value("schemaVersion", Json()) == 1) {
      return Schema1(content_type);
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

// "v3" is 3; 0 for everything else.
int Level(absl::string_view variant) {
  bool one_digit = variant.size() == 2 && variant[0] == 'v' && absl::ascii_isdigit(variant[1]);
  return one_digit ? variant[1] - '0' : 0;
}

// What an image or a node is that does not say its variant.
int UsualLevel(absl::string_view architecture) {
  if (architecture == "amd64") return 1;
  if (architecture == "arm") return 7;
  return architecture == "arm64" ? 8 : 0;
}

// How well the image's platform suits: 0 is best, -1 not at all. A node runs what is built for the levels below its
// own.
int Rank(const Platform& host, const Platform& image) {
  if (image.os != host.os || image.architecture != host.architecture) return -1;
  if (image.variant == host.variant) return 0;
  const int usual = UsualLevel(host.architecture);
  const int mine = host.variant.empty() ? usual : Level(host.variant);
  // An image for arm that says nothing may be for any of them: what says that it suits goes first.
  const int its = image.variant.empty() ? std::min(usual, mine) : Level(image.variant);
  if (image.variant.empty() && its < usual) return kLastRank;
  if (mine == 0 || its == 0) return image.variant.empty() ? 1 : -1;
  const int least = host.architecture == "arm" ? 5 : usual;
  return its <= mine && its >= least ? mine - its : -1;
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

bool IsArchiveType(absl::string_view media_type) {  // of the last ones the name says that one may not hand them on
  static const auto* types =
      new std::set<std::string, std::less<>>{"application/vnd.oci.image.layer.v1.tar",
                                             "application/vnd.oci.image.layer.v1.tar+gzip",
                                             "application/vnd.oci.image.layer.v1.tar+zstd",
                                             "application/vnd.docker.image.rootfs.diff.tar",
                                             "application/vnd.docker.image.rootfs.diff.tar.gzip",
                                             "application/vnd.docker.image.rootfs.diff.tar.zstd",
                                             "application/vnd.docker.image.rootfs.foreign.diff.tar",
                                             "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                                             "application/vnd.oci.image.layer.nondistributable.v1.tar",
                                             "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                                             "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"};
  return types->find(std::string(media_type)) != types->end();
}

Platform PlatformOf(absl::string_view machine, absl::string_view cpuinfo) {
  if (machine == "x86_64") return {"linux", "amd64", VariantOfAmd64(cpuinfo)};
  if (machine == "aarch64") return {"linux", "arm64", ""};
  if (machine == "armv8l") return {"linux", "arm", "v8"};
  if (machine == "armv7l") return {"linux", "arm", "v7"};
  if (machine == "armv6l") return {"linux", "arm", "v6"};
  if (absl::StartsWith(machine, "armv5")) return {"linux", "arm", "v5"};
  if (machine == "i686" || machine == "i386") return {"linux", "386", ""};
  if (machine == "loongarch64") return {"linux", "loong64", ""};
  return {"linux", std::string(machine), ""};  // riscv64, ppc64le and s390x have one name
}

const Platform& HostPlatform() {
  static const auto* platform = new Platform([] {
    utsname names;
    auto cpuinfo = sys::ReadFile("/proc/cpuinfo", 16 << 20);
    return PlatformOf(uname(&names) == 0 ? names.machine : "", cpuinfo.ok() ? *cpuinfo : "");
  }());
  return *platform;
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
    int rank = unsaid ? kLastRank + 1 : Rank(host, platform);  // the config will tell
    if (!unsaid && platform.os != "unknown") {
      offered.insert(absl::CHexEscape(absl::StrCat(platform.os, "/", platform.architecture,
                                                   platform.variant.empty() ? "" : "/", platform.variant)));
    }
    if (rank < 0 || (best && rank >= best_rank)) continue;
    best = &entry.manifest;
    best_rank = rank;
  }
  if (best) return *best;
  return absl::NotFoundError(absl::StrCat("no image for ", host.os, "/", host.architecture,
                                          host.variant.empty() ? "" : "/", host.variant, "; there is ",
                                          offered.empty() ? "none" : absl::StrJoin(offered, ", ")));
}

}  // namespace berth::image
