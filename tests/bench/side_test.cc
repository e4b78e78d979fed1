#include "tests/bench/side.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "absl/synchronization/mutex.h"
#include "tests/bench/restart.h"

namespace berth::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// A CRI server that does nothing but remember what it was asked for, and fails the call that it is told to.
class FakeCri final : public v1::RuntimeService::Service {
 public:
  std::vector<std::string> calls;
  std::string failing;
  int exit_code = 0;
  std::vector<std::string> pods;

  grpc::Status Version(grpc::ServerContext*, const v1::VersionRequest*, v1::VersionResponse* response) override {
    response->set_runtime_name("fake");
    response->set_runtime_version("9");
    return grpc::Status::OK;
  }
  grpc::Status RunPodSandbox(grpc::ServerContext*, const v1::RunPodSandboxRequest*,
                             v1::RunPodSandboxResponse* response) override {
    response->set_pod_sandbox_id("pod");
    return Note("RunPodSandbox");
  }
  grpc::Status CreateContainer(grpc::ServerContext*, const v1::CreateContainerRequest*,
                               v1::CreateContainerResponse* response) override {
    response->set_container_id("container");
    return Note("CreateContainer");
  }
  grpc::Status StartContainer(grpc::ServerContext*, const v1::StartContainerRequest*,
                              v1::StartContainerResponse*) override {
    return Note("StartContainer");
  }
  grpc::Status ExecSync(grpc::ServerContext*, const v1::ExecSyncRequest*, v1::ExecSyncResponse* response) override {
    response->set_exit_code(exit_code);
    response->set_stderr("no such file");
    return Note("ExecSync");
  }
  grpc::Status StopContainer(grpc::ServerContext*, const v1::StopContainerRequest* request,
                             v1::StopContainerResponse*) override {
    return Note(absl::StrCat("StopContainer ", request->timeout()));
  }
  grpc::Status RemoveContainer(grpc::ServerContext*, const v1::RemoveContainerRequest*,
                               v1::RemoveContainerResponse*) override {
    return Note("RemoveContainer");
  }
  grpc::Status StopPodSandbox(grpc::ServerContext*, const v1::StopPodSandboxRequest* request,
                              v1::StopPodSandboxResponse*) override {
    return Note("StopPodSandbox " + request->pod_sandbox_id());
  }
  grpc::Status RemovePodSandbox(grpc::ServerContext*, const v1::RemovePodSandboxRequest* request,
                                v1::RemovePodSandboxResponse*) override {
    return Note("RemovePodSandbox " + request->pod_sandbox_id());
  }
  grpc::Status ListPodSandbox(grpc::ServerContext*, const v1::ListPodSandboxRequest* request,
                              v1::ListPodSandboxResponse* response) override {
    asked_for = request->filter().label_selector().at(kRunLabel);
    for (const std::string& id : pods) response->add_items()->set_id(id);
    return grpc::Status::OK;
  }

  std::string asked_for;

 private:
  grpc::Status Note(std::string call) {
    bool fails = !failing.empty() && call.rfind(failing, 0) == 0;
    absl::MutexLock lock(&mutex_);
    calls.push_back(std::move(call));
    return fails ? grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full") : grpc::Status::OK;
  }

  absl::Mutex mutex_;
};

class SideTest : public ::testing::Test {
 protected:
  SideTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "side-test.XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    std::string endpoint = "unix://" + directory_.string() + "/cri.sock";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(endpoint, grpc::InsecureServerCredentials());
    builder.RegisterService(&cri_);
    server_ = builder.BuildAndStart();
    side_.name = "side";
    side_.client = CriClient::Connect(endpoint).value();
    side_.workload = {"image", "run-7", "", directory_.string()};
  }
  ~SideTest() override {
    server_->Shutdown();
    std::filesystem::remove_all(directory_);
  }

  std::filesystem::path directory_;
  FakeCri cri_;
  std::unique_ptr<grpc::Server> server_;
  Side side_;
};

TEST_F(SideTest, KnowsWhoAnswers) { EXPECT_EQ(side_.client->server(), "fake 9"); }

TEST_F(SideTest, ALifecycleTimesEveryCallInOrder) {
  ASSERT_TRUE(RunLifecycle(side_).ok());
  EXPECT_THAT(cri_.calls,
              ElementsAre("RunPodSandbox", "CreateContainer", "StartContainer", "ExecSync", "StopContainer 0",
                          "RemoveContainer", "StopPodSandbox pod", "RemovePodSandbox pod"));
  for (const char* name : {"run_pod_sandbox", "create_container", "start_container", "exec_sync", "stop_container",
                           "remove_container", "stop_pod_sandbox", "remove_pod_sandbox"}) {
    ASSERT_NE(side_.samples.Find(name), nullptr) << name;
    EXPECT_GT(side_.samples.Find(name)->values.at(0), 0) << name;
  }
}

TEST_F(SideTest, PodStartIsTheSumOfItsCalls) {
  ASSERT_TRUE(RunLifecycle(side_).ok());
  double sum = 0;
  for (const char* name : {"run_pod_sandbox", "create_container", "start_container"}) {
    sum += side_.samples.Find(name)->values.at(0);
  }
  EXPECT_DOUBLE_EQ(side_.samples.Find("pod_start")->values.at(0), sum);
}

TEST_F(SideTest, WithoutACgroupNeitherCpuNorMemoryIsMadeUp) {
  ASSERT_TRUE(RunLifecycle(side_).ok());
  EXPECT_EQ(side_.samples.Find("pod_cpu"), nullptr);
  EXPECT_EQ(side_.samples.Find("pod_memory"), nullptr);
  EXPECT_EQ(RunMemory(side_, 1).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SideTest, AFailedRoundCountsForNothingAndRemovesItsPod) {
  cri_.failing = "StartContainer";
  absl::Status status = RunLifecycle(side_);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("StartContainer: full"));
  EXPECT_THAT(cri_.calls, ElementsAre("RunPodSandbox", "CreateContainer", "StartContainer", "StopPodSandbox pod",
                                      "RemovePodSandbox pod"));
  EXPECT_THAT(side_.samples.all(), SizeIs(0));
}

TEST_F(SideTest, APodThatNeverWasIsNotRemoved) {
  cri_.failing = "RunPodSandbox";
  EXPECT_FALSE(RunLifecycle(side_).ok());
  EXPECT_THAT(cri_.calls, ElementsAre("RunPodSandbox"));
}

TEST_F(SideTest, ACommandThatFailsIsAnError) {
  cri_.exit_code = 127;
  absl::Status status = RunLifecycle(side_);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'true' ended with 127: no such file"));
  EXPECT_EQ(side_.samples.Find("exec_sync"), nullptr);
}

TEST_F(SideTest, ExecsAreTimedOneByOne) {
  ASSERT_TRUE(RunExecs(side_, "container", 3).ok());
  EXPECT_THAT(side_.samples.Find("exec_sync")->values, SizeIs(3));
}

TEST_F(SideTest, ARunningPodIsRemovedAtTheEnd) {
  { ASSERT_TRUE(RunningPod::Start(side_).ok()); }
  EXPECT_THAT(cri_.calls, ElementsAre("RunPodSandbox", "CreateContainer", "StartContainer", "StopPodSandbox pod",
                                      "RemovePodSandbox pod"));
}

TEST_F(SideTest, ManyPodsHaveOneContainerEach) {
  ASSERT_TRUE(RunMany(side_, 20).ok());
  for (const char* call : {"RunPodSandbox", "CreateContainer", "StartContainer"}) {
    EXPECT_EQ(std::count(cri_.calls.begin(), cri_.calls.end(), call), 20) << call;
  }
  cri_.calls.clear();
  cri_.failing = "CreateContainer";
  EXPECT_EQ(RunMany(side_, 20).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(SideTest, ADaemonWithoutAPidIsNotRestarted) {
  absl::Status status = RunRestart(side_, {"unix:///there/is/no/such.sock", "/there/is/no/script"}, 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/there/is/no/script.pid"));
}

TEST_F(SideTest, RemoveAllTakesOnlyThisRunsPodsAndGoesOnAfterAnError) {
  cri_.pods = {"one", "two"};
  cri_.failing = "RemovePodSandbox one";
  EXPECT_EQ(RemoveAll(side_).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(cri_.asked_for, "run-7");
  EXPECT_THAT(cri_.calls, UnorderedElementsAre("StopPodSandbox one", "RemovePodSandbox one", "StopPodSandbox two",
                                               "RemovePodSandbox two"));
}

TEST(CriClient, GivesUpOnASocketThatNobodyAnswers) {
  auto client = CriClient::Connect("unix:///there/is/no/such.sock", absl::ZeroDuration());
  EXPECT_EQ(client.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(client.status().message()), HasSubstr("no/such.sock"));
}

}  // namespace
}  // namespace berth::bench
