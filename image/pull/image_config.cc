#include "image/pull/image_config.h"

#include "image/content/digest.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

// The keys of {"/data": {}, …}: a set, as JSON has it.
absl::StatusOr<std::vector<std::string>> KeysField(const Json& object, const char* key) {
  std::vector<std::string> out;
  auto it = object.find(key);
  if (it == object.end() || it->is_null()) return out;
  if (!it->is_object()) return absl::InvalidArgumentError(absl::StrCat("field '", key, "': expected an object"));
  for (const auto& [name, unused] : it->items()) out.push_back(name);
  return out;
}

absl::Status ReadLabels(const Json& object, std::map<std::string, std::string>& out) {
  auto it = object.find("Labels");
  if (it == object.end() || it->is_null()) return absl::OkStatus();
  if (!it->is_object()) return absl::InvalidArgumentError("field 'Labels': expected an object");
  for (const auto& [name, value] : it->items()) {
    if (!value.is_string()) return absl::InvalidArgumentError(absl::StrCat("label '", name, "': expected a string"));
    out[name] = value.get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status ReadProcess(const Json& process, ImageConfig& out) {
  if (!process.is_object()) return absl::InvalidArgumentError("field 'config': expected an object");
  ASSIGN_OR_RETURN(out.user, StringField(process, "User"));
  ASSIGN_OR_RETURN(out.env, StringListField(process, "Env"));
  ASSIGN_OR_RETURN(out.entrypoint, StringListField(process, "Entrypoint"));
  ASSIGN_OR_RETURN(out.cmd, StringListField(process, "Cmd"));
  ASSIGN_OR_RETURN(out.working_dir, StringField(process, "WorkingDir"));
  ASSIGN_OR_RETURN(out.stop_signal, StringField(process, "StopSignal"));
  ASSIGN_OR_RETURN(out.volumes, KeysField(process, "Volumes"));
  ASSIGN_OR_RETURN(out.exposed_ports, KeysField(process, "ExposedPorts"));
  return ReadLabels(process, out.labels);
}

absl::Status ReadRootfs(const Json& json, std::vector<std::string>& diff_ids) {
  auto rootfs = json.find("rootfs");
  if (rootfs == json.end() || !rootfs->is_object()) return absl::InvalidArgumentError("the config has no rootfs");
  ASSIGN_OR_RETURN(std::string type, StringField(*rootfs, "type"));
  if (type != "layers") return absl::InvalidArgumentError("field 'rootfs.type': expected \"layers\"");
  ASSIGN_OR_RETURN(diff_ids, StringListField(*rootfs, "diff_ids"));
  for (const std::string& id : diff_ids) RETURN_IF_ERROR(CheckDigest(id), "field 'rootfs.diff_ids'");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ConfigDocument> ParseImageConfig(absl::string_view bytes) {
  ASSIGN_OR_RETURN(Json json, ParseJson(bytes));
  if (!json.is_object()) return absl::InvalidArgumentError("the config is not a JSON object");
  ConfigDocument out;
  ASSIGN_OR_RETURN(out.platform.os, StringField(json, "os"));
  ASSIGN_OR_RETURN(out.platform.architecture, StringField(json, "architecture"));
  ASSIGN_OR_RETURN(out.platform.variant, StringField(json, "variant"));
  out.config.os = out.platform.os;
  out.config.architecture = out.platform.architecture;
  ASSIGN_OR_RETURN(out.config.artifact_type, StringField(json, kArtifactTypeKey));
  ASSIGN_OR_RETURN(std::string created, StringField(json, "created"));
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, created, &out.config.created, &error))
    out.config.created = absl::UnixEpoch();
  if (auto process = json.find("config"); process != json.end() && !process->is_null()) {
    RETURN_IF_ERROR(ReadProcess(*process, out.config));
  }
  RETURN_IF_ERROR(ReadRootfs(json, out.diff_ids));
  return out;
}

absl::Status CheckConfig(const ConfigDocument& config, const Manifest& manifest, const Platform& host) {
  if (config.diff_ids.size() != manifest.layers.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the config speaks of ", config.diff_ids.size(),
                                                   " layers, the manifest of ", manifest.layers.size()));
  }
  Platform image = config.platform;
  if (image.os.empty()) image.os = host.os;
  if (image.architecture.empty()) image.architecture = host.architecture;
  if (Runs(host, image)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("the image is for ", image.os, "/", image.architecture, " ", image.variant,
                                          ", this node is ", host.os, "/", host.architecture));
}

}  // namespace berth::image
