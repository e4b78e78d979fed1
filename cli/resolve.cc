#include "cli/resolve.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/labels.h"

namespace berth::cli {
namespace {

constexpr size_t kShortId = 12;

bool IsNewer(const PodInfo& a, const PodInfo& b) {
  if (a.ready != b.ready) return a.ready;
  if (a.created_at != b.created_at) return a.created_at > b.created_at;
  return a.attempt > b.attempt;
}

bool IsNewer(const ContainerInfo& a, const ContainerInfo& b) {
  if (a.attempt != b.attempt) return a.attempt > b.attempt;
  return a.created_at > b.created_at;
}

bool IsIdPrefix(absl::string_view word, absl::string_view id) {
  return word.find_first_not_of("0123456789abcdef") == absl::string_view::npos && absl::StartsWith(id, word);
}

template <typename T>
std::string Ambiguous(const char* kind, absl::string_view word, const std::vector<T>& found,
                      std::string (*describe)(const T&)) {
  std::vector<std::string> names;
  for (const T& item : found) names.push_back(describe(item));
  return absl::StrCat("'", word, "' is ambiguous: ", kind, " ", absl::StrJoin(names, ", "));
}

std::string Describe(const PodInfo& pod) {
  return absl::StrCat(pod.ns, "/", pod.name, " (", pod.id.substr(0, kShortId), ")");
}

std::string Describe(const ContainerInfo& container) {
  auto pod = container.labels.find(kPodNameLabel);
  std::string name = pod == container.labels.end() ? container.name : absl::StrCat(pod->second, "/", container.name);
  return absl::StrCat(name, " (", container.id.substr(0, kShortId), ")");
}

// Keeps the newest of those that are the same thing by `key`.
template <typename T, typename Key>
std::vector<T> Newest(std::vector<T> items, Key key) {
  std::sort(items.begin(), items.end(), [](const T& a, const T& b) { return IsNewer(a, b); });
  std::set<std::string> seen;
  std::vector<T> kept;
  for (T& item : items) {
    if (seen.insert(key(item)).second) kept.push_back(std::move(item));
  }
  return kept;
}

std::vector<PodInfo> MatchPods(absl::string_view word, const std::vector<PodInfo>& pods) {
  std::vector<PodInfo> named, by_id;
  if (word.empty()) return named;
  for (const PodInfo& pod : pods) {
    if (pod.id == word) return {pod};
    if (word == pod.name || word == absl::StrCat(pod.ns, "/", pod.name)) named.push_back(pod);
    if (IsIdPrefix(word, pod.id)) by_id.push_back(pod);
  }
  if (named.empty()) return by_id;
  return Newest(std::move(named), [](const PodInfo& pod) { return absl::StrCat(pod.ns, "/", pod.name); });
}

std::vector<ContainerInfo> ContainersOf(const PodInfo& pod, const std::vector<ContainerInfo>& containers,
                                        absl::string_view name, bool with_init) {
  std::vector<ContainerInfo> found;
  for (const ContainerInfo& container : containers) {
    if (container.pod_id != pod.id || (!name.empty() && container.name != name)) continue;
    if (!with_init && container.annotations.count(kInitAnnotation) != 0) continue;
    found.push_back(container);
  }
  return Newest(std::move(found), [](const ContainerInfo& c) { return c.name; });
}

std::vector<ContainerInfo> MatchContainers(absl::string_view word, const std::vector<PodInfo>& pods,
                                           const std::vector<ContainerInfo>& containers) {
  std::vector<ContainerInfo> named, by_id;
  for (const ContainerInfo& container : containers) {
    if (container.id == word) return {container};
    if (container.name == word) named.push_back(container);
    if (IsIdPrefix(word, container.id)) by_id.push_back(container);
  }
  // A pod's name wins over the names of containers in other pods, as it is what people gave.
  std::vector<PodInfo> matched = MatchPods(word, pods);
  if (matched.size() == 1 && word == matched[0].name) {
    auto mine = ContainersOf(matched[0], containers, "", /*with_init=*/false);
    if (!mine.empty()) return mine;
  }
  if (!named.empty()) {
    return Newest(std::move(named), [](const ContainerInfo& c) { return absl::StrCat(c.pod_id, "/", c.name); });
  }
  if (by_id.empty() && matched.size() == 1) return ContainersOf(matched[0], containers, "", /*with_init=*/false);
  return by_id;
}

}  // namespace

absl::StatusOr<PodInfo> ResolvePod(absl::string_view word, const std::vector<PodInfo>& pods) {
  std::vector<PodInfo> found = MatchPods(word, pods);
  if (word.empty() || found.empty()) return absl::NotFoundError(absl::StrCat("no pod '", word, "'"));
  if (found.size() > 1) {
    return absl::InvalidArgumentError(Ambiguous<PodInfo>("pods", word, found, Describe));
  }
  return found[0];
}

absl::StatusOr<ContainerInfo> ResolveContainer(absl::string_view word, const std::vector<PodInfo>& pods,
                                               const std::vector<ContainerInfo>& containers) {
  std::vector<ContainerInfo> found;
  if (!word.empty()) found = MatchContainers(word, pods, containers);
  size_t slash = word.rfind('/');
  if (found.empty() && slash != absl::string_view::npos) {
    absl::string_view pod_word = word.substr(0, slash), name = word.substr(slash + 1);
    std::vector<PodInfo> matched = MatchPods(pod_word, pods);
    if (matched.size() > 1) {
      return absl::InvalidArgumentError(Ambiguous<PodInfo>("pods", pod_word, matched, Describe));
    }
    if (!matched.empty()) found = ContainersOf(matched[0], containers, name, /*with_init=*/true);
  }
  if (found.empty()) return absl::NotFoundError(absl::StrCat("no container '", word, "'"));
  if (found.size() > 1) {
    return absl::InvalidArgumentError(Ambiguous<ContainerInfo>("containers", word, found, Describe));
  }
  return found[0];
}

std::vector<ContainerInfo> ContainersOfPod(const PodInfo& pod, const std::vector<ContainerInfo>& containers) {
  std::vector<ContainerInfo> found = ContainersOf(pod, containers, "", /*with_init=*/true);
  std::sort(found.begin(), found.end(), [](const ContainerInfo& a, const ContainerInfo& b) {
    return std::tie(a.created_at, a.name) < std::tie(b.created_at, b.name);
  });
  return found;
}

std::string DisplayName(const PodInfo& pod) {
  return pod.ns == "default" ? pod.name : absl::StrCat(pod.ns, "/", pod.name);
}

const PodInfo* FindPod(const std::vector<PodInfo>& pods, absl::string_view id) {
  for (const PodInfo& pod : pods) {
    if (pod.id == id) return &pod;
  }
  return nullptr;
}

}  // namespace berth::cli
