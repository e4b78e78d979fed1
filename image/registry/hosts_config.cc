#include "image/registry/hosts_config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

absl::Status Wrong(absl::string_view key, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("'", key, "': expected ", expected));
}

// A string or a list of strings.
absl::StatusOr<std::vector<std::string>> Strings(const toml::node& node, absl::string_view key) {
  if (auto one = node.value_exact<std::string>()) return std::vector<std::string>{*one};
  const toml::array* list = node.as_array();
  if (!list) return Wrong(key, "a string or a list of strings");
  std::vector<std::string> out;
  for (const toml::node& item : *list) {
    auto text = item.value_exact<std::string>();
    if (!text) return Wrong(key, "a string or a list of strings");
    out.push_back(*text);
  }
  return out;
}

std::string Beneath(const std::string& dir, const std::string& path) {
  return path.empty() || path.front() == '/' ? path : absl::StrCat(dir, "/", path);
}

absl::StatusOr<Url> BaseUrl(const std::string& text, bool override_path) {
  std::string full = text;
  if (!absl::StrContains(text, "://")) {
    absl::string_view authority = absl::string_view(text).substr(0, text.find('/'));
    size_t colon = authority.rfind(':');
    bool bare = colon == absl::string_view::npos || absl::EndsWith(authority, "]");
    bool loopback = IsLoopbackHost(bare ? authority : authority.substr(0, colon));
    full = absl::StrCat(loopback ? "http://" : "https://", text);
  }
  ASSIGN_OR_RETURN(Url url, ParseUrl(full));
  if (absl::StrContains(url.path, "?")) return absl::InvalidArgumentError(absl::StrCat("URL '", text, "' has a query"));
  while (absl::EndsWith(url.path, "/")) url.path.pop_back();
  if (!override_path && !absl::EndsWith(url.path, "/v2")) url.path += "/v2";
  return url;
}

// client = "pem" | ["pem", …] | [["cert", "key"], …]; the first is used.
absl::Status ReadClient(const toml::node& node, const std::string& dir, TlsOptions& tls) {
  const toml::array* list = node.as_array();
  if (list && !list->empty() && list->get(0)->is_array()) {
    ASSIGN_OR_RETURN(std::vector<std::string> pair, Strings(*list->get(0), "client"));
    if (pair.empty() || pair.size() > 2) return Wrong("client", "pairs of certificate and key");
    tls.client_cert = Beneath(dir, pair[0]);
    if (pair.size() == 2) tls.client_key = Beneath(dir, pair[1]);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::vector<std::string> files, Strings(node, "client"));
  if (!files.empty()) tls.client_cert = Beneath(dir, files[0]);
  return absl::OkStatus();
}

absl::Status ReadHeaders(const toml::node& node, Endpoint& endpoint) {
  const toml::table* headers = node.as_table();
  if (!headers) return Wrong("header", "a table");
  for (const auto& [name, value] : *headers) {
    ASSIGN_OR_RETURN(std::vector<std::string> values, Strings(value, "header"));
    for (std::string& text : values) endpoint.headers.emplace_back(std::string(name.str()), std::move(text));
  }
  return absl::OkStatus();
}

absl::Status ReadCapabilities(const toml::node& node, Endpoint& endpoint) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, Strings(node, "capabilities"));
  endpoint.pull = endpoint.resolve = false;
  for (const std::string& name : names) {
    if (name == "pull") {
      endpoint.pull = true;
    } else if (name == "resolve") {
      endpoint.resolve = true;
    } else if (name != "push" && name != "referrers") {
      return Wrong("capabilities", absl::StrCat("pull, resolve, push or referrers, not '", name, "'"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> ReadTimeout(const toml::node& node) {
  absl::Duration out;
  auto text = node.value_exact<std::string>();
  if (!text || !absl::ParseDuration(*text, &out) || out <= absl::ZeroDuration() || out > absl::Hours(1)) {
    return Wrong("dial_timeout", "a duration like \"5s\", at most an hour");
  }
  return out;
}

absl::Status CheckKeys(const toml::table& table, bool top) {
  for (const auto& [key, value] : table) {
    absl::string_view name(key.str().data(), key.str().size());
    bool known = top && (name == "server" || name == "host");
    for (absl::string_view k :
         {"capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"}) {
      known = known || name == k;
    }
    if (!known) return absl::InvalidArgumentError(absl::StrCat("unknown key '", name, "'"));
  }
  return absl::OkStatus();
}

// What a host's table and the top level have in common.
absl::StatusOr<Endpoint> ReadEndpoint(const toml::table& table, const std::string& url, const std::string& dir) {
  Endpoint endpoint;
  bool override_path = false;
  if (const toml::node* node = table.get("override_path")) {
    if (!node->is_boolean()) return Wrong("override_path", "true or false");
    override_path = node->value_or(false);
  }
  ASSIGN_OR_RETURN(endpoint.base, BaseUrl(url, override_path));
  if (const toml::node* node = table.get("capabilities")) {
    RETURN_IF_ERROR(ReadCapabilities(*node, endpoint));
  }
  if (const toml::node* node = table.get("dial_timeout")) {
    ASSIGN_OR_RETURN(endpoint.dial_timeout, ReadTimeout(*node));
  }
  if (const toml::node* node = table.get("ca")) {
    ASSIGN_OR_RETURN(std::vector<std::string> files, Strings(*node, "ca"));
    for (const std::string& file : files) endpoint.tls.ca_files.push_back(Beneath(dir, file));
  }
  if (const toml::node* node = table.get("client")) RETURN_IF_ERROR(ReadClient(*node, dir, endpoint.tls));
  if (const toml::node* node = table.get("skip_verify")) {
    if (!node->is_boolean()) return Wrong("skip_verify", "true or false");
    endpoint.tls.skip_verify = node->value_or(false);
  }
  if (const toml::node* node = table.get("header")) RETURN_IF_ERROR(ReadHeaders(*node, endpoint));
  return endpoint;
}

absl::Status ReadMirrors(const toml::table& hosts, const std::string& dir, std::vector<Endpoint>& out) {
  std::vector<std::pair<uint32_t, const toml::key*>> order;  // the table sorts by name; what counts is the file's order
  for (const auto& [key, value] : hosts) order.emplace_back(value.source().begin.line, &key);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [line, key] : order) {
    std::string url(key->str());
    const toml::table* table = hosts.get(url)->as_table();
    if (!table) return Wrong(absl::StrCat("host.", url), "a table");
    RETURN_IF_ERROR(CheckKeys(*table, false), "host '", url, "'");
    ASSIGN_OR_RETURN(Endpoint mirror, ReadEndpoint(*table, url, dir), "host '", url, "'");
    mirror.is_mirror = true;
    out.push_back(std::move(mirror));
  }
  return absl::OkStatus();
}

// The directory's certificates, as Docker has them.
absl::Status AddCertificates(const std::string& dir, const std::vector<std::string>& names, TlsOptions& tls) {
  for (const std::string& name : names) {
    if (absl::EndsWith(name, ".crt")) tls.ca_files.push_back(Beneath(dir, name));
    if (absl::EndsWith(name, ".cert") && tls.client_cert.empty()) {
      std::string key = absl::StrCat(name.substr(0, name.size() - 5), ".key");
      if (std::count(names.begin(), names.end(), key) == 0) {
        return absl::InvalidArgumentError(absl::StrCat(dir, "/", name, " has no ", key, " beside it"));
      }
      tls.client_cert = Beneath(dir, name);
      tls.client_key = Beneath(dir, key);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Endpoint>> ReadDirectory(const std::string& dir, const Reference& reference) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(dir, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(fd.get()));
  std::sort(names.begin(), names.end());
  if (std::count(names.begin(), names.end(), "hosts.toml") > 0) {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFileAt(fd.get(), "hosts.toml"));
    return ParseHostsToml(text, dir, reference);
  }
  ASSIGN_OR_RETURN(std::vector<Endpoint> endpoints, ParseHostsToml("", dir, reference));
  RETURN_IF_ERROR(AddCertificates(dir, names, endpoints.back().tls));
  return endpoints;
}

bool IsDirectory(const std::string& path) { return sys::Open(path, O_PATH | O_DIRECTORY).ok(); }

// Names of the directory that speaks of `host`, the more special first.
std::vector<std::string> DirectoryNames(const std::string& host) {
  size_t colon = host.rfind(':');
  if (colon == std::string::npos || absl::EndsWith(host, "]")) return {host};
  return {absl::StrCat(host.substr(0, colon), "_", host.substr(colon + 1), "_"), host};
}

}  // namespace

absl::StatusOr<std::vector<Endpoint>> ParseHostsToml(absl::string_view text, const std::string& dir,
                                                     const Reference& reference) {
  toml::table root;
  try {
    root = toml::parse(std::string_view(text.data(), text.size()));
  } catch (const toml::parse_error& error) {
    std::string why(error.description().data(), error.description().size());
    return absl::InvalidArgumentError(absl::StrCat("line ", error.source().begin.line, ": ", why));
  }
  RETURN_IF_ERROR(CheckKeys(root, true));
  std::vector<Endpoint> endpoints;
  if (const toml::node* node = root.get("host")) {
    if (!node->is_table()) return Wrong("host", "a table");
    RETURN_IF_ERROR(ReadMirrors(*node->as_table(), dir, endpoints));
  }
  std::string server = EndpointHost(reference);
  if (const toml::node* node = root.get("server")) {
    auto value = node->value_exact<std::string>();
    if (!value) return Wrong("server", "a string");
    if (!value->empty()) server = *value;
  }
  ASSIGN_OR_RETURN(Endpoint last, ReadEndpoint(root, server, dir), "server");
  ASSIGN_OR_RETURN(Url own, BaseUrl(EndpointHost(reference), false));
  for (Endpoint& mirror : endpoints) {
    if (mirror.base.SameOrigin(own)) mirror.is_mirror = false;  // the registry itself, listed to give it options
  }
  endpoints.push_back(std::move(last));
  return endpoints;
}

absl::StatusOr<std::vector<Endpoint>> FindEndpoints(const Reference& reference, const std::vector<std::string>& dirs) {
  std::vector<std::string> candidates;
  for (const std::string& dir : dirs) {
    for (const std::string& name : DirectoryNames(reference.host)) candidates.push_back(absl::StrCat(dir, "/", name));
  }
  for (const std::string& dir : dirs) candidates.push_back(absl::StrCat(dir, "/_default"));
  for (const std::string& candidate : candidates) {
    if (!IsDirectory(candidate)) continue;
    auto endpoints = ReadDirectory(candidate, reference);
    RETURN_IF_ERROR(endpoints, candidate, "/hosts.toml");
    return endpoints;
  }
  return ParseHostsToml("", "", reference);
}

}  // namespace berth::image
