#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/manifest/parse.h"
#include "cli/manifest/pod.h"

namespace berth::cli::manifest {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kWhole[] = R"yaml(apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web}
  annotations: {note: "8"}
spec:
  hostname: front
  terminationGracePeriodSeconds: 5
  dnsPolicy: None
  dnsConfig:
    nameservers: [10.0.0.2]
    options: [{name: ndots, value: "2"}]
  securityContext: {runAsUser: 1000, fsGroup: 2000, supplementalGroups: [3000], sysctls: [{name: net.core.somaxconn, value: "99"}]}
  volumes:
  - name: tmp
    emptyDir: {}
  - name: etc
    hostPath: {path: /etc, type: Directory}
  initContainers:
  - {name: prepare, image: busybox:1.36, command: [sh, -c, "true"]}
  containers:
  - name: app
    image: registry.example:5000/shop/web
    args: ["--port=$(PORT)"]
    env:
    - {name: PORT, value: "8080"}
    - name: POD
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    ports:
    - {containerPort: 8080, hostPort: 18080, hostIP: 127.0.0.1}
    resources: {limits: {cpu: 500m, memory: 64Mi}, requests: {cpu: 0.25}}
    volumeMounts:
    - {name: tmp, mountPath: /tmp, subPath: a/b}
    - {name: etc, mountPath: /host/etc, readOnly: true}
    securityContext:
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
)yaml";

TEST(ParseManifest, ReadsAWholePod) {
  auto manifest = ParseManifest(kWhole, "pod.yaml");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_THAT(manifest->warnings, IsEmpty());
  ASSERT_EQ(manifest->pods.size(), 1u);
  const Pod& pod = manifest->pods[0];
  EXPECT_EQ(pod.ns, "shop");
  EXPECT_EQ(pod.labels.at("app"), "web");
  EXPECT_EQ(pod.grace_seconds, 5);
  EXPECT_EQ(pod.dns_policy, "None");
  EXPECT_THAT(pod.dns.options, ElementsAre("ndots:2"));
  EXPECT_EQ(pod.fs_group, 2000);
  EXPECT_EQ(pod.sysctls.at("net.core.somaxconn"), "99");
  ASSERT_EQ(pod.volumes.size(), 2u);
  EXPECT_TRUE(pod.volumes[0].empty_dir);
  EXPECT_EQ(pod.volumes[1].host_path_type, "Directory");
  ASSERT_EQ(pod.init_containers.size(), 1u);
  EXPECT_EQ(pod.init_containers[0].pull_policy, "IfNotPresent");
  const Container& app = pod.containers.at(0);
  EXPECT_EQ(app.pull_policy, "Always");  // no tag, and the ':' belongs to the registry's port
  EXPECT_EQ(app.ports[0].host_port, 18080);
  EXPECT_EQ(app.resources.cpu_limit, 500);
  EXPECT_EQ(app.resources.cpu_request, 250);
  EXPECT_EQ(app.resources.memory_limit, 64 << 20);
  EXPECT_EQ(app.resources.memory_request, 64 << 20);
  EXPECT_EQ(app.env[1].field, "metadata.name");
  EXPECT_EQ(app.mounts[0].sub_path, "a/b");
  EXPECT_TRUE(app.mounts[1].read_only);
  EXPECT_TRUE(app.read_only_root);
  EXPECT_EQ(app.allow_privilege_escalation, false);
  EXPECT_THAT(app.drop_capabilities, ElementsAre("ALL"));
}

constexpr char kSmall[] =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: c, image: "
    "i:1}\n";

TEST(ParseManifest, DefaultsOfASmallPod) {
  auto manifest = ParseManifest(kSmall, "f");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  const Pod& pod = manifest->pods.at(0);
  EXPECT_EQ(pod.ns, "default");
  EXPECT_EQ(pod.grace_seconds, 30);
  EXPECT_EQ(pod.dns_policy, "Default");
  EXPECT_FALSE(pod.containers.at(0).allow_privilege_escalation.has_value());
}

TEST(ParseManifest, SeveralDocumentsAndEmptyOnes) {
  std::string second = kSmall;
  second.replace(second.find("name: a"), 7, "name: b");
  auto manifest = ParseManifest(absl::StrCat("---\n", kSmall, "---\n---\n", second), "f");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->pods.size(), 2u);
}

TEST(ParseManifest, JsonIsYaml) {
  auto manifest = ParseManifest(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})",
      "f");
  EXPECT_TRUE(manifest.ok()) << manifest.status();
}

// One changed or added line of a pod, and the error that names it.
struct BadCase {
  const char* where;  // "metadata", "spec" or "container"
  const char* yaml;
  const char* error;
};

std::string PodWith(const BadCase& c) {
  auto line = [&](absl::string_view where, absl::string_view indent) {
    return where == c.where ? absl::StrCat(indent, c.yaml, "\n") : "";
  };
  return absl::StrCat("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n", line("metadata", "  "), "spec:\n",
                      line("spec", "  "), "  containers:\n  - name: c\n    image: i:1\n", line("container", "    "));
}

class BadManifest : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadManifest, IsRefusedByPathAndLine) {
  auto manifest = ParseManifest(PodWith(GetParam()), "pod.yaml");
  ASSERT_FALSE(manifest.ok()) << GetParam().yaml;
  EXPECT_EQ(manifest.status().message(), absl::StrCat("pod.yaml: ", GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadManifest,
    ::testing::Values(
        BadCase{"metadata", "namespace: Up", "metadata.namespace: 'Up' is not a name of [a-z0-9-] (line 5)"},
        BadCase{"metadata", "labels: {a: 1}",
                "metadata.labels.a: expected a string, but 1 is a number: put it in quotes (line 5)"},
        BadCase{"metadata", "labels: {example.org/x: yes}",
                "metadata.labels['example.org/x']: expected a string, but yes is a boolean: put it "
                "in quotes (line 5)"},
        BadCase{"metadata", "generateName: x-", "metadata.generateName: not supported: give the pod a name (line 5)"},
        BadCase{"metadata", "name: b", "metadata.name: given twice (line 5)"},
        BadCase{"spec", "hostNetwork: sure", "spec.hostNetwork: expected true or false (line 6)"},
        BadCase{"spec", "hostNetwork: \"true\"", "spec.hostNetwork: expected true or false (line 6)"},
        BadCase{"spec", "restartPolicy: Sometimes",
                "spec.restartPolicy: 'Sometimes' is not one of Always, OnFailure, Never (line 6)"},
        BadCase{"spec", "dnsPolicy: None", "spec.dnsPolicy: None needs dnsConfig.nameservers (line 6)"},
        BadCase{"spec", "hostAliases: []", "spec.hostAliases: not supported (line 6)"},
        BadCase{"spec", "terminationGracePeriodSeconds: -1",
                "spec.terminationGracePeriodSeconds: -1 is not between 0 and 31536000 (line 6)"},
        BadCase{"spec", "hostNetwrok: true", "spec.hostNetwrok: unknown field, did you mean hostNetwork? (line 6)"},
        BadCase{"spec", "volumes: [{name: v, configMap: {name: x}}]",
                "spec.volumes[0].configMap: not supported: there is no API server to read it from "
                "(line 6)"},
        BadCase{"spec", "volumes: [{name: v, emptyDir: {medium: Memory}}]",
                "spec.volumes[0].emptyDir.medium: not supported: emptyDir volumes are directories "
                "on the host's disk (line 6)"},
        BadCase{"spec", "volumes: [{name: v, hostPath: {path: /a/../b}}]",
                "spec.volumes[0].hostPath.path: must be absolute and must not contain '..' (line 6)"},
        BadCase{"spec", "volumes: [{name: v}, {name: v}]", "spec.volumes[1].name: is used twice (line 6)"},
        BadCase{"spec", "securityContext: {runAsNonRoot: true, runAsUser: 0}",
                "spec.securityContext.runAsUser: is root, which runAsNonRoot forbids (line 6)"},
        BadCase{"spec", "initContainers: [{name: i, image: i, restartPolicy: Always}]",
                "spec.initContainers[0].restartPolicy: not supported: sidecar containers need a "
                "controller (line 6)"},
        BadCase{"spec", "initContainers: [{name: c, image: i}]", "spec.containers[0].name: is used twice (line 8)"},
        BadCase{"spec", "securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../x}}",
                "spec.securityContext.seccompProfile.localhostProfile: must be a path below the "
                "directory of seccomp "
                "profiles (line 6)"}));

INSTANTIATE_TEST_SUITE_P(
    Containers, BadManifest,
    ::testing::Values(
        BadCase{"container", "imagepullpolicy: Never",
                "spec.containers[0].imagepullpolicy: unknown field, did you mean imagePullPolicy? "
                "(line 9)"},
        BadCase{"container", "command: sh", "spec.containers[0].command: expected a list of strings (line 9)"},
        BadCase{"container", "args: [1]",
                "spec.containers[0].args[0]: expected a string, but 1 is a number: put it in "
                "quotes (line 9)"},
        BadCase{"container", "env: [{name: PORT, value: 8080}]",
                "spec.containers[0].env[0].value: expected a string, but 8080 is a number: put it "
                "in quotes (line 9)"},
        BadCase{"container", "env: [{value: x}]", "spec.containers[0].env[0].name: must be given (line 9)"},
        BadCase{"container", "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]",
                "spec.containers[0].env[0].valueFrom.secretKeyRef: not supported: there is no API "
                "server to read it "
                "from (line 9)"},
        BadCase{"container", "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]",
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: 'status.hostIP' is not "
                "supported (line 9)"},
        BadCase{"container", "envFrom: []",
                "spec.containers[0].envFrom: not supported: there is no API server to read it from "
                "(line 9)"},
        BadCase{"container", "ports: [{hostPort: 80}]",
                "spec.containers[0].ports[0].containerPort: must be given (line 9)"},
        BadCase{"container", "ports: [{containerPort: 80, hostPort: 70000}]",
                "spec.containers[0].ports[0].hostPort: 70000 is not between 1 and 65535 (line 9)"},
        BadCase{"container", "ports: [{containerPort: 80, hostIP: localhost}]",
                "spec.containers[0].ports[0].hostIP: 'localhost' is not an IP address (line 9)"},
        BadCase{"container", "ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]",
                "spec.containers[0].ports: host port 9 is used twice (line 9)"},
        BadCase{"container", "resources: {limits: {memory: lots}}",
                "spec.containers[0].resources.limits.memory: 'lots' is not a quantity such as "
                "500m, 1.5 or 64Mi (line 9)"},
        BadCase{"container", "resources: {limits: {cpu: 1}, requests: {cpu: 2}}",
                "spec.containers[0].resources.requests: cpu is more than its limit (line 9)"},
        BadCase{"container", "resources: {limits: {nvidia.com/gpu: 1}}",
                "spec.containers[0].resources.limits['nvidia.com/gpu']: not supported (line 9)"},
        BadCase{"container", "volumeMounts: [{name: nope, mountPath: /a}]",
                "spec.containers[0].volumeMounts[0].name: no volume 'nope' in spec.volumes (line 9)"},
        BadCase{"container", "lifecycle: {}", "spec.containers[0].lifecycle: not supported (line 9)"},
        BadCase{"container", "securityContext: {capabilities: {add: [CAP_NET_ADMIN]}}",
                "spec.containers[0].securityContext.capabilities.add: write NET_ADMIN for "
                "CAP_NET_ADMIN (line 9)"},
        BadCase{"container", "securityContext: {privileged: true, allowPrivilegeEscalation: false}",
                "spec.containers[0].securityContext.allowPrivilegeEscalation: cannot be false for "
                "a privileged "
                "container (line 9)"},
        BadCase{"container", "securityContext: {seccompProfile: {type: Localhost}}",
                "spec.containers[0].securityContext.seccompProfile: type Localhost needs "
                "localhostProfile (line 9)"}));

TEST(ParseManifest, MountErrorsNameTheFieldOnItsOwnLine) {
  std::string text = PodWith({"spec", "volumes: [{name: v}]", ""});
  absl::StrAppend(&text,
                  "    volumeMounts:\n    - name: v\n      mountPath: /a\n    - name: v\n      mountPath: /b\n"
                  "      mountPropagation: HostToContainer\n    - {name: v, mountPath: /c, subPath: ../up}\n");
  EXPECT_EQ(ParseManifest(text, "p").status().message(),
            "p: spec.containers[0].volumeMounts[1].mountPropagation: not supported (line 15)\n"
            "p: spec.containers[0].volumeMounts[2].subPath: must be relative and must not contain "
            "'..' (line 16)");
}

TEST(ParseManifest, BadYamlIsNamedByLineAndColumn) {
  EXPECT_THAT(std::string(ParseManifest("kind: Pod\nmetadata: [a\n", "pod.yaml").status().message()),
              HasSubstr("pod.yaml:3:1: bad YAML: "));
  EXPECT_THAT(std::string(ParseManifest("a: b: c\n", "pod.yaml").status().message()),
              HasSubstr("pod.yaml:1:5: bad YAML"));
}

TEST(ParseManifest, OtherDocuments) {
  auto message = [](absl::string_view text) { return std::string(ParseManifest(text, "f").status().message()); };
  EXPECT_EQ(message(""), "f: contains no Pod");
  EXPECT_EQ(message("- a\n"), "f: document: expected a mapping (line 1)");
  EXPECT_EQ(message("apiVersion: apps/v1\nkind: Deployment\n"),
            "f: kind: 'Deployment' is not supported: berth run takes Pods (line 2)");
  EXPECT_EQ(message("apiVersion: v2\nkind: Pod\n"), "f: apiVersion: 'v2' is not supported: Pods are v1 (line 1)");
  EXPECT_THAT(message("kind: Pod\n"), HasSubstr("apiVersion: must be given"));
  EXPECT_EQ(message(absl::StrCat(kSmall, "---\n", kSmall)),
            "f: metadata: pod default/a is in the file twice (line 10)");
  EXPECT_THAT(message(std::string(2 << 20, ' ')), HasSubstr("larger than 1 MiB"));
  EXPECT_THAT(message("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n"),
              HasSubstr("containers: at least one must be given"));
}

TEST(ParseManifest, DeepNestingIsAnErrorNotACrash) {
  EXPECT_FALSE(ParseManifest(std::string(100'000, '['), "f").ok());
  EXPECT_FALSE(ParseManifest(std::string(100'000, '{'), "f").ok());
}

TEST(ParseManifest, SaysWhatHasNoEffect) {
  auto manifest = ParseManifest(
      "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  restartPolicy: Always\n  "
      "nodeSelector: {a: b}\n"
      "  containers:\n  - name: c\n    image: i\n    livenessProbe: {}\nstatus: {phase: Running}\n",
      "f");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_THAT(manifest->warnings,
              ElementsAre("f: spec.restartPolicy: has no effect: berth run starts containers once (line 5)",
                          "f: spec.containers[0].livenessProbe: has no effect: berth run does not probe (line 10)",
                          "f: spec.nodeSelector: has no effect: there is no cluster (line 6)"));
}

TEST(ParseManifest, AllProblemsAtOnceButNotEndlessly) {
  std::string text =
      "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: c, image: "
      "i}]\n";
  for (int i = 0; i < 30; ++i) absl::StrAppend(&text, "  field", i, ": x\n");
  std::string message(ParseManifest(text, "f").status().message());
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 20);
  EXPECT_THAT(message, HasSubstr("and 10 more errors"));
}

TEST(Names, FollowKubernetes) {
  EXPECT_TRUE(IsDnsLabel("a-1"));
  for (const char* bad : {"", "-a", "a-", "A", "a.b", "a_b"}) EXPECT_FALSE(IsDnsLabel(bad)) << bad;
  EXPECT_FALSE(IsDnsLabel(std::string(64, 'a')));
  EXPECT_TRUE(IsDnsSubdomain("a.b-c.d"));
  EXPECT_FALSE(IsDnsSubdomain("a..b"));
  EXPECT_TRUE(IsIpAddress("::1"));
  EXPECT_FALSE(IsIpAddress("1.2.3"));
  EXPECT_FALSE(IsCleanAbsolutePath("/a/.."));
  EXPECT_TRUE(IsCleanAbsolutePath("/a/..b"));
}

}  // namespace
}  // namespace berth::cli::manifest
