#include "image/unpack/layer_record.h"

#include "absl/strings/escaping.h"
#include "image/content/digest.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr int kVersion = 1;

}  // namespace

std::string EncodeLayerRecord(const LayerInfo& info) {
  Json implied = Json::array();
  for (const std::string& path : info.implied_parents) implied.push_back(absl::CEscape(path));  // any bytes
  return DumpJson(Json{{"version", kVersion},
                       {"diffID", info.diff_id},
                       {"bytes", info.bytes},
                       {"inodes", info.inodes},
                       {"impliedParents", implied}});
}

absl::StatusOr<LayerInfo> DecodeLayerRecord(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json, ParseJson(text));
  ASSIGN_OR_RETURN(int64_t version, IntField(json, "version"));
  if (version != kVersion) return absl::InvalidArgumentError(absl::StrCat("layer record of version ", version));
  LayerInfo info;
  ASSIGN_OR_RETURN(info.diff_id, StringField(json, "diffID"));
  RETURN_IF_ERROR(CheckDigest(info.diff_id));
  ASSIGN_OR_RETURN(int64_t bytes, IntField(json, "bytes", -1));
  ASSIGN_OR_RETURN(int64_t inodes, IntField(json, "inodes", -1));
  if (bytes < 0 || inodes < 0) return absl::InvalidArgumentError("layer record without sizes");
  info.bytes = static_cast<uint64_t>(bytes);
  info.inodes = static_cast<uint64_t>(inodes);
  ASSIGN_OR_RETURN(std::vector<std::string> implied, StringListField(json, "impliedParents"));
  for (const std::string& escaped : implied) {
    std::string path;
    if (!absl::CUnescape(escaped, &path)) return absl::InvalidArgumentError("layer record with a malformed path");
    info.implied_parents.push_back(std::move(path));
  }
  return info;
}

}  // namespace berth::image
