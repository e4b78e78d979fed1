#include "image/unpack/layer_record.h"

#include "absl/strings/escaping.h"
#include "image/content/digest.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

// Version 1 knew directories only.
constexpr int kVersion = 2;
constexpr char kDirectory[] = "directory", kErofs[] = "erofs";

absl::StatusOr<uint64_t> Unsigned(const Json& json, const char* key) {
  ASSIGN_OR_RETURN(int64_t value, IntField(json, key, -1));
  if (value < 0) return absl::InvalidArgumentError(absl::StrCat("layer record without '", key, "'"));
  return static_cast<uint64_t>(value);
}

absl::Status DecodeErofs(const Json& json, LayerInfo& info) {
  ASSIGN_OR_RETURN(info.archive_size, Unsigned(json, "archiveBytes"));
  ASSIGN_OR_RETURN(info.index.at, Unsigned(json, "indexAt"));
  ASSIGN_OR_RETURN(info.index.size, Unsigned(json, "indexBytes"));
  ASSIGN_OR_RETURN(info.index.digest, StringField(json, "indexDigest"));
  return CheckDigest(info.index.digest);
}

}  // namespace

std::string EncodeLayerRecord(const LayerInfo& info) {
  Json implied = Json::array();
  for (const std::string& path : info.implied_parents) implied.push_back(absl::CEscape(path));  // any bytes
  Json json{{"version", kVersion},
            {"diffID", info.diff_id},
            {"format", info.format == LayerFormat::kErofs ? kErofs : kDirectory},
            {"bytes", info.bytes},
            {"inodes", info.inodes},
            {"impliedParents", implied}};
  if (info.format == LayerFormat::kErofs) {
    json["archiveBytes"] = info.archive_size;
    json["indexAt"] = info.index.at;
    json["indexBytes"] = info.index.size;
    json["indexDigest"] = info.index.digest;
  }
  if (!info.blob_digest.empty()) {
    json["blob"] = info.blob_digest;
    json["blobBytes"] = info.blob_size;
  }
  return DumpJson(json);
}

absl::StatusOr<LayerInfo> DecodeLayerRecord(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json, ParseJson(text));
  ASSIGN_OR_RETURN(int64_t version, IntField(json, "version"));
  if (version < 1 || version > kVersion)
    return absl::InvalidArgumentError(absl::StrCat("layer record of version ", version));
  LayerInfo info;
  ASSIGN_OR_RETURN(info.diff_id, StringField(json, "diffID"));
  RETURN_IF_ERROR(CheckDigest(info.diff_id));
  ASSIGN_OR_RETURN(info.bytes, Unsigned(json, "bytes"));
  ASSIGN_OR_RETURN(info.inodes, Unsigned(json, "inodes"));
  if (version > 1) {
    ASSIGN_OR_RETURN(std::string format, StringField(json, "format"));
    if (format != kErofs && format != kDirectory) {
      return absl::InvalidArgumentError(absl::StrCat("layer record of format '", absl::CEscape(format), "'"));
    }
    info.format = format == kErofs ? LayerFormat::kErofs : LayerFormat::kDirectory;
  }
  if (info.format == LayerFormat::kErofs) RETURN_IF_ERROR(DecodeErofs(json, info));
  if (json.contains("blob")) {
    ASSIGN_OR_RETURN(info.blob_digest, StringField(json, "blob"));
    RETURN_IF_ERROR(CheckDigest(info.blob_digest));
    ASSIGN_OR_RETURN(info.blob_size, Unsigned(json, "blobBytes"));
  }
  ASSIGN_OR_RETURN(std::vector<std::string> implied, StringListField(json, "impliedParents"));
  for (const std::string& escaped : implied) {
    std::string path;
    if (!absl::CUnescape(escaped, &path)) return absl::InvalidArgumentError("layer record with a malformed path");
    info.implied_parents.push_back(std::move(path));
  }
  return info;
}

}  // namespace berth::image
