// What is decided: from records and a world that are written down here, without a machine in that state.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "absl/cleanup/cleanup.h"
#include "cri/doctor/judge.h"
#include "cri/doctor/machine.h"
#include "cri/doctor/records.h"
#include "cri/doctor/world.h"
#include "cri/state/state_store.h"
#include "runtime/sys/file.h"

namespace berth::doctor {
namespace {

using network::Trace;
using state::v1::Container;
using state::v1::Pod;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string Id(char digit) { return std::string(64, digit); }

// One pod with one container, both alive and all in order.
class JudgeTest : public testing::Test {
 protected:
  JudgeTest() {
    Pod pod;
    pod.set_id(Id('a'));
    pod.mutable_spec()->set_name("web");
    pod.mutable_spec()->set_namespace_("default");
    pod.set_boot_id("boot");
    pod.set_netns_path("/run/berth/netns/" + Id('a'));
    pod.set_cgroup_path("/berth/" + Id('a'));
    records_.pods[pod.id()] = pod;
    Container container;
    container.set_id(Id('c'));
    container.set_pod_id(Id('a'));
    container.mutable_spec()->set_name("nginx");
    container.set_cgroup_path("/berth/" + Id('c'));
    records_.containers[container.id()] = container;
    records_.complete = true;
    world_.boot_id = "boot";
    AddPod('a', 'c');
  }

  // All that a pod with one container has on the machine.
  void AddPod(char pod, char container) {
    const std::string p = Id(pod), c = Id(container);
    world_.shims.push_back({.pid = 100 + pod, .pod = p, .processes = 1, .cgroups = {"/berth/" + p, "/berth/" + c}});
    world_.directories.push_back({"/run/berth/pods/" + p, p});
    world_.pins.push_back({"/run/berth/netns/" + p, p, true});
    world_.cgroups.push_back({"/berth/" + p, p, false, 1, old_});
    world_.cgroups.push_back({"/berth/" + c, c, false, 1, old_});
    world_.mounts.push_back({"/run/berth/pods/" + p + "/shm", p});
    world_.mounts.push_back({"/run/berth/netns/" + p, p});
    world_.network.push_back({Trace::Kind::kLease, "/var/lib/berth/network/" + p + ".json", p, ""});
    world_.network.push_back({Trace::Kind::kLink, "bv" + p.substr(0, 12), p.substr(0, 12), ""});
    world_.snapshots.push_back({c, old_});
  }

  std::vector<Finding> Judge(bool daemon = false) {
    return JudgeWorld(records_, world_, {.daemon = daemon, .now = now_});
  }
  std::vector<std::string> Words(const std::vector<Finding>& findings) {
    std::vector<std::string> words;
    for (const Step& step : PlanOf(findings)) words.push_back(step.words);
    return words;
  }
  std::vector<std::string> Checks(const std::vector<Finding>& findings) {
    std::vector<std::string> checks;
    for (const Finding& f : findings) checks.push_back(f.check);
    return checks;
  }

  const absl::Time now_ = absl::FromUnixSeconds(1000000), old_ = now_ - absl::Hours(1);
  Records records_;
  World world_;
};

TEST_F(JudgeTest, WhatHasARecordIsInOrder) {
  EXPECT_THAT(Judge(), IsEmpty());
  EXPECT_THAT(Judge(true), IsEmpty());
}

TEST_F(JudgeTest, AnOrphanIsEndedBeforeWhatItHoldsIsRemoved) {
  AddPod('b', 'd');
  const std::string p = Id('b'), c = Id('d');
  EXPECT_THAT(Words(Judge()),
              ElementsAre("end shim " + std::to_string(100 + 'b') + " and 1 process of pod bbbbbbbbbbbb",
                          "kill what runs in /berth/" + p, "kill what runs in /berth/" + c,
                          "take out of the network what is of no pod with a record", "unmount /run/berth/netns/" + p,
                          "unmount /run/berth/pods/" + p + "/shm", "remove /run/berth/pods/" + p,
                          "remove /run/berth/netns/" + p, "remove cgroup /berth/" + p, "remove cgroup /berth/" + c,
                          "remove the writable layer of container dddddddddddd"));
  for (const Finding& finding : Judge()) EXPECT_EQ(finding.severity, Severity::kProblem) << finding.what;
}

TEST_F(JudgeTest, NothingOfAPlanNamesWhatHasARecord) {
  AddPod('b', 'd');
  for (const Step& step : PlanOf(Judge())) {
    for (char digit : {'a', 'c'}) {
      EXPECT_THAT(step.subject, Not(HasSubstr(Id(digit)))) << step.words;
      EXPECT_THAT(step.words, Not(HasSubstr(Id(digit).substr(0, 12))));
    }
  }
}

TEST_F(JudgeTest, ARecordThatCannotBeReadIsStillARecord) {
  AddPod('b', 'd');
  records_.unreadable = {{Id('b'), "pod"}, {Id('d'), "container"}};
  EXPECT_THAT(Judge(), IsEmpty());
}

TEST_F(JudgeTest, WithoutAllRecordsNothingIsAnOrphan) {
  AddPod('b', 'd');
  records_.complete = false;
  EXPECT_THAT(Words(Judge()), IsEmpty());
  EXPECT_THAT(Judge(), Contains(testing::Field(&Finding::what, HasSubstr("cannot be told"))));
}

TEST_F(JudgeTest, AnotherDaemonsProcessesAreLeftAlone) {
  world_.cgroups.push_back({"/berth/" + Id('e'), Id('e'), false, 3, old_});
  ASSERT_EQ(Judge().size(), 1u);
  EXPECT_EQ(Judge()[0].severity, Severity::kWarning);
  EXPECT_THAT(Words(Judge()), IsEmpty());
  world_.snapshots.push_back({Id('e'), old_});  // a writable layer of that name here: so it is ours
  EXPECT_THAT(Words(Judge()), Contains("kill what runs in /berth/" + Id('e')));
}

TEST_F(JudgeTest, BesideADaemonWhatIsYoungMayGetARecordYet) {
  world_.snapshots.push_back({Id('e'), now_ - absl::Seconds(5)});
  world_.cgroups.push_back({"/berth/" + Id('e'), Id('e'), false, 1, now_ - absl::Seconds(5)});
  EXPECT_THAT(Judge(true), IsEmpty());
  EXPECT_EQ(Judge(false).size(), 2u);
}

TEST_F(JudgeTest, BesideADaemonThereIsNoPlan) {
  AddPod('b', 'd');
  const auto findings = Judge(true);
  EXPECT_THAT(findings, Not(IsEmpty()));
  EXPECT_THAT(Words(findings), IsEmpty());
}

TEST_F(JudgeTest, TwoLooksKeepWhatBothSaw) {
  AddPod('b', 'd');
  const auto first = Judge(true);
  world_.shims.pop_back();
  world_.snapshots.back().container = Id('f');  // another that is being made
  const auto both = Checks(SeenTwice(first, Judge(true)));
  EXPECT_THAT(both, Not(Contains("shims")));
  EXPECT_THAT(both, Not(Contains("layers")));
  EXPECT_THAT(both, Contains("cgroups"));
}

TEST_F(JudgeTest, DeadPodsAreTheDaemonsToRecord) {
  world_.shims.clear();
  ASSERT_EQ(Judge().size(), 1u);
  EXPECT_EQ(Judge()[0].severity, Severity::kWarning);
  EXPECT_THAT(Judge()[0].what, HasSubstr("its shim is gone"));
  EXPECT_EQ(Judge(true)[0].severity, Severity::kProblem) << "a daemon that runs should have noticed";
  world_.boot_id = "another";
  EXPECT_THAT(Judge()[0].what, HasSubstr("earlier boot"));
  records_.pods[Id('a')].set_state(Pod::NOT_READY);
  EXPECT_THAT(Judge(), IsEmpty());
  records_.pods[Id('a')].set_unfinished(true);
  EXPECT_THAT(Judge()[0].what, HasSubstr("never finished"));
}

TEST_F(JudgeTest, APinThatIsNoMount) {
  world_.pins[0].mounted = false;
  ASSERT_EQ(Judge().size(), 1u);
  EXPECT_EQ(Judge()[0].check, "namespaces");
  EXPECT_THAT(Words(Judge()), IsEmpty()) << "the pod lives";
  world_.pins.push_back({"/run/berth/netns/" + Id('e'), Id('e'), false});
  EXPECT_THAT(Words(Judge()), ElementsAre("remove /run/berth/netns/" + Id('e')));
}

TEST_F(JudgeTest, TracesInTheNetwork) {
  world_.network.push_back({Trace::Kind::kPort, "tcp . 80 : 10.0.0.9 . 80", "", "has no lease"});
  world_.network.push_back({Trace::Kind::kCniResult, "/var/lib/cni/berth/" + Id('e') + "+eth0+n", Id('e'), ""});
  world_.network.push_back({Trace::Kind::kLease, "/l/" + Id('a') + ".json", Id('a'), "not JSON"});
  const auto findings = Judge();
  ASSERT_EQ(findings.size(), 3u);
  EXPECT_EQ(findings[2].severity, Severity::kWarning);
  EXPECT_THAT(Words(findings), ElementsAre("take out of the network what is of no pod with a record"));
}

state::Inspection Database(std::vector<state::RawRecord> records) {
  state::Inspection db;
  db.exists = true;
  db.version = state::kStateDbVersion;
  db.records = std::move(records);
  return db;
}

TEST_F(JudgeTest, RecordsOfEveryKindAreRead) {
  const Pod& pod = records_.pods[Id('a')];
  const Container& container = records_.containers[Id('c')];
  Pod debt = pod;
  debt.set_id(Id('b'));
  auto db = Database({{0, Id('a'), pod.SerializeAsString()},
                      {1, Id('c'), container.SerializeAsString()},
                      {0, Id('d'), "garbage\xff"},
                      {1, Id('e'), container.SerializeAsString()},   // another's
                      {0, Id('f'), pod.SerializeAsString(), false},  // not what was stored
                      {2, Id('b'), debt.SerializeAsString()},
                      {7, "x", ""}});
  const Records records = ParseRecords(db);
  EXPECT_TRUE(records.complete);
  EXPECT_EQ(records.pods.size(), 1u);
  EXPECT_EQ(records.containers.size(), 1u);
  EXPECT_EQ(records.unreadable,
            (std::map<std::string, std::string>{{Id('d'), "pod"}, {Id('e'), "container"}, {Id('f'), "pod"}}));
  EXPECT_TRUE(records.Has(Id('d')));
  EXPECT_FALSE(records.Has(Id('b')));
  EXPECT_TRUE(records.HasNetworkOf(Id('b')));
  EXPECT_TRUE(records.HasNetworkLike(Id('a').substr(0, 12)));
  EXPECT_FALSE(records.HasNetworkLike(Id('c').substr(0, 12)));
  const auto findings = JudgeRecords(db, records, "/r/state.db", {});
  EXPECT_EQ(findings.size(), 6u);  // the database, three that cannot be read, a debt, one of an unknown kind
  EXPECT_THAT(Words(findings), ElementsAre("set aside what cannot be read of /r/state.db, or means nothing"));
  db.damage = {"page 3"};
  EXPECT_FALSE(ParseRecords(db).complete);
}

TEST_F(JudgeTest, AContainerWithoutItsPod) {
  records_.pods.clear();
  const auto findings = JudgeRecords(Database({}), records_, "/r/state.db", {});
  EXPECT_THAT(Words(findings), ElementsAre("kill what runs in /berth/" + Id('c'), "remove cgroup /berth/" + Id('c'),
                                           "remove the writable layer of container cccccccccccc",
                                           "set aside what cannot be read of /r/state.db, or means nothing"));
  records_.containers[Id('c')].set_cgroup_path("/kubepods");  // no record has us kill what is not the container's
  EXPECT_THAT(Words(JudgeRecords(Database({}), records_, "/r/state.db", {})), Not(Contains(HasSubstr("kill"))));
}

TEST_F(JudgeTest, NamesOfSeveral) {
  Pod twin = records_.pods[Id('a')];
  twin.set_id(Id('b'));
  records_.pods[twin.id()] = twin;
  const auto findings = JudgeRecords(Database({}), records_, "/r/state.db", {"/r/state.db.damaged-1"});
  ASSERT_EQ(findings.size(), 3u);
  EXPECT_EQ(findings[1].severity, Severity::kWarning);
  EXPECT_THAT(findings[2].what,
              HasSubstr("default/web (uid , attempt 0) is that of several: aaaaaaaaaaaa, bbbbbbbbbbbb"));
}

TEST(WorldTest, NamesOnTheMachine) {
  EXPECT_EQ(IdOfCgroup("/kubepods/" + Id('a')), Id('a'));
  EXPECT_EQ(IdOfCgroup("/b.slice/berth-" + Id('a') + ".scope"), Id('a'));
  EXPECT_EQ(IdOfCgroup("/b.slice/cri-containerd-" + Id('a') + ".scope"), "");
  EXPECT_EQ(IdOfCgroup("/berth"), "");
  EXPECT_EQ(IdOfCgroup("/berth/" + std::string(64, 'A')), "");
  EXPECT_THAT(MountPoints("36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 - ext3 /dev/root rw\nshort\n"),
              ElementsAre("/mnt two"));
  daemon::Config config;
  EXPECT_EQ(OwnerOfPath("/run/berth/pods/" + Id('a') + "/shm", config), Id('a'));
  EXPECT_EQ(OwnerOfPath("/var/lib/berth/images/snapshots/" + Id('c') + "/upper", config), Id('c'));
  EXPECT_EQ(OwnerOfPath("/run/berth/" + Id('a'), config), "");
  EXPECT_EQ(OwnerOfPath("/run/berth/pods/x", config), "");
}

TEST(WorldTest, AShimIsFoundWithWhatDescendsFromIt) {
  char state[] = "/tmp/berth-doctor-test-XXXXXX";
  ASSERT_NE(mkdtemp(state), nullptr);
  auto clean = absl::MakeCleanup([&] { (void)sys::RemoveTreeAt(AT_FDCWD, state); });
  const std::string pods = absl::StrCat(state, "/pods"), pod = absl::StrCat(pods, "/", Id('a'));
  ASSERT_EQ(mkdir(pods.c_str(), 0700), 0);
  ASSERT_EQ(mkdir(pod.c_str(), 0700), 0);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t shim = fork();
  if (shim == 0) {
    prctl(PR_SET_NAME, "berth-shim");
    const bool is_open = open(pod.c_str(), O_RDONLY | O_DIRECTORY) >= 0;
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      prctl(PR_SET_NAME, "a b) c");
      (void)!write(ready[1], is_open ? "y" : "n", 1);
    }
    for (;;) pause();
  }
  char is_ready = 0;
  EXPECT_EQ(read(ready[0], &is_ready, 1), 1);
  EXPECT_EQ(is_ready, 'y');
  const std::vector<Shim> shims = FindShims(state);
  kill(shim, SIGKILL);
  waitpid(shim, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
  // The child bears another name, though it has the directory open too.
  ASSERT_EQ(shims.size(), 1u);
  EXPECT_EQ(shims[0].pid, shim);
  EXPECT_EQ(shims[0].pod, Id('a'));
  EXPECT_EQ(shims[0].processes, 1u);
}

Machine GoodMachine() {
  Machine m;
  m.kernel = "6.1.0-13-amd64";
  m.cgroups = "v2";
  m.controllers = {"cpu", "cpuset", "memory", "pids"};
  m.overlay = m.erofs = true;
  m.features.user_namespaces = true;
  m.disks = {{.path = "/var/lib/berth",
              .bytes_free = 50'000'000'000,
              .bytes = 100'000'000'000,
              .inodes_free = 0,
              .inodes = 0}};
  m.files_free = 1000000;
  m.net_namespaces = 10000;
  return m;
}

Severity Worst(const Machine& m, const daemon::Config& config = {}) {
  Severity worst = Severity::kOk;
  for (const Finding& finding : JudgeMachine(m, config)) worst = std::max(worst, finding.severity);
  return worst;
}

TEST(MachineTest, WhatItMustHave) {
  EXPECT_EQ(Worst(GoodMachine()), Severity::kOk);
  Machine m = GoodMachine();
  m.kernel = "5.10.0";
  EXPECT_EQ(Worst(m), Severity::kProblem);
  m = GoodMachine();
  m.controllers.erase("memory");
  EXPECT_EQ(Worst(m), Severity::kProblem);
  m = GoodMachine();
  m.overlay = false;
  EXPECT_EQ(Worst(m), Severity::kProblem);
  m = GoodMachine();
  m.erofs = false;
  EXPECT_EQ(Worst(m), Severity::kOk);
  daemon::Config erofs;
  erofs.image.layers.format = image::LayerStoreOptions::Format::kErofs;
  EXPECT_EQ(Worst(m, erofs), Severity::kProblem);
  m = GoodMachine();
  m.features.user_namespaces = false;
  EXPECT_EQ(Worst(m), Severity::kWarning);
  m = GoodMachine();
  m.daemon_files = 1024;
  EXPECT_EQ(Worst(m), Severity::kWarning);
}

TEST(MachineTest, RoomOnDisks) {
  Machine m = GoodMachine();
  m.disks[0].bytes_free = 4'000'000'000;
  EXPECT_EQ(Worst(m), Severity::kWarning);
  m.disks[0].bytes_free = 1'000'000;
  EXPECT_EQ(Worst(m), Severity::kProblem);
  m = GoodMachine();
  m.disks[0].inodes = 1000000;
  m.disks[0].inodes_free = 10;
  EXPECT_EQ(Worst(m), Severity::kProblem);
}

TEST(MachineTest, ThisOneCanBeRead) {
  const Machine m = ReadMachine(daemon::Config(), 0);
  EXPECT_GT(KernelVersion(m.kernel), (std::pair<int, int>{4, 0})) << m.kernel;
  EXPECT_FALSE(m.cgroups.empty()) << m.cgroup_error;
  ASSERT_EQ(m.disks.size(), 2u);
  EXPECT_GT(m.disks[0].bytes, 0u) << m.disks[0].error;
  EXPECT_GT(m.files_free, 0u);
}

}  // namespace
}  // namespace berth::doctor
