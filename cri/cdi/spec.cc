#include "cri/cdi/spec.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cri/cdi/yaml.h"
#include "runtime/base/json.h"

namespace berth::cdi {
namespace {

// In the order of their release; a feature names the first that has it.
constexpr absl::string_view kVersions[] = {"0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"};

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }
bool IsAlpha(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }

// A letter or digit at both ends, letters, digits and `others` between.
bool IsName(absl::string_view text, absl::string_view others) {
  if (text.empty() || text.size() > 255 || !IsAlnum(text.front()) || !IsAlnum(text.back())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return IsAlnum(c) || absl::StrContains(others, c); });
}
bool IsVendor(absl::string_view text) { return IsName(text, "_-.") && IsAlpha(text.front()); }
bool IsClass(absl::string_view text) { return IsName(text, "_-.") && IsAlpha(text.front()); }
bool IsDevice(absl::string_view text) { return IsName(text, "_-.:"); }

// One object of the document. What the specification does not name there is an error, as it is for its own library:
// a field that is misspelt would be left out in silence.
class Object {
 public:
  static absl::StatusOr<Object> Of(const Json& json, std::string where, std::vector<absl::string_view> fields) {
    if (!json.is_object()) return Invalid(absl::StrCat(where, ": expected an object"));
    for (const auto& [key, value] : json.items()) {
      if (std::find(fields.begin(), fields.end(), key) == fields.end()) {
        return Invalid(absl::StrCat(where, ": unknown field '", key, "'"));
      }
    }
    return Object(json, std::move(where));
  }

  // Null when it is absent.
  const Json* Find(const char* key) const {
    auto it = json_->find(key);
    return it == json_->end() || it->is_null() ? nullptr : &*it;
  }
  bool Has(const char* key) const { return Find(key) != nullptr; }
  std::string At(absl::string_view key) const { return absl::StrCat(where_, ".", key); }

  absl::StatusOr<std::string> String(const char* key) const {
    auto value = StringField(*json_, key);
    if (value.ok() && absl::StrContains(*value, '\0')) return Invalid(absl::StrCat(At(key), ": holds a NUL byte"));
    return Annotated(std::move(value));
  }
  absl::StatusOr<std::vector<std::string>> Strings(const char* key) const {
    return Annotated(StringListField(*json_, key));
  }
  absl::StatusOr<std::optional<uint32_t>> Number(const char* key) const {
    const Json* value = Find(key);
    if (value == nullptr) return std::nullopt;
    ASSIGN_OR_RETURN(const int64_t number, IntOf(*value), At(key));
    if (number < 0 || number > UINT32_MAX) return Invalid(absl::StrCat(At(key), ": ", number, " is out of range"));
    return static_cast<uint32_t>(number);
  }
  absl::StatusOr<std::vector<Json>> List(const char* key) const {
    const Json* value = Find(key);
    if (value == nullptr) return std::vector<Json>();
    if (!value->is_array()) return Invalid(absl::StrCat(At(key), ": expected a list"));
    return std::vector<Json>(value->begin(), value->end());
  }

 private:
  Object(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {}
  template <typename T>
  absl::StatusOr<T> Annotated(absl::StatusOr<T> value) const {
    RETURN_IF_ERROR(value, where_);
    return value;
  }

  const Json* json_;
  std::string where_;
};

// Parses one file; remembers the youngest version whose features it has met.
class Parser {
 public:
  absl::StatusOr<Spec> Parse(const Json& json) {
    ASSIGN_OR_RETURN(Object top,
                     Object::Of(json, "spec", {"cdiVersion", "kind", "annotations", "devices", "containerEdits"}));
    ASSIGN_OR_RETURN(std::string version, top.String("cdiVersion"));
    const auto known = std::find(std::begin(kVersions), std::end(kVersions), absl::string_view(version));
    if (known == std::end(kVersions)) return Invalid(absl::StrCat("cdiVersion: '", version, "' is not known"));
    Spec spec;
    ASSIGN_OR_RETURN(std::string kind, top.String("kind"));
    RETURN_IF_ERROR(ParseKind(kind, spec));
    RETURN_IF_ERROR(CheckAnnotations(top));
    if (const Json* edits = top.Find("containerEdits")) {
      ASSIGN_OR_RETURN(spec.edits, ParseEdits(*edits, "containerEdits"));
    }
    ASSIGN_OR_RETURN(std::vector<Json> devices, top.List("devices"));
    if (devices.empty()) return Invalid("devices: there is none");
    for (const Json& device : devices) RETURN_IF_ERROR(ParseDevice(device, spec));
    if (needed_ > known - std::begin(kVersions)) {
      return Invalid(
          absl::StrCat("cdiVersion: ", version, " has no ", needed_by_, ", which came with ", kVersions[needed_]));
    }
    return spec;
  }

 private:
  void Needs(absl::string_view version, absl::string_view feature) {
    const ptrdiff_t index = std::find(std::begin(kVersions), std::end(kVersions), version) - std::begin(kVersions);
    if (index <= needed_) return;
    needed_ = index;
    needed_by_ = std::string(feature);
  }

  absl::Status ParseKind(absl::string_view kind, Spec& spec) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(kind, absl::MaxSplits('/', 1));
    if (!IsVendor(parts.first)) return Invalid(absl::StrCat("kind: '", kind, "': the vendor's name"));
    if (!IsClass(parts.second)) return Invalid(absl::StrCat("kind: '", kind, "': the class's name"));
    if (absl::StrContains(parts.second, '.')) Needs("0.6.0", "class with a dot");
    spec.vendor = std::string(parts.first);
    spec.device_class = std::string(parts.second);
    return absl::OkStatus();
  }

  absl::Status CheckAnnotations(const Object& object) {
    const Json* annotations = object.Find("annotations");
    if (annotations == nullptr) return absl::OkStatus();
    if (!annotations->is_object()) return Invalid(absl::StrCat(object.At("annotations"), ": expected an object"));
    if (!annotations->empty()) Needs("0.6.0", "annotations");
    for (const auto& [key, value] : annotations->items()) {
      if (key.empty() || !value.is_string()) {
        return Invalid(absl::StrCat(object.At("annotations"), ": '", key, "' is not a name with a text"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ParseDevice(const Json& json, Spec& spec) {
    ASSIGN_OR_RETURN(Object device, Object::Of(json, "devices", {"name", "annotations", "containerEdits"}));
    ASSIGN_OR_RETURN(std::string name, device.String("name"));
    if (!IsDevice(name)) return Invalid(absl::StrCat("devices.name: '", name, "'"));
    if (!IsAlpha(name.front())) Needs("0.5.0", "device name that does not begin with a letter");
    RETURN_IF_ERROR(CheckAnnotations(device), "device '", name, "'");
    const Json* edits = device.Find("containerEdits");
    if (edits == nullptr) return Invalid(absl::StrCat("device '", name, "': no containerEdits"));
    ASSIGN_OR_RETURN(Edits parsed, ParseEdits(*edits, "containerEdits"), "device '", name, "'");
    if (parsed.empty()) return Invalid(absl::StrCat("device '", name, "': containerEdits are empty"));
    if (!spec.devices.emplace(name, std::move(parsed)).second) {
      return Invalid(absl::StrCat("device '", name, "': is there twice"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Edits> ParseEdits(const Json& json, const std::string& where) {
    ASSIGN_OR_RETURN(
        Object object,
        Object::Of(json, where, {"env", "deviceNodes", "netDevices", "hooks", "mounts", "intelRdt", "additionalGids"}));
    Edits edits;
    ASSIGN_OR_RETURN(edits.env, object.Strings("env"));
    RETURN_IF_ERROR(CheckEnv(edits.env, object.At("env")));
    ASSIGN_OR_RETURN(std::vector<Json> nodes, object.List("deviceNodes"));
    for (const Json& node : nodes) {
      ASSIGN_OR_RETURN(edits.nodes.emplace_back(), ParseNode(node, object.At("deviceNodes")));
    }
    ASSIGN_OR_RETURN(std::vector<Json> mounts, object.List("mounts"));
    for (const Json& mount : mounts) {
      ASSIGN_OR_RETURN(edits.mounts.emplace_back(), ParseMount(mount, object.At("mounts")));
    }
    ASSIGN_OR_RETURN(std::vector<Json> gids, object.List("additionalGids"));
    if (!gids.empty()) Needs("0.7.0", "additionalGids");
    for (const Json& gid : gids) {
      ASSIGN_OR_RETURN(const int64_t number, IntOf(gid), object.At("additionalGids"));
      if (number < 0 || number > INT32_MAX) {
        return Invalid(absl::StrCat(object.At("additionalGids"), ": ", number, " is out of range"));
      }
      if (number != 0) edits.gids.push_back(static_cast<uint32_t>(number));
    }
    RETURN_IF_ERROR(ParseHooks(object, edits));
    RETURN_IF_ERROR(ParseNetDevices(object, edits));
    if (const Json* rdt = object.Find("intelRdt")) RETURN_IF_ERROR(ParseRdt(*rdt, object.At("intelRdt"), edits));
    return edits;
  }

  static absl::Status CheckEnv(const std::vector<std::string>& env, absl::string_view where) {
    for (const std::string& e : env) {
      const size_t equals = e.find('=');
      if (equals == 0 || equals == std::string::npos || absl::StrContains(e, '\0')) {
        return Invalid(absl::StrCat(where, ": '", e, "' is not KEY=value"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<DeviceNode> ParseNode(const Json& json, const std::string& where) {
    ASSIGN_OR_RETURN(Object object, Object::Of(json, where,
                                               {"path", "hostPath", "type", "major", "minor", "fileMode", "permissions",
                                                "uid", "gid"}));
    DeviceNode node;
    ASSIGN_OR_RETURN(node.path, object.String("path"));
    ASSIGN_OR_RETURN(node.host_path, object.String("hostPath"));
    if (!absl::StartsWith(node.path, "/")) {
      return Invalid(absl::StrCat(object.At("path"), ": '", node.path, "' is not absolute"));
    }
    if (!node.host_path.empty()) {
      Needs("0.5.0", "hostPath of a device node");
      if (!absl::StartsWith(node.host_path, "/")) {
        return Invalid(absl::StrCat(object.At("hostPath"), ": '", node.host_path, "' is not absolute"));
      }
    }
    ASSIGN_OR_RETURN(std::string type, object.String("type"));
    if (!type.empty() && type != "b" && type != "c" && type != "u" && type != "p") {
      return Invalid(absl::StrCat(object.At("type"), ": '", type, "' is not b, c, u or p"));
    }
    // "u" is a character device without a buffer, which Linux does not tell apart.
    if (!type.empty()) node.type = type == "u" ? 'c' : type[0];
    ASSIGN_OR_RETURN(std::optional<uint32_t> major, object.Number("major"));
    ASSIGN_OR_RETURN(std::optional<uint32_t> minor, object.Number("minor"));
    node.major = major.value_or(0);
    node.minor = minor.value_or(0);
    ASSIGN_OR_RETURN(node.file_mode, object.Number("fileMode"));
    if (node.file_mode) node.file_mode = *node.file_mode & 0777;
    ASSIGN_OR_RETURN(node.uid, object.Number("uid"));
    ASSIGN_OR_RETURN(node.gid, object.Number("gid"));
    ASSIGN_OR_RETURN(node.permissions, object.String("permissions"));
    if (node.permissions.empty()) {
      node.permissions = "rwm";
    } else if (node.permissions == "none") {
      node.permissions.clear();
    } else if (node.permissions.find_first_not_of("rwm") != std::string::npos) {
      return Invalid(absl::StrCat(object.At("permissions"), ": '", node.permissions, "'"));
    }
    return node;
  }

  absl::StatusOr<Mount> ParseMount(const Json& json, const std::string& where) {
    ASSIGN_OR_RETURN(Object object, Object::Of(json, where, {"hostPath", "containerPath", "options", "type"}));
    Mount mount;
    ASSIGN_OR_RETURN(mount.host_path, object.String("hostPath"));
    ASSIGN_OR_RETURN(mount.container_path, object.String("containerPath"));
    ASSIGN_OR_RETURN(mount.type, object.String("type"));
    ASSIGN_OR_RETURN(mount.options, object.Strings("options"));
    if (mount.host_path.empty()) return Invalid(absl::StrCat(object.At("hostPath"), ": is empty"));
    if (mount.container_path.empty()) return Invalid(absl::StrCat(object.At("containerPath"), ": is empty"));
    if (!mount.type.empty()) Needs("0.4.0", "type of a mount");
    return mount;
  }

  absl::Status ParseHooks(const Object& edits, Edits& out) {
    static const std::set<std::string> kNames = {"prestart",       "createRuntime", "createContainer",
                                                 "startContainer", "poststart",     "poststop"};
    ASSIGN_OR_RETURN(std::vector<Json> hooks, edits.List("hooks"));
    for (const Json& json : hooks) {
      ASSIGN_OR_RETURN(Object hook,
                       Object::Of(json, edits.At("hooks"), {"hookName", "path", "args", "env", "timeout"}));
      ASSIGN_OR_RETURN(std::string name, hook.String("hookName"));
      if (kNames.count(name) == 0) return Invalid(absl::StrCat(hook.At("hookName"), ": '", name, "'"));
      ASSIGN_OR_RETURN(std::string path, hook.String("path"));
      if (path.empty()) return Invalid(absl::StrCat(hook.At("path"), ": is empty"));
      ASSIGN_OR_RETURN(std::vector<std::string> env, hook.Strings("env"));
      RETURN_IF_ERROR(CheckEnv(env, hook.At("env")));
      RETURN_IF_ERROR(hook.Strings("args"));
      out.unsupported = "hooks";
    }
    return absl::OkStatus();
  }

  absl::Status ParseNetDevices(const Object& edits, Edits& out) {
    ASSIGN_OR_RETURN(std::vector<Json> devices, edits.List("netDevices"));
    std::set<std::string> hosts, names;
    for (const Json& json : devices) {
      Needs("1.1.0", "netDevices");
      ASSIGN_OR_RETURN(Object device, Object::Of(json, edits.At("netDevices"), {"hostInterfaceName", "name"}));
      ASSIGN_OR_RETURN(std::string host, device.String("hostInterfaceName"));
      ASSIGN_OR_RETURN(std::string name, device.String("name"));
      if (host.empty() || name.empty()) return Invalid(absl::StrCat(edits.At("netDevices"), ": a name is empty"));
      if (!hosts.insert(host).second || !names.insert(name).second) {
        return Invalid(absl::StrCat(edits.At("netDevices"), ": '", host, "' or '", name, "' is there twice"));
      }
      out.unsupported = "netDevices";
    }
    return absl::OkStatus();
  }

  absl::Status ParseRdt(const Json& json, const std::string& where, Edits& out) {
    Needs("0.7.0", "intelRdt");
    ASSIGN_OR_RETURN(Object rdt, Object::Of(json, where,
                                            {"closID", "l3CacheSchema", "memBwSchema", "enableCMT", "enableMBM",
                                             "schemata", "enableMonitoring"}));
    if (rdt.Has("schemata") || rdt.Has("enableMonitoring")) Needs("1.1.0", "schemata of intelRdt");
    ASSIGN_OR_RETURN(out.rdt_class, rdt.String("closID"));
    const std::string& id = out.rdt_class;
    if (id != "/" && (id == "." || id == ".." || id.size() > 255 || id.find_first_of("/\n") != std::string::npos)) {
      return Invalid(absl::StrCat(rdt.At("closID"), ": '", id, "' is not the name of a class"));
    }
    // A class has to be there already: making one, and monitoring it, is the administrator's.
    if (id.empty()) out.unsupported = "intelRdt without closID";
    for (const char* field :
         {"l3CacheSchema", "memBwSchema", "enableCMT", "enableMBM", "schemata", "enableMonitoring"}) {
      if (rdt.Has(field)) out.unsupported = absl::StrCat("intelRdt.", field);
    }
    return absl::OkStatus();
  }

  ptrdiff_t needed_ = 0;
  std::string needed_by_;
};

}  // namespace

bool Edits::empty() const {
  return env.empty() && nodes.empty() && mounts.empty() && gids.empty() && rdt_class.empty() && unsupported.empty();
}

void Edits::Append(const Edits& other) {
  env.insert(env.end(), other.env.begin(), other.env.end());
  nodes.insert(nodes.end(), other.nodes.begin(), other.nodes.end());
  mounts.insert(mounts.end(), other.mounts.begin(), other.mounts.end());
  gids.insert(gids.end(), other.gids.begin(), other.gids.end());
  if (!other.rdt_class.empty()) rdt_class = other.rdt_class;
  if (other.unsupported.empty()) return;
  unsupported = other.unsupported;
  unsupported_file = other.unsupported_file;
}

absl::StatusOr<DeviceName> ParseDeviceName(absl::string_view text) {
  const size_t slash = text.find('/'), equals = text.find('=');
  if (slash != absl::string_view::npos && equals != absl::string_view::npos && slash < equals) {
    const absl::string_view vendor = text.substr(0, slash), device_class = text.substr(slash + 1, equals - slash - 1),
                            name = text.substr(equals + 1);
    if (IsVendor(vendor) && IsClass(device_class) && IsDevice(name)) {
      return DeviceName{std::string(vendor), std::string(device_class), std::string(name)};
    }
  }
  return Invalid(absl::StrCat("'", text, "' is not the name of a device, VENDOR/CLASS=NAME"));
}

absl::StatusOr<Spec> ParseSpec(absl::string_view path, absl::string_view text) {
  auto json = absl::EndsWith(path, ".json") ? ParseJson(text) : ParseYaml(text);
  RETURN_IF_ERROR(json);
  ASSIGN_OR_RETURN(Spec spec, Parser().Parse(*json));
  spec.path = std::string(path);
  for (auto& [name, edits] : spec.devices) edits.unsupported_file = spec.path;
  spec.edits.unsupported_file = spec.path;
  return spec;
}

}  // namespace berth::cdi
