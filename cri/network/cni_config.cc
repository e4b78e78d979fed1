#include "cri/network/cni_config.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

constexpr std::array<absl::string_view, 7> kVersions = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};

std::array<int, 3> VersionNumbers(absl::string_view version) {
  std::array<int, 3> numbers = {};
  size_t i = 0;
  for (absl::string_view part : absl::StrSplit(version, '.')) {
    if (i < numbers.size() && !absl::SimpleAtoi(part, &numbers[i])) return {};
    ++i;
  }
  return numbers;
}

// Section 1: starts with an alphanumeric character, then alphanumerics, '_', '.', '-'.
bool IsNetworkName(absl::string_view name) {
  if (name.empty() || name.size() > 128 || !absl::ascii_isalnum(static_cast<unsigned char>(name.front()))) return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-'; });
}

// "cniVersion", or since 1.1.0 the latest that we know of "cniVersions".
absl::StatusOr<std::string> ChooseVersion(const Json& json) {
  ASSIGN_OR_RETURN(std::string version, StringField(json, "cniVersion", kVersions.front()));
  ASSIGN_OR_RETURN(std::vector<std::string> offered, StringListField(json, "cniVersions"));
  if (json.contains("cniVersion") || offered.empty()) offered.push_back(version);
  std::string best;
  for (absl::string_view known : kVersions) {
    if (std::find(offered.begin(), offered.end(), known) != offered.end()) best = std::string(known);
  }
  if (best.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("unsupported cniVersion '", absl::StrJoin(offered, "', '"), "'"));
  }
  return best;
}

absl::StatusOr<CniPlugin> ParsePlugin(Json json) {
  if (!json.is_object()) return absl::InvalidArgumentError("a plugin is not an object");
  CniPlugin plugin;
  ASSIGN_OR_RETURN(plugin.type, StringField(json, "type"));
  if (!IsNetworkName(plugin.type)) {
    return absl::InvalidArgumentError(absl::StrCat("field 'type': '", plugin.type, "' cannot name a plugin"));
  }
  if (auto it = json.find("capabilities"); it != json.end() && !it->is_null()) {
    if (!it->is_object()) return absl::InvalidArgumentError("field 'capabilities': expected an object");
    for (const auto& [name, value] : it->items()) {
      if (!value.is_boolean()) return absl::InvalidArgumentError("field 'capabilities': expected true or false");
      if (value.get<bool>()) plugin.capabilities.insert(name);
    }
    json.erase(it);
  }
  plugin.config = std::move(json);
  return plugin;
}

bool IsConfigName(absl::string_view name) {
  return absl::EndsWith(name, ".conf") || absl::EndsWith(name, ".conflist") || absl::EndsWith(name, ".json");
}

struct Candidates {
  std::vector<std::string> paths;  // in the order in which they are tried
  std::string fingerprint;         // changes when any of them does
};

Candidates FindCandidates(const std::vector<std::string>& dirs) {
  Candidates found;
  for (const std::string& dir : dirs) {
    auto fd = sys::Open(dir, O_RDONLY | O_DIRECTORY);
    if (!fd.ok()) continue;
    auto names = sys::ListDir(fd->get());
    if (!names.ok()) continue;
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
      struct stat st;
      if (!IsConfigName(name) || fstatat(fd->get(), name.c_str(), &st, 0) != 0 || !S_ISREG(st.st_mode)) continue;
      found.paths.push_back(absl::StrCat(dir, "/", name));
      absl::StrAppend(&found.fingerprint, found.paths.back(), " ", st.st_ino, " ", st.st_size, " ", st.st_mtim.tv_sec,
                      ".", st.st_mtim.tv_nsec, " ", st.st_ctim.tv_sec, ".", st.st_ctim.tv_nsec, "\n");
    }
  }
  return found;
}

absl::StatusOr<CniConfig> FirstUsable(const Candidates& candidates, const std::vector<std::string>& dirs) {
  absl::Status first;
  for (const std::string& path : candidates.paths) {
    auto read = [&]() -> absl::StatusOr<CniConfig> {
      ASSIGN_OR_RETURN(std::string text, sys::ReadFile(path));
      return ParseCniConfig(text);
    };
    auto config = read();
    if (config.ok()) {
      config->source = path;
      return config;
    }
    if (first.ok()) first = Annotate(config.status(), path);
  }
  std::string where = absl::StrJoin(dirs, ", ");
  if (first.ok()) return absl::NotFoundError(absl::StrCat("no CNI configuration in ", where));
  return absl::InvalidArgumentError(absl::StrCat("no valid CNI configuration in ", where, ": ", first.message()));
}

}  // namespace

bool VersionAtLeast(absl::string_view version, absl::string_view minimum) {
  return VersionNumbers(version) >= VersionNumbers(minimum);
}

bool IsKnownVersion(absl::string_view version) {
  return std::find(kVersions.begin(), kVersions.end(), version) != kVersions.end();
}

absl::StatusOr<CniConfig> ParseCniConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json, ParseJson(text));
  if (!json.is_object()) return absl::InvalidArgumentError("a CNI configuration is an object");
  CniConfig config;
  ASSIGN_OR_RETURN(config.version, ChooseVersion(json));
  ASSIGN_OR_RETURN(config.name, StringField(json, "name"));
  if (!IsNetworkName(config.name)) {
    return absl::InvalidArgumentError(absl::StrCat("field 'name': '", config.name, "' cannot name a network"));
  }
  if (auto off = json.find("disableGC"); off != json.end()) {
    // The specification allows the words, too.
    config.disable_gc = *off == true || *off == "true";
  }
  auto plugins = json.find("plugins");
  Json list = plugins != json.end() ? *plugins : Json::array({json});
  if (!list.is_array() || list.empty())
    return absl::InvalidArgumentError("field 'plugins': expected a list of plugins");
  for (Json& entry : list) {
    ASSIGN_OR_RETURN(CniPlugin plugin, ParsePlugin(std::move(entry)));
    config.plugins.push_back(std::move(plugin));
  }
  return config;
}

Json CniConfigJson(const CniConfig& config) {
  Json plugins = Json::array();
  for (const CniPlugin& plugin : config.plugins) {
    Json entry = plugin.config;
    for (const std::string& capability : plugin.capabilities) entry["capabilities"][capability] = true;
    plugins.push_back(std::move(entry));
  }
  Json out = {{"cniVersion", config.version}, {"name", config.name}, {"plugins", std::move(plugins)}};
  if (config.disable_gc) out["disableGC"] = true;
  return out;
}

absl::StatusOr<CniConfig> CniConfigSource::Current() {
  Candidates candidates = FindCandidates(dirs_);
  absl::MutexLock lock(&mu_);
  if (absl::IsUnknown(current_.status()) || candidates.fingerprint != fingerprint_) {
    current_ = FirstUsable(candidates, dirs_);
    fingerprint_ = std::move(candidates.fingerprint);
  }
  return current_;
}

}  // namespace berth::network
