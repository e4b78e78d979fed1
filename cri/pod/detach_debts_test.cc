#include "cri/pod/detach_debts.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "absl/time/clock.h"
#include "runtime/sys/file.h"

namespace berth::pod {
namespace {

constexpr Janitor::Options kQuick{absl::Milliseconds(1), absl::Milliseconds(4), 2};

// Lets go at the attempt `works_at`.
class StubbornNetwork : public network::PodNetwork {
 public:
  absl::StatusOr<network::PodAddresses> Attach(const network::PodRequest&) override { return network::PodAddresses{}; }
  absl::Status Detach(const network::PodRequest& request) override {
    EXPECT_EQ(request.pod_name, "web") << "all that DEL may need is in the debt";
    return ++attempts < works_at ? absl::InternalError("the plugin hangs") : absl::OkStatus();
  }
  bool HasAttachment(const PodId&) override { return attempts < works_at; }
  absl::Status CollectGarbage(const network::AlivePods&) override { return absl::OkStatus(); }
  absl::Status Ready() override { return absl::OkStatus(); }
  std::string Describe() override { return "{}"; }
  std::atomic<int> attempts = 0, works_at = 1;
};

// As the engine has them: the janitor ends first.
struct Debts {
  Debts(state::StateStore& store, network::PodNetwork& network) : debts(store, network, janitor) {}
  DetachDebts debts;
  Janitor janitor{kQuick};
};

class DetachDebtsTest : public testing::Test {
 protected:
  DetachDebtsTest() {
    char dir[] = "/tmp/berth-debts-XXXXXX";
    dir_ = mkdtemp(dir);
    store_ = *state::OpenSqliteStateStore(dir_ + "/state.db");
    pod_.set_id(std::string(64, 'a'));
    pod_.mutable_spec()->set_name("web");
  }
  ~DetachDebtsTest() override {
    store_.reset();
    (void)sys::RemoveTreeAt(AT_FDCWD, dir_);
  }
  std::vector<state::Record> Stored() { return store_->Load()->records; }

  std::string dir_;
  std::unique_ptr<state::StateStore> store_;
  StubbornNetwork network_;
  state::v1::Pod pod_;
};

TEST_F(DetachDebtsTest, IsTriedUntilItWorksByThisDaemonAndTheNext) {
  network_.works_at = 1000000;
  {
    Debts daemon(*store_, network_);
    DetachDebts& debts = daemon.debts;
    ASSERT_TRUE(debts.Take(pod_).ok());
    EXPECT_TRUE(debts.Has(PodId(pod_.id())));
    ASSERT_TRUE(debts.Take(pod_).ok()) << "once more is no other debt";
    EXPECT_EQ(debts.Pods().size(), 1u);
    while (network_.attempts < 2) absl::SleepFor(absl::Milliseconds(1));
  }
  ASSERT_EQ(Stored().size(), 1u);
  EXPECT_EQ(Stored()[0].kind, state::Kind::kDetach);

  state::v1::Pod read;
  ASSERT_TRUE(read.ParseFromString(Stored()[0].data));
  network_.works_at = network_.attempts + 3;
  Debts daemon(*store_, network_);
  DetachDebts& next = daemon.debts;
  next.Restore(read);
  while (next.Has(PodId(pod_.id()))) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(network_.attempts, network_.works_at);
  EXPECT_TRUE(Stored().empty());
}

}  // namespace
}  // namespace berth::pod
