#include "cri/doctor/judge.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"

namespace berth::doctor {
namespace {

using network::Trace;
using state::v1::Pod;

std::string Short(const std::string& id) { return id.substr(0, 12); }
std::string NameOf(const Pod& pod) {
  return absl::StrCat("pod ", Short(pod.id()), " (", pod.spec().namespace_(), "/", pod.spec().name(), ")");
}
std::string Processes(size_t n) { return absl::StrCat(n, n == 1 ? " process" : " processes"); }

class Judge {
 public:
  Judge(const Records& records, const World& world, const Circumstances& now)
      : records_(records), world_(world), now_(now) {}

  std::vector<Finding> All() {
    for (const std::string& line : world_.blind) Warn("pods", line, absl::StrCat("could not be looked at: ", line), "");
    Pods();
    if (records_.complete) {
      Shims();
      Directories();
      Pins();
      Cgroups();
      Mounts();
      Network();
      Layers();
    } else {
      Warn("pods", "records", "what has no record cannot be told while the records are not all readable", "");
    }
    return std::move(findings_);
  }

 private:
  void Warn(const char* check, const std::string& subject, std::string what, std::string remedy) {
    findings_.push_back({check, Severity::kWarning, subject, std::move(what), std::move(remedy)});
  }
  void Stray(const char* check, const std::string& subject, std::string what, std::vector<Step> steps) {
    findings_.push_back({check, Severity::kProblem, subject, std::move(what), "remove it", std::move(steps)});
  }
  // Whether it may be part of a container that is just being made.
  bool Young(absl::Time made) const { return now_.daemon && now_.now - made < now_.settled; }

  void Pods() {
    std::set<std::string> alive, pinned;
    for (const Shim& shim : world_.shims) alive.insert(shim.pod);
    for (const PodEntry& pin : world_.pins) {
      if (pin.mounted) pinned.insert(pin.pod);
    }
    const char* at_start = "berthd sees to it when it starts";
    for (const auto& [id, pod] : records_.pods) {
      // While the daemon runs, what is not ready is being made, or waits for who asked for it.
      if (pod.unfinished() && !now_.daemon) Warn("pods", id, NameOf(pod) + " was never finished", at_start);
      if (pod.state() != Pod::READY) continue;
      if (pod.boot_id() != world_.boot_id) {
        Warn("pods", id, NameOf(pod) + " ended with an earlier boot", at_start);
      } else if (alive.count(id) == 0) {
        findings_.push_back({"pods", now_.daemon ? Severity::kProblem : Severity::kWarning, id,
                             NameOf(pod) + " is ready by its record, but its shim is gone",
                             now_.daemon ? "remove the pod" : at_start});
      } else if (!pod.netns_path().empty() && pinned.count(id) == 0) {
        findings_.push_back({"namespaces", Severity::kProblem, id,
                             NameOf(pod) + ": nothing is mounted at " + pod.netns_path(),
                             "remove the pod and run it again"});
      }
    }
  }

  void Shims() {
    for (const Shim& shim : world_.shims) {
      if (records_.Has(shim.pod)) continue;
      const std::string of = absl::StrCat("of pod ", Short(shim.pod));
      std::vector<Step> steps = {
          {Act::kEndShim, shim.pod, absl::StrCat("end shim ", shim.pid, " and ", Processes(shim.processes), " ", of)}};
      for (const std::string& path : shim.cgroups) AddCgroupSteps(path, true, steps);
      Stray("shims", shim.pod,
            absl::StrCat("shim ", shim.pid, " ", of, " and ", Processes(shim.processes), " below it, without a record"),
            std::move(steps));
    }
  }

  static void AddCgroupSteps(const std::string& path, bool kill, std::vector<Step>& steps) {
    if (kill) steps.push_back({Act::kKillCgroup, path, absl::StrCat("kill what runs in ", path)});
    steps.push_back({Act::kRemoveCgroup, path, absl::StrCat("remove cgroup ", path)});
  }

  void Directories() {
    for (const PodEntry& dir : world_.directories) {
      if (records_.Has(dir.pod)) continue;
      Stray("directories", dir.pod, absl::StrCat(dir.path, ": no record of that pod"),
            {{Act::kRemoveTree, dir.path, absl::StrCat("remove ", dir.path)}});
    }
  }

  void Pins() {
    for (const PodEntry& pin : world_.pins) {
      if (records_.HasNetworkOf(pin.pod)) continue;
      std::vector<Step> steps;
      if (pin.mounted) steps.push_back({Act::kUnmount, pin.path, absl::StrCat("unmount ", pin.path)});
      steps.push_back({Act::kRemoveFile, pin.path, absl::StrCat("remove ", pin.path)});
      Stray("namespaces", pin.pod,
            absl::StrCat(pin.path, pin.mounted ? "" : " (nothing is mounted there)", ": no record of that pod"),
            std::move(steps));
    }
  }

  // By whom a cgroup is ours: another daemon may have the same parent.
  bool IsOurs(const CgroupEntry& cgroup) const {
    for (const Shim& shim : world_.shims) {
      if (std::count(shim.cgroups.begin(), shim.cgroups.end(), cgroup.path)) return true;
    }
    for (const PodEntry& dir : world_.directories) {
      if (dir.pod == cgroup.id) return true;
    }
    for (const SnapshotEntry& snapshot : world_.snapshots) {
      if (snapshot.container == cgroup.id) return true;
    }
    return false;
  }

  void Cgroups() {
    for (const CgroupEntry& cgroup : world_.cgroups) {
      if (records_.Has(cgroup.id) || Young(cgroup.made)) continue;
      const std::string what =
          absl::StrCat("cgroup ", cgroup.path, " with ", Processes(cgroup.processes), ", without a record");
      if (cgroup.processes > 0 && !IsOurs(cgroup)) {
        Warn("cgroups", cgroup.path, what,
             "nothing says that it is this berth's: another may have the same cgroup_parent");
        continue;
      }
      std::vector<Step> steps;
      AddCgroupSteps(cgroup.path, cgroup.processes > 0, steps);
      Stray("cgroups", cgroup.path, what, std::move(steps));
    }
  }

  void Mounts() {
    std::set<std::string> pins;
    for (const PodEntry& pin : world_.pins) pins.insert(pin.path);
    for (const MountEntry& mount : world_.mounts) {
      if (mount.id.empty() || pins.count(mount.path) || records_.Has(mount.id)) continue;
      Stray("mounts", mount.path, absl::StrCat(mount.path, " is mounted, without a record"),
            {{Act::kUnmount, mount.path, absl::StrCat("unmount ", mount.path)}});
    }
  }

  void Network() {
    const Step collect = {Act::kCollectNetwork, "", "take out of the network what is of no pod with a record"};
    for (const Trace& trace : world_.network) {
      switch (trace.kind) {
        case Trace::Kind::kLease:
          if (!records_.HasNetworkOf(trace.pod)) {
            Stray("network", trace.name, absl::StrCat("lease ", trace.name, " without a pod's record"), {collect});
          } else if (!trace.problem.empty()) {
            Warn("network", trace.name, absl::StrCat("lease ", trace.name, ": ", trace.problem),
                 "berthd drops it when it starts");
          }
          break;
        case Trace::Kind::kLink:
          // Beside a daemon one may be of a pod just removed: the kernel takes its time with a namespace.
          if (!now_.daemon && !records_.HasNetworkLike(trace.pod)) {
            Stray("network", trace.name, absl::StrCat("link ", trace.name, " without a pod's record"), {collect});
          }
          break;
        case Trace::Kind::kPort:
          Stray("network", trace.name, absl::StrCat("packet rule ", trace.name, " ", trace.problem), {collect});
          break;
        case Trace::Kind::kCniResult:
          if (!records_.HasNetworkOf(trace.pod)) {
            Stray("network", trace.name, absl::StrCat("CNI result ", trace.name, " without a pod's record"), {collect});
          } else if (!trace.problem.empty()) {
            Warn("network", trace.name, absl::StrCat("CNI result ", trace.name, ": ", trace.problem), "");
          }
          break;
      }
    }
  }

  void Layers() {
    for (const SnapshotEntry& snapshot : world_.snapshots) {
      const std::string& id = snapshot.container;
      if (records_.Has(id) || Young(snapshot.made)) continue;
      Stray("layers", id, absl::StrCat("writable layer ", Short(id), " without a container's record"),
            {{Act::kRemoveSnapshot, id, absl::StrCat("remove the writable layer of container ", Short(id))}});
    }
  }

  const Records& records_;
  const World& world_;
  const Circumstances& now_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> JudgeWorld(const Records& records, const World& world, const Circumstances& circumstances) {
  std::vector<Finding> findings = Judge(records, world, circumstances).All();
  if (circumstances.daemon) {
    for (Finding& finding : findings) {
      if (finding.steps.empty()) continue;
      finding.steps.clear();
      finding.remedy = "berthd does it when it is started again";
    }
  }
  return findings;
}

std::vector<Finding> SeenTwice(const std::vector<Finding>& first, const std::vector<Finding>& second) {
  std::set<std::pair<std::string, std::string>> seen;
  for (const Finding& finding : first) seen.insert({finding.check, finding.subject});
  std::vector<Finding> both;
  for (const Finding& finding : second) {
    if (finding.severity == Severity::kOk || seen.count({finding.check, finding.subject})) both.push_back(finding);
  }
  return both;
}

void AddUntroubled(const char* check, const std::string& what, std::vector<Finding>& findings) {
  const bool found = std::any_of(findings.begin(), findings.end(), [&](const Finding& f) { return f.check == check; });
  if (!found) findings.push_back({check, Severity::kOk, "", what, ""});
}

}  // namespace berth::doctor
