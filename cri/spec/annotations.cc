#include "cri/spec/annotations.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cri/cdi/spec.h"

namespace berth::spec {
namespace {

constexpr char kCdiPrefix[] = "cdi.k8s.io/";

template <typename Map>
bool Take(const Map& annotations, const std::string& key, ClassRequest& out) {
  auto found = annotations.find(key);
  if (found == annotations.end() || found->second.empty()) return false;
  out = {found->second, key};
  return true;
}

absl::Status AddDevice(absl::string_view name, absl::string_view source, std::vector<std::string>& out) {
  RETURN_IF_ERROR(cdi::ParseDeviceName(name), source);
  if (std::find(out.begin(), out.end(), name) == out.end()) out.emplace_back(name);
  return absl::OkStatus();
}

}  // namespace

ClassRequest ClassOf(absl::string_view kind, const state::v1::ContainerSpec& container, const state::v1::PodSpec& pod) {
  ClassRequest out;
  const std::string of_pod = absl::StrCat(kind, ".resources.beta.kubernetes.io/");
  if (Take(container.annotations(), absl::StrCat("io.kubernetes.cri.", kind, "-class"), out)) return out;
  if (Take(pod.annotations(), absl::StrCat(of_pod, "container.", container.name()), out)) return out;
  Take(pod.annotations(), absl::StrCat(of_pod, "pod"), out);
  return out;
}

absl::StatusOr<std::vector<std::string>> CdiDevicesOf(const state::v1::ContainerSpec& container) {
  std::vector<std::string> out;
  for (const std::string& name : container.cdi_devices()) RETURN_IF_ERROR(AddDevice(name, "CDI_devices", out));
  const std::map<std::string, std::string> sorted(container.annotations().begin(), container.annotations().end());
  for (const auto& [key, value] : sorted) {
    if (!absl::StartsWith(key, kCdiPrefix)) continue;
    for (absl::string_view name : absl::StrSplit(value, ',')) {
      RETURN_IF_ERROR(AddDevice(absl::StripAsciiWhitespace(name), absl::StrCat("annotation ", key), out));
    }
  }
  return out;
}

}  // namespace berth::spec
