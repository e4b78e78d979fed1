// A real launcher, pods and containers on a small rootfs of busybox, for tests. Needs root.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/client/shim_client.h"
#include "runtime/sys/unique_fd.h"

namespace berth::client {

// A plan and the descriptors that it names.
struct PlannedContainer {
  shim::v1::ContainerPlan plan;
  std::vector<sys::UniqueFd> owned;
  std::vector<int> fds() const;
  int Add(sys::UniqueFd fd);
};

// How an exec went, with what it wrote.
struct ExecResult {
  absl::Status started;
  absl::StatusOr<ExecOutcome> outcome = absl::UnknownError("not done");
  std::string out, err;
  // The exit code; fails the test and is -1 when there is none.
  int code() const;
};

class PodFixture : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  void StartLauncher();
  shim::v1::SandboxPlan Sandbox();
  std::shared_ptr<PodShim> LaunchPod(shim::v1::SandboxPlan plan, std::vector<int> fds = {});
  std::shared_ptr<PodShim> LaunchPod() { return LaunchPod(Sandbox()); }
  // `sh -c SCRIPT` in a rootfs with /proc, /dev and /tmp; its log is ID.log.
  PlannedContainer Script(const std::string& id, const std::string& script);
  PlannedContainer Program(const std::string& id, const std::vector<std::string>& argv);
  // Creates and starts it.
  void Run(PodShim& pod, const PlannedContainer& container);
  // The exit record of a container, waiting for its event.
  shim::v1::ExitRecord AwaitExit(const std::string& id);
  bool Exited(const std::string& id);
  bool AwaitGone(const PodId& id);
  bool IsGone(const PodId& id);
  ExecResult Exec(PodShim& pod, const std::string& id, const std::string& script,
                  absl::Duration timeout = absl::ZeroDuration());
  shim::v1::ExecPlan ExecScript(const std::string& id, const std::string& script);
  // The text of a log's lines: "stdout F text\n", without times.
  std::string Log(const std::string& id);
  // How many the shim has open.
  size_t DescriptorsOf(PodShim& pod);
  // Waits until a log's text holds `text`.
  bool AwaitLog(const std::string& id, const std::string& text);

  std::string dir_, rootfs_, logs_, state_dir_;
  PodId pod_id_;
  absl::Duration call_timeout_ = absl::Seconds(10);  // of the next launcher
  std::unique_ptr<ShimLauncher> launcher_;

 private:
  void OnExit(const shim::v1::ExitRecord& record);

  absl::Mutex mutex_;
  std::map<std::string, shim::v1::ExitRecord> exits_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> gone_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::client
