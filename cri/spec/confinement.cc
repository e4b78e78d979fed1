#include "cri/spec/confinement.h"

#include "runtime/base/json.h"

namespace berth::spec {

using state::v1::AppArmorProfile;
using state::v1::Security;

absl::StatusOr<std::string> AppArmorProfileOf(const Security& s, security::AppArmor& apparmor) {
  const AppArmorProfile& wanted = s.apparmor();
  if (s.privileged() || wanted.kind() == AppArmorProfile::UNCONFINED) return std::string();
  if (wanted.kind() == AppArmorProfile::LOCALHOST) {
    RETURN_IF_ERROR(apparmor.RequireLoaded(wanted.name()), "apparmor.localhost_ref");
    return wanted.name();
  }
  auto profile = apparmor.DefaultProfile();
  // Nobody asked for it: then a host that cannot have it is no reason to refuse the container.
  if (!profile.ok() && wanted.kind() == AppArmorProfile::NOT_GIVEN) return std::string();
  RETURN_IF_ERROR(profile, "apparmor.profile_type");
  return profile;
}

security::SelinuxContext ToSelinuxContext(const state::v1::SelinuxOptions& options) {
  return {options.user(), options.role(), options.type(), options.level()};
}

bool RunsWithoutSelinuxLabel(const state::v1::PodSpec& pod, const Security& s) {
  return s.privileged() || s.namespaces().pid() == state::v1::NODE || pod.namespaces().ipc() == state::v1::NODE;
}

std::string SeccompAgentState(const state::v1::Pod& pod, const state::v1::Container& container,
                              const std::string& metadata, bool running) {
  constexpr char kOci[] = "1.2.0";
  const Json state = {{"ociVersion", kOci},
                      {"id", container.id()},
                      {"status", running ? "running" : "creating"},
                      {"bundle", ""},
                      {"annotations",
                       {{"io.kubernetes.pod.name", pod.spec().name()},
                        {"io.kubernetes.pod.namespace", pod.spec().namespace_()},
                        {"io.kubernetes.pod.uid", pod.spec().uid()},
                        {"io.kubernetes.container.name", container.spec().name()}}}};
  // Members are sorted in a document of our own making, but `state` has to be the last.
  std::string head = DumpJson({{"metadata", metadata}, {"ociVersion", kOci}});
  head.pop_back();
  return absl::StrCat(head, ",\"state\":", DumpJson(state), "}");
}

}  // namespace berth::spec
