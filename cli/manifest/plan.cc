#include "cli/manifest/plan.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/manifest/quantity.h"

namespace berth::cli::manifest {
namespace {

std::string Keyed(const StringMap& map, absl::string_view path) {
  // metadata.labels['KEY']
  size_t from = path.find("['") + 2;
  auto found = map.find(std::string(path.substr(from, path.size() - from - 2)));
  return found == map.end() ? "" : found->second;
}

std::string FieldValue(const Pod& pod, const HostFacts& host, const ContainerFacts& facts, absl::string_view path) {
  if (path == "metadata.name") return pod.name;
  if (path == "metadata.namespace") return pod.ns;
  if (path == "metadata.uid") return host.uid;
  if (path == "spec.nodeName") return host.node_name;
  if (path == "status.podIP") return facts.pod_ips.empty() ? "" : facts.pod_ips.front();
  if (path == "status.podIPs") return absl::StrJoin(facts.pod_ips, ",");
  if (absl::StartsWith(path, "metadata.labels['")) return Keyed(pod.labels, path);
  if (absl::StartsWith(path, "metadata.annotations['")) return Keyed(pod.annotations, path);
  return "";
}

Dns ParseResolvConf(absl::string_view text) {
  Dns dns;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = line.substr(0, line.find_first_of("#;"));
    std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.size() < 2) continue;
    std::vector<std::string> rest(words.begin() + 1, words.end());
    if (words[0] == "nameserver") dns.servers.push_back(rest[0]);
    // The last one wins, as with the resolver.
    if (words[0] == "search" || words[0] == "domain") dns.searches = rest;
    if (words[0] == "options") dns.options.insert(dns.options.end(), rest.begin(), rest.end());
  }
  return dns;
}

void AppendNew(std::vector<std::string>& to, const std::vector<std::string>& from) {
  for (const std::string& value : from) {
    if (std::find(to.begin(), to.end(), value) == to.end()) to.push_back(value);
  }
}

std::string OptionName(absl::string_view option) { return std::string(option.substr(0, option.find(':'))); }

}  // namespace

std::string LogDirectory(const Pod& pod, const HostFacts& host) {
  return absl::StrCat(host.log_root, "/", pod.ns, "_", pod.name, "_", host.uid);
}

std::string VolumeDirectory(const HostFacts& host) { return absl::StrCat(host.volume_root, "/", host.uid); }

std::vector<std::pair<std::string, std::string>> Environment(const Pod& pod, const Container& container,
                                                             const HostFacts& host, const ContainerFacts& facts) {
  std::vector<std::pair<std::string, std::string>> env;
  StringMap known;
  for (const EnvVar& variable : container.env) {
    std::string value =
        variable.field.empty() ? ExpandVariables(variable.value, known) : FieldValue(pod, host, facts, variable.field);
    known[variable.name] = value;
    env.emplace_back(variable.name, std::move(value));
  }
  return env;
}

std::optional<Dns> PodDns(const Pod& pod, const HostFacts& host) {
  const Dns& given = pod.dns;
  if (pod.dns_policy == "None") return given;
  if (given.servers.empty() && given.searches.empty() && given.options.empty()) return std::nullopt;
  Dns dns = ParseResolvConf(host.resolv_conf);
  AppendNew(dns.servers, given.servers);
  AppendNew(dns.searches, given.searches);
  for (const std::string& option : given.options) {
    std::string name = OptionName(option);
    dns.options.erase(std::remove_if(dns.options.begin(), dns.options.end(),
                                     [&](const std::string& old) { return OptionName(old) == name; }),
                      dns.options.end());
    dns.options.push_back(option);
  }
  return dns;
}

Identity EffectiveIdentity(const Pod& pod, const Container& container) {
  const Identity &mine = container.identity, &pods = pod.identity;
  Identity identity;
  identity.user = mine.user ? mine.user : pods.user;
  identity.group = mine.group ? mine.group : pods.group;
  identity.non_root = mine.non_root ? mine.non_root : pods.non_root;
  identity.seccomp = mine.seccomp ? mine.seccomp : pods.seccomp;
  identity.apparmor = mine.apparmor ? mine.apparmor : pods.apparmor;
  identity.selinux = mine.selinux ? mine.selinux : pods.selinux;
  return identity;
}

absl::Status CheckNonRoot(const Pod& pod, const Container& container, const ContainerFacts& facts) {
  Identity identity = EffectiveIdentity(pod, container);
  if (!identity.non_root.value_or(false)) return absl::OkStatus();
  if (identity.user) {
    if (*identity.user != 0) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("container ", container.name,
                                                      ": runAsUser is root, which "
                                                      "runAsNonRoot forbids"));
  }
  if (!facts.image_username.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("container ", container.name,
                                                      ": runAsNonRoot needs a user by number, but the image's is '",
                                                      facts.image_username, "': set runAsUser"));
  }
  if (facts.image_uid.value_or(0) == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "container ", container.name, ": the image runs as root, which runAsNonRoot forbids: set runAsUser"));
  }
  return absl::OkStatus();
}

}  // namespace berth::cli::manifest
