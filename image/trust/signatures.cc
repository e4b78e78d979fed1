#include "image/trust/signatures.h"

#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "image/content/digest.h"
#include "image/trust/strict_json.h"

namespace berth::image {
namespace {

constexpr char kPayloadType[] = "application/vnd.dev.cosign.simplesigning.v1+json";
constexpr char kSignature[] = "dev.cosignproject.cosign/signature";
constexpr char kClaimType[] = "cosign container image signature";

struct Attached {
  std::string digest;
  uint64_t size = 0;
  std::string signature;
};

absl::StatusOr<Attached> ReadLayer(const Json& layer) {
  Attached out;
  ASSIGN_OR_RETURN(out.digest, StringField(layer, "digest"));
  RETURN_IF_ERROR(CheckDigest(out.digest));
  ASSIGN_OR_RETURN(int64_t size, IntField(layer, "size", -1));
  if (size < 0 || size > static_cast<int64_t>(kLargestPayload)) {
    return absl::InvalidArgumentError(absl::StrCat("a payload of ", size, " bytes"));
  }
  out.size = static_cast<uint64_t>(size);
  std::string text;
  if (auto annotations = layer.find("annotations"); annotations != layer.end()) {
    ASSIGN_OR_RETURN(text, StringField(*annotations, kSignature), "annotations");
  }
  if (text.empty() || !absl::Base64Unescape(text, &out.signature)) {
    return absl::InvalidArgumentError(absl::StrCat("the annotation ", kSignature, " is not a signature in base64"));
  }
  return out;
}

absl::StatusOr<std::vector<Attached>> ReadSignatureManifest(absl::string_view bytes) {
  ASSIGN_OR_RETURN(Json json, ParseStrictJson(bytes));
  if (!json.is_object() || !json.contains("layers") || !json["layers"].is_array()) {
    return absl::InvalidArgumentError("not a manifest with layers");
  }
  std::vector<Attached> out;
  for (const Json& layer : json["layers"]) {
    if (!layer.is_object()) return absl::InvalidArgumentError("a layer is not an object");
    if (layer.value("mediaType", Json()) != kPayloadType) continue;
    ASSIGN_OR_RETURN(Attached read, ReadLayer(layer));
    if (out.size() == kMostSignatures) {
      return absl::InvalidArgumentError(absl::StrCat("more than ", kMostSignatures, " signatures"));
    }
    out.push_back(std::move(read));
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<AttachedSignature>> FetchSignatures(const RepositoryReader& reader,
                                                               absl::string_view manifest_digest) {
  const std::string tag = absl::StrCat(absl::StrReplaceAll(manifest_digest, {{":", "-"}}), ".sig");
  absl::StatusOr<std::string> manifest = reader.manifest(tag);
  if (absl::IsNotFound(manifest.status())) return std::vector<AttachedSignature>();
  RETURN_IF_ERROR(manifest);
  ASSIGN_OR_RETURN(std::vector<Attached> attached, ReadSignatureManifest(*manifest), "signatures in tag ", tag);
  std::map<std::string, std::string> payloads;  // that of several signers may be one
  std::vector<AttachedSignature> out;
  for (Attached& one : attached) {
    auto [payload, is_new] = payloads.try_emplace(one.digest);
    if (is_new) {
      ASSIGN_OR_RETURN(payload->second, reader.blob(one.digest, one.size), "signatures in tag ", tag);
    }
    out.push_back({payload->second, std::move(one.signature)});
  }
  return out;
}

absl::StatusOr<SignedClaim> ParseClaim(absl::string_view payload) {
  ASSIGN_OR_RETURN(Json json, ParseStrictJson(payload));
  RETURN_IF_ERROR(CheckKeys(json, "payload", {"critical", "optional"}));
  if (!json.contains("critical")) return absl::InvalidArgumentError("critical: is missing");
  const Json& critical = json["critical"];
  RETURN_IF_ERROR(CheckKeys(critical, "critical", {"type", "image", "identity"}));
  ASSIGN_OR_RETURN(std::string type, RequiredString(critical, "critical", "type"));
  if (type != kClaimType) {
    return absl::InvalidArgumentError(absl::StrCat("critical.type: '", absl::CHexEscape(type), "'"));
  }
  for (const char* part : {"image", "identity"}) {
    if (!critical.contains(part)) return absl::InvalidArgumentError(absl::StrCat("critical.", part, ": is missing"));
  }
  RETURN_IF_ERROR(CheckKeys(critical["image"], "critical.image", {"docker-manifest-digest"}));
  RETURN_IF_ERROR(CheckKeys(critical["identity"], "critical.identity", {"docker-reference"}));
  SignedClaim out;
  ASSIGN_OR_RETURN(out.manifest_digest, RequiredString(critical["image"], "critical.image", "docker-manifest-digest"));
  ASSIGN_OR_RETURN(out.name, RequiredString(critical["identity"], "critical.identity", "docker-reference"));
  return out;
}

}  // namespace berth::image
