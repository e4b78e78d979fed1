#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/testing/app_fixture.h"

namespace berth::cli {
namespace {

namespace cri = ::runtime::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Json = nlohmann::json;

constexpr char kPod[] = R"yaml(apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  volumes:
  - {name: data, emptyDir: {}}
  initContainers:
  - {name: prepare, image: 'reg/x:1'}
  containers:
  - name: app
    image: reg/x:1
    args: [$(IP)]
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    volumeMounts: [{name: data, mountPath: /data, subPath: in/side}]
  - {name: side, image: 'reg/x:1'}
)yaml";

class RunTest : public AppTest {
 protected:
  RunTest() {
    fake_.AddToRegistry("reg/x:1", "sha256:1");
    fake_.exits["prepare"] = 0;
    file_ = Write("pod.yaml", kPod);
  }
  void ExpectNothingLeft() {
    EXPECT_TRUE(fake_.pods.empty());
    EXPECT_TRUE(fake_.containers.empty());
    EXPECT_THAT(Leftovers(), IsEmpty());
  }
  std::string file_;
};

TEST_F(RunTest, MakesThePodAndRmTakesItAway) {
  ASSERT_EQ(Run({"run", "--timings", file_}), 0) << err_;
  EXPECT_EQ(out_, "web\n");
  EXPECT_THAT(err_, HasSubstr("pod sandbox"));
  EXPECT_THAT(err_, HasSubstr("start app"));
  EXPECT_THAT(fake_.calls, ElementsAre("PullImage", "RunPodSandbox", "CreateContainer", "StartContainer",
                                       "CreateContainer", "StartContainer", "CreateContainer", "StartContainer"));
  EXPECT_EQ(fake_.last_pod.hostname(), "web");
  EXPECT_THAT(fake_.last_pod.log_directory(), StartsWith(directory_ + "/logs/default_web_"));
  const FakeCri::Container* app = nullptr;
  for (const auto& [id, c] : fake_.containers) {
    if (c.config.metadata().name() == "app") app = &c;
  }
  ASSERT_NE(app, nullptr);
  EXPECT_THAT(app->config.args(), ElementsAre("10.1.2.3"));
  EXPECT_EQ(app->config.image().image(), "sha256:1");
  std::string source = app->config.mounts(0).host_path();
  EXPECT_THAT(source, ::testing::EndsWith("/data/in/side"));
  struct stat st;
  EXPECT_EQ(stat(source.c_str(), &st), 0);
  EXPECT_EQ(Leftovers().size(), 2u);

  EXPECT_EQ(Run({"rm", "-f", "web"}), 0) << err_;
  ExpectNothingLeft();
}

TEST_F(RunTest, JsonFromStdinWithSeveralPods) {
  std::string second = kPod;
  second.replace(second.find("name: web"), 9, "name: two");
  ASSERT_EQ(Run({"run", "-o", "json", "-"}, absl::StrCat(kPod, "---\n", second)), 0) << err_;
  Json json = Json::parse(out_);
  ASSERT_EQ(json["pods"].size(), 2u);
  EXPECT_EQ(json["pods"][1]["name"], "two");
  EXPECT_EQ(json["pods"][0]["ips"], Json({"10.1.2.3"}));
  EXPECT_EQ(json["pods"][0]["containers"].size(), 2u);  // without the init container
  EXPECT_GT(json["timings"].size(), 5u);
}

TEST_F(RunTest, APodThatExistsIsLeftAlone) {
  fake_.AddPod("web", "other");
  fake_.AddPod("web", "default", /*ready=*/false);
  ASSERT_EQ(Run({"run", file_}), 0) << err_;
  size_t pods = fake_.pods.size(), containers = fake_.containers.size();
  EXPECT_EQ(Run({"run", file_}), 1);
  EXPECT_THAT(err_, HasSubstr("pod default/web: already exists ("));
  EXPECT_THAT(err_, HasSubstr("remove it with berth rm -f web"));
  EXPECT_EQ(fake_.pods.size(), pods);
  EXPECT_EQ(fake_.containers.size(), containers);
}

struct FailingStep {
  const char* call;
  int skip;
  const char* error;
};

class RunFails : public RunTest, public ::testing::WithParamInterface<FailingStep> {};

TEST_P(RunFails, AndUndoesAll) {
  fake_.failures[GetParam().call] = {13, "boom", GetParam().skip};
  EXPECT_EQ(Run({"run", file_}), 1);
  EXPECT_THAT(err_, HasSubstr(absl::StrCat("berth: run ", file_, ": pod default/web: ", GetParam().error,
                                           "internal error: boom\n")));
  EXPECT_THAT(out_, IsEmpty());
  ExpectNothingLeft();
}

INSTANTIATE_TEST_SUITE_P(Steps, RunFails,
                         ::testing::Values(FailingStep{"PullImage", 0, "pull reg/x:1: "},
                                           FailingStep{"RunPodSandbox", 0, ""},
                                           FailingStep{"PodSandboxStatus", 0, "pod status: "},
                                           FailingStep{"CreateContainer", 0, "create container prepare: "},
                                           FailingStep{"StartContainer", 0, "start container prepare: "},
                                           FailingStep{"ContainerStatus", 0, ""},
                                           FailingStep{"CreateContainer", 1, "create container app: "},
                                           FailingStep{"StartContainer", 2, "start container side: "}));

TEST_F(RunTest, SecondPodFailingUndoesTheFirst) {
  std::string second = kPod;
  second.replace(second.find("name: web"), 9, "name: two");
  fake_.failures["RunPodSandbox"] = {3, "bad", 1};
  EXPECT_EQ(Run({"run", "-"}, absl::StrCat(kPod, "---\n", second)), 1);
  EXPECT_THAT(err_, HasSubstr("pod default/two: invalid argument: bad"));
  ExpectNothingLeft();
}

TEST_F(RunTest, FailingInitContainer) {
  fake_.exits["prepare"] = 3;
  EXPECT_EQ(Run({"run", file_}), 1);
  EXPECT_THAT(err_, HasSubstr("init container prepare of pod web failed with exit code 3 (Error)"));
  ExpectNothingLeft();
}

TEST_F(RunTest, WhatCannotBeUndoneIsSaid) {
  fake_.failures["StartContainer"] = {13, "boom", 0};
  fake_.failures["RemovePodSandbox"] = {13, "stuck", 0};
  EXPECT_EQ(Run({"run", file_}), 1);
  EXPECT_THAT(err_, HasSubstr("while undoing: remove pod: internal error: stuck"));
  EXPECT_THAT(err_, HasSubstr("internal error: boom"));
  EXPECT_THAT(Leftovers(), IsEmpty());
}

TEST_F(RunTest, ASignalUndoesToo) {
  fake_.exits.erase("prepare");  // it never ends
  std::thread signal([this] {
    for (int i = 0; i < 2000 && fake_.calls.size() < 4; ++i) usleep(1000);
    session_->Interrupt();
  });
  EXPECT_EQ(Run({"run", file_}), 1);
  signal.join();
  EXPECT_THAT(err_, HasSubstr("interrupted"));
  ExpectNothingLeft();
}

TEST_F(RunTest, PullPolicies) {
  std::string text = kPod;
  text += "    imagePullPolicy: Never\n";
  EXPECT_EQ(Run({"run", "-"},
                "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: c, "
                "image: 'reg/x:1', imagePullPolicy: Never}\n"),
            1);
  EXPECT_THAT(err_, HasSubstr("not here, and imagePullPolicy is Never"));
  EXPECT_THAT(fake_.calls, IsEmpty());
  fake_.images = fake_.registry;
  ASSERT_EQ(Run({"run", file_}), 0) << err_;
  EXPECT_EQ(fake_.calls.front(), "RunPodSandbox");  // nothing was pulled
}

TEST_F(RunTest, RunAsNonRootLooksAtTheImage) {
  constexpr char kNonRoot[] =
      "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {securityContext: {runAsNonRoot: "
      "true}, containers: "
      "[{name: c, image: 'reg/x:1'}]}}";
  EXPECT_EQ(Run({"run", "-"}, kNonRoot), 1);
  EXPECT_THAT(err_, HasSubstr("container c: the image runs as root, which runAsNonRoot forbids"));
  ExpectNothingLeft();
  fake_.images["reg/x:1"].mutable_uid()->set_value(1000);
  EXPECT_EQ(Run({"run", "-"}, kNonRoot), 0) << err_;
}

TEST_F(RunTest, HostPathsAreWhatTheyPromise) {
  auto pod = [&](const std::string& path, const std::string& type, const std::string& sub = "") {
    return absl::StrCat(
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {volumes: [{name: v, hostPath: "
        "{path: ",
        path, ", type: ", type, "}}], containers: [{name: c, image: 'reg/x:1', volumeMounts: [{name: v, ",
        "mountPath: /v", sub.empty() ? "" : ", subPath: ", sub, "}]}]}}");
  };
  EXPECT_EQ(Run({"run", "-"}, pod(file_, "Directory")), 1);
  EXPECT_THAT(err_, HasSubstr("is not a Directory"));
  EXPECT_EQ(Run({"run", "-"}, pod(directory_ + "/none", "File")), 1);
  EXPECT_THAT(err_, HasSubstr("does not exist"));
  ExpectNothingLeft();
  ASSERT_EQ(mkdir((directory_ + "/d").c_str(), 0755), 0);
  ASSERT_EQ(symlink("/etc", (directory_ + "/d/out").c_str()), 0);
  EXPECT_EQ(Run({"run", "-"}, pod(directory_ + "/d", "Directory", "out/x")), 1);
  EXPECT_THAT(err_, HasSubstr("subPath out/x"));
  ASSERT_EQ(mkdir((directory_ + "/d/etc").c_str(), 0755), 0);
  // The link's target is taken inside of the volume, not on the host.
  EXPECT_EQ(Run({"run", "-"}, pod(directory_ + "/d", "Directory", "out/x")), 0) << err_;
  EXPECT_EQ(fake_.containers.begin()->second.config.mounts(0).host_path(), directory_ + "/d/etc/x");
  EXPECT_EQ(Run({"rm", "-f", "a"}), 0) << err_;
  EXPECT_EQ(access((directory_ + "/d/etc/x").c_str(), F_OK),
            0);  // a hostPath is not berth's to remove
}

TEST_F(RunTest, BadManifestsAskNoDaemon) {
  env_["BERTH_SOCKET"] = "/nope";
  EXPECT_EQ(Run({"run", Write("bad.yaml", "kind: [\n")}), 1);
  EXPECT_THAT(err_, HasSubstr("bad.yaml:2:1: bad YAML"));
  EXPECT_EQ(Run({"run", directory_ + "/missing.yaml"}), 1);
  EXPECT_THAT(err_, HasSubstr("No such file or directory"));
  EXPECT_EQ(Run({"run", "--check", file_}), 0) << err_;
  EXPECT_EQ(Run({"run", "-"}, "kind: Service\napiVersion: v1\n"), 1);
  EXPECT_THAT(err_, HasSubstr("berth: stdin: kind: 'Service' is not supported"));
}

}  // namespace
}  // namespace berth::cli
