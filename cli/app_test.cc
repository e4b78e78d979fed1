#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/commands/complete.h"
#include "cli/testing/app_fixture.h"

namespace berth::cli {
namespace {

namespace cri = ::runtime::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;
using Json = nlohmann::json;

constexpr char kReference[] = "127.0.0.1:5000/x:1";

TEST_F(AppTest, NothingListensThere) {
  EXPECT_EQ(Run({"--socket", directory_ + "/nope", "ps"}), 1);
  EXPECT_EQ(err_,
            "berth: ps: cannot reach berthd at " + directory_ + "/nope: is it running? (systemctl status berthd)\n");
  EXPECT_EQ(Run({"ps", "--socket", std::string(200, 'x')}), 1);
  EXPECT_THAT(err_, HasSubstr("socket path is too long"));
}

TEST_F(AppTest, UsageErrorsEndWithTwo) {
  const std::vector<std::vector<std::string>> cases = {{},
                                                       {"frobnicate"},
                                                       {"ps", "--nope"},
                                                       {"ps", "-o", "xml"},
                                                       {"pull"},
                                                       {"pull", "a", "b"},
                                                       {"pull", "a", "--progress", "loud"},
                                                       {"tag", "a"},
                                                       {"prune", "x"},
                                                       {"df", "x"},
                                                       {"doctor", "x"},
                                                       {"doctor", "--yes"},
                                                       {"rm"},
                                                       {"rm", "--all", "x"},
                                                       {"stop"},
                                                       {"stop", "--time", "-1", "x"},
                                                       {"logs", "x", "--tail", "-3"},
                                                       {"logs"},
                                                       {"logs", "x", "--since", "yesterday"},
                                                       {"logs", "x", "--until", "tomorrow"},
                                                       {"logs", "x", "-f", "-p"},
                                                       {"logs", "x", "-f", "--until", "1m"},
                                                       {"exec", "x"},
                                                       {"exec", "-it", "x", "sh"},
                                                       {"attach"},
                                                       {"attach", "x", "y"},
                                                       {"port-forward", "x"},
                                                       {"port-forward", "x", "80:http"},
                                                       {"port-forward", "x", "0"},
                                                       {"run"},
                                                       {"completion", "tcsh"},
                                                       {"--timeout", "soon", "ps"},
                                                       {"pull", "a", "--username", "u"},
                                                       {"pull", "a", "--password-stdin"}};
  for (const auto& arguments : cases) {
    EXPECT_EQ(Run(arguments), 2) << ::testing::PrintToString(arguments) << out_ << err_;
    EXPECT_THAT(err_, StartsWith("berth"));
    EXPECT_THAT(out_, IsEmpty());
  }
}

TEST_F(AppTest, UnknownWordsAreNamed) {
  Run({"frobnicate"});
  EXPECT_EQ(err_, "berth: unknown command 'frobnicate'\nSee berth --help\n");
  Run({});
  EXPECT_EQ(err_, "berth: no command given\nSee berth --help\n");
  Run({"--nope"});
  EXPECT_EQ(err_, "berth: unknown option --nope\nSee berth --help\n");
  Run({"ps", "--nope"});
  EXPECT_THAT(err_, StartsWith("berth ps: "));
  EXPECT_THAT(err_, HasSubstr("--nope"));
  EXPECT_EQ(Run({"--version"}), 0);
  EXPECT_THAT(out_, StartsWith("berth "));
}

TEST_F(AppTest, EveryCommandHasHelpWithExamples) {
  EXPECT_EQ(Run({"--help"}), 0);
  for (const char* command :
       {"version", "info", "pull",   "images",       "tag",  "rmi", "prune",   "df",    "run",        "ps",    "pods",
        "logs",    "exec", "attach", "port-forward", "stop", "rm",  "inspect", "stats", "completion", "doctor"}) {
    EXPECT_THAT(out_, HasSubstr(command));
  }
  EXPECT_THAT(out_, Not(HasSubstr("__complete")));
  for (const char* command :
       {"version", "info", "pull",   "images",       "tag",  "rmi", "prune",   "df",    "run",        "ps",    "pods",
        "logs",    "exec", "attach", "port-forward", "stop", "rm",  "inspect", "stats", "completion", "doctor"}) {
    EXPECT_EQ(Run({command, "--help"}), 0);
    EXPECT_THAT(out_, HasSubstr("Examples:\n")) << command;
    EXPECT_THAT(err_, IsEmpty());
  }
}

TEST_F(AppTest, VersionAndInfo) {
  EXPECT_EQ(Run({"version"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("fake daemon 9.9\nCRI v1\n"));
  EXPECT_EQ(Run({"version", "--client", "--socket", "/nope"}), 0);
  EXPECT_EQ(Run({"info"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("Cgroup driver: cgroupfs\n"));
  EXPECT_THAT(out_, HasSubstr("NetworkReady  false   NetworkPluginNotReady  no CNI\n"));
  EXPECT_THAT(out_, Not(HasSubstr("Kernel")));  // no berth.v1 here
  EXPECT_EQ(Run({"info", "-o", "json"}), 0);
  EXPECT_EQ(Json::parse(out_)["handlers"], Json({"berth"}));
}

TEST_F(AppTest, ServersErrorsAreNamedInWords) {
  EXPECT_EQ(Run({"pull", kReference}), 1);
  EXPECT_EQ(err_, "pulling 127.0.0.1:5000/x:1\nberth: pull 127.0.0.1:5000/x:1: not found: no such manifest\n");
  fake_.failures["PullImage"] = {14, "RegistryUnavailable: refused\x1b[2J", 0};
  EXPECT_EQ(Run({"pull", "-q", kReference}), 1);
  EXPECT_EQ(err_, "berth: pull 127.0.0.1:5000/x:1: unavailable: RegistryUnavailable: refused?[2J\n");
  fake_.failures["ListPodSandbox"] = {12, "", 0};
  EXPECT_EQ(Run({"pods"}), 1);
  EXPECT_EQ(err_, "berth: pods: not implemented\n");
}

TEST_F(AppTest, TimeoutIsSaid) {
  fake_.hang_milliseconds = 5000;
  std::string pod = fake_.AddPod("web");
  fake_.AddToRegistry(kReference, "sha256:1");
  std::string file = Write("p.yaml",
                           "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, "
                           "image: '127.0.0.1:5000/x:1'}]}}");
  EXPECT_EQ(Run({"--timeout", "200ms", "run", file}), 1);
  EXPECT_THAT(err_, HasSubstr("start container c: timed out: no answer in time"));
  EXPECT_EQ(fake_.pods.size(), 1u);
}

TEST_F(AppTest, PullPrintsTheIdAndSendsCredentials) {
  fake_.AddToRegistry(kReference, "sha256:77");
  EXPECT_EQ(Run({"pull", kReference}), 0) << err_;
  EXPECT_EQ(out_, "sha256:77\n");
  EXPECT_FALSE(fake_.pull_request.has_auth());
  EXPECT_EQ(Run({"pull", "-u", "bob", "--password-stdin", kReference}, "s3:cret\n"), 0) << err_;
  EXPECT_EQ(fake_.pull_request.auth().username(), "bob");
  EXPECT_EQ(fake_.pull_request.auth().password(), "s3:cret");
  EXPECT_EQ(Run({"pull", "--creds-file", Write("creds", "al:pw\n"), kReference}), 0) << err_;
  EXPECT_EQ(fake_.pull_request.auth().password(), "pw");
  env_["BERTH_CREDS"] = "nocolon";
  EXPECT_EQ(Run({"pull", kReference}), 1);
  EXPECT_THAT(err_, HasSubstr("BERTH_CREDS must contain USER:PASSWORD"));
  EXPECT_THAT(err_, Not(HasSubstr("nocolon")));
}

class AdminTest : public AppTest {
 protected:
  AdminTest() : AppTest(/*admin=*/true) {}
};

TEST_F(AdminTest, PullsOverTheStreamWhereThereIsOne) {
  fake_.AddToRegistry(kReference, "sha256:77");
  EXPECT_EQ(Run({"pull", kReference}), 0) << err_;
  EXPECT_EQ(out_, "sha256:77\n");
  EXPECT_THAT(fake_.calls, ElementsAre("PullWithProgress"));
  EXPECT_EQ(Run({"pull", "other:1"}), 1);
  EXPECT_THAT(err_, HasSubstr("not found: no such manifest"));
  EXPECT_EQ(Run({"info"}), 0);
  EXPECT_THAT(out_, HasSubstr("Kernel: 6.1\n"));
  EXPECT_THAT(out_, HasSubstr("Network: embedded\n"));
}

TEST_F(AppTest, ImagesAndRmi) {
  EXPECT_EQ(Run({"images"}), 0);
  EXPECT_EQ(out_, "IMAGE  TAG  ID  SIZE\n");
  fake_.AddToRegistry(kReference, "sha256:abcdef0123456789");
  fake_.images = fake_.registry;
  EXPECT_EQ(Run({"images"}), 0);
  EXPECT_EQ(out_, "IMAGE             TAG  ID            SIZE\n127.0.0.1:5000/x  1    abcdef012345  123MB\n");
  EXPECT_EQ(Run({"images", "-q"}), 0);
  EXPECT_EQ(out_, "sha256:abcdef0123456789\n");
  EXPECT_EQ(Run({"images", "-o", "json"}), 0);
  EXPECT_EQ(Json::parse(out_)[0]["size"], 123456789);
  EXPECT_EQ(Run({"rmi", "nope", "abcd"}), 1);
  EXPECT_EQ(err_, "berth: rmi nope: no image 'nope'\n");
  EXPECT_EQ(out_, "abcd\n");
  EXPECT_TRUE(fake_.images.empty());
  EXPECT_EQ(Run({"rmi", "-f", "nope"}), 0);
}

TEST_F(AppTest, ListsOfPodsAndContainers) {
  EXPECT_EQ(Run({"ps", "-o", "json"}), 0);
  EXPECT_EQ(Json::parse(out_), Json::array());
  std::string web = fake_.AddPod("web");
  fake_.AddPod("db", "shop", false);
  std::string app = fake_.AddContainer(web, "app");
  fake_.AddContainer(web, "done", false);
  EXPECT_EQ(Run({"pods"}), 0);
  EXPECT_THAT(out_, HasSubstr("  web   default    Ready     "));
  EXPECT_THAT(out_, HasSubstr("  db    shop       NotReady  "));
  EXPECT_EQ(Run({"pods", "-n", "shop", "-o", "json"}), 0);
  Json pods = Json::parse(out_);
  ASSERT_EQ(pods.size(), 1u);
  EXPECT_EQ(pods[0]["state"], "NotReady");
  EXPECT_EQ(pods[0]["createdAt"], "1970-01-01T00:00:00.000000001Z");
  EXPECT_EQ(Run({"pods", "-o", "wide"}), 0);
  EXPECT_THAT(out_, HasSubstr("10.1.2.3"));
  EXPECT_EQ(Run({"ps"}), 0);
  EXPECT_THAT(out_, HasSubstr("  web  app        img:1  Running  "));
  EXPECT_THAT(out_, Not(HasSubstr("done")));
  EXPECT_EQ(Run({"ps", "-a", "-p", "web", "-o", "json"}), 0);
  EXPECT_EQ(Json::parse(out_).size(), 2u);
  EXPECT_EQ(Run({"ps", "-q"}), 0);
  EXPECT_EQ(out_, app + "\n");
  EXPECT_EQ(Run({"ps", "-p", "nope"}), 1);
  EXPECT_EQ(err_, "berth: ps: no pod 'nope'\n");
}

TEST_F(AppTest, ExecWithALimitPassesOutputAndExitCode) {
  std::string id = fake_.AddContainer(fake_.AddPod("web"), "app");
  fake_.exec_answer.set_stdout("hello\n");
  fake_.exec_answer.set_stderr("oops\n");
  fake_.exec_answer.set_exit_code(42);
  EXPECT_EQ(Run({"exec", "--limit", "1500ms", "web/app", "--", "sh", "-c", "exit 3"}), 42) << err_;
  EXPECT_EQ(out_, "hello\n");
  EXPECT_EQ(err_, "oops\n");
  EXPECT_EQ(fake_.exec_request.container_id(), id);
  EXPECT_THAT(fake_.exec_request.cmd(), ElementsAre("sh", "-c", "exit 3"));
  EXPECT_EQ(fake_.exec_request.timeout(), 2);
}

TEST_F(AppTest, LogsReadTheFileThatTheDaemonNames) {
  std::string id = fake_.AddContainer(fake_.AddPod("web"), "app", false);
  std::string path = Write("0.log", "2026-01-31T12:00:00Z stdout F one\n2026-01-31T12:00:00Z stderr F two\n");
  fake_.containers[id].config.set_log_path(path);
  EXPECT_EQ(Run({"logs", "-f", "web"}), 0) << err_;
  EXPECT_EQ(out_, "one\n");
  EXPECT_EQ(err_, "two\n");
  fake_.containers[id].config.set_log_path(directory_ + "/none.log");
  EXPECT_EQ(Run({"logs", "web"}), 1);
  EXPECT_THAT(err_, HasSubstr("No such file"));
  fake_.containers[id].config.set_log_path("");
  EXPECT_EQ(Run({"logs", "web"}), 1);
  EXPECT_EQ(err_, "berth: logs web: it writes no log file\n");
}

TEST_F(AppTest, LogsOfAFormerAttempt) {
  const std::string pod = fake_.AddPod("web"), line = "2026-01-31T12:00:00Z stdout F ";
  const std::string id = fake_.AddContainer(pod, "app");
  fake_.containers[id].config.set_log_path(Write("3.log", line + "three\n"));
  EXPECT_EQ(Run({"logs", "-p", "web"}), 1);
  EXPECT_EQ(err_, "berth: logs web: container 'app' has no former attempt with a log\n");
  fake_.containers[id].config.mutable_metadata()->set_attempt(3);
  EXPECT_EQ(Run({"logs", "-p", "web"}), 1);
  Write("2.log", line + "two\n");  // the record of that container is gone
  EXPECT_EQ(Run({"logs", "--previous", "web/app"}), 0) << err_;
  EXPECT_EQ(out_, "two\n");
  for (int attempt : {0, 1}) {
    const std::string former = fake_.AddContainer(pod, "app", false);
    fake_.containers[former].config.mutable_metadata()->set_attempt(static_cast<uint32_t>(attempt));
    fake_.containers[former].config.set_log_path(
        Write("other" + std::to_string(attempt), line + "attempt " + std::to_string(attempt) + "\n"));
  }
  fake_.AddContainer(pod, "side", false);
  EXPECT_EQ(Run({"logs", "-p", "web/app"}), 0) << err_;
  EXPECT_EQ(out_, "attempt 1\n");
  EXPECT_EQ(Run({"logs", "web/app"}), 0) << err_;
  EXPECT_EQ(out_, "three\n");
}

TEST_F(AppTest, LogsOfAllContainers) {
  const std::string pod = fake_.AddPod("db", "shop"), line = "2026-01-31T12:00:00Z stdout F ";
  for (const char* name : {"b", "a"}) {
    const std::string id = fake_.AddContainer(pod, name, false);
    fake_.containers[id].config.set_log_path(Write(name, line + "of " + name + "\n"));
  }
  fake_.AddContainer(pod, "mute", false);
  EXPECT_EQ(Run({"logs", "shop/db"}), 1);
  EXPECT_THAT(err_, HasSubstr("ambiguous"));
  EXPECT_EQ(Run({"logs", "--all-containers", "shop/db"}), 0) << err_;
  EXPECT_EQ(out_, "[shop/db/a] of a\n[shop/db/b] of b\n");
  EXPECT_EQ(Run({"logs", "--all-containers", "-f", "-t", "db"}), 0) << err_;
  EXPECT_EQ(out_, "[shop/db/a] 2026-01-31T12:00:00Z of a\n[shop/db/b] 2026-01-31T12:00:00Z of b\n");
  EXPECT_EQ(Run({"logs", "-o", "json", "db/a"}), 0) << err_;
  EXPECT_EQ(Json::parse(out_), Json({{"pod", "shop/db"},
                                     {"container", "a"},
                                     {"stream", "stdout"},
                                     {"time", "2026-01-31T12:00:00Z"},
                                     {"log", "of a"}}));
  EXPECT_EQ(Run({"logs", "--all-containers", "-p", "db"}), 1);
  EXPECT_THAT(err_, HasSubstr("has no former attempt"));
  EXPECT_EQ(Run({"logs", "--all-containers", "nope"}), 1);
}

TEST_F(AppTest, StopUsesThePodsGrace) {
  std::string web = fake_.AddPod("web");
  (*fake_.pods[web].mutable_annotations())["io.kubernetes.pod.terminationGracePeriod"] = "7";
  fake_.AddContainer(web, "app");
  fake_.AddContainer(web, "side");
  fake_.AddContainer(web, "done", false);
  EXPECT_EQ(Run({"stop", "web"}), 0) << err_;
  EXPECT_THAT(fake_.stops, UnorderedElementsAre(Pair("app", 7), Pair("side", 7)));
  EXPECT_EQ(fake_.calls.back(), "StopPodSandbox");
  fake_.stops.clear();
  EXPECT_EQ(Run({"stop", "--time", "0", "web/side", "nope"}), 1);
  EXPECT_THAT(fake_.stops, ElementsAre(Pair("side", 0)));
  EXPECT_EQ(err_, "berth: stop nope: no pod or container 'nope'\n");
}

TEST_F(AppTest, RmRefusesWhatRuns) {
  std::string web = fake_.AddPod("web");
  fake_.AddContainer(web, "app");
  EXPECT_EQ(Run({"rm", "web"}), 1);
  EXPECT_EQ(err_, "berth: rm web: container app is running: stop the pod first, or use rm -f\n");
  EXPECT_THAT(fake_.calls, IsEmpty());
  EXPECT_EQ(Run({"rm", "-f", "web", "nope"}), 0) << err_;
  EXPECT_TRUE(fake_.pods.empty());
  EXPECT_EQ(Run({"rm", "web"}), 1);
  EXPECT_EQ(Run({"rm", "-f", "--all"}), 0);
}

TEST_F(AppTest, RmRemovesNothingThatAnAnnotationOnlyClaims) {
  std::string web = fake_.AddPod("web");
  std::string precious = Write("precious", "x");
  (*fake_.pods[web].mutable_annotations())["berth.cli/volumes"] = precious;
  EXPECT_EQ(Run({"rm", "web"}), 1);
  EXPECT_THAT(err_, HasSubstr("not removing"));
  EXPECT_EQ(access(precious.c_str(), F_OK), 0);
}

TEST_F(AppTest, InspectNestsJson) {
  fake_.AddContainer(fake_.AddPod("web"), "app");
  EXPECT_EQ(Run({"inspect", "web"}), 0) << err_;
  Json json = Json::parse(out_);
  EXPECT_EQ(json["status"]["metadata"]["name"], "web");
  EXPECT_EQ(json["info"]["json"]["pid"], 42);
  EXPECT_EQ(json["info"]["text"], "not json");
  EXPECT_EQ(Run({"inspect", "--type", "container", "web"}), 0);
  EXPECT_EQ(Json::parse(out_)["status"]["state"], "CONTAINER_RUNNING");
  EXPECT_EQ(Run({"inspect", "nope"}), 1);
  EXPECT_EQ(err_, "berth: inspect nope: no pod, container or image 'nope'\n");
}

TEST_F(AppTest, StatsMakesARateOfTwoLooks) {
  fake_.AddContainer(fake_.AddPod("web"), "app");
  EXPECT_EQ(Run({"stats"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("  app        50.00  12.3MB  -\n"));
}

TEST_F(AppTest, CompletesCommandsOptionsAndNames) {
  fake_.AddContainer(fake_.AddPod("web"), "app");
  fake_.AddPod("db", "shop");
  fake_.AddToRegistry(kReference, "sha256:1");
  fake_.images = fake_.registry;
  auto complete = [this](std::vector<std::string> words) {
    words.insert(words.begin(), {"__complete", "--"});
    EXPECT_EQ(Run(words), 0) << err_;
    return out_;
  };
  EXPECT_EQ(complete({"p"}), "pods\nport-forward\nprune\nps\npull\npush\n");
  EXPECT_EQ(complete({"-o", "json", "ima"}), "images\n");
  EXPECT_EQ(complete({"-o", ""}), "json\ntable\nwide\n");
  EXPECT_EQ(complete({"ps", "--p"}), "--pod\n");
  EXPECT_EQ(complete({"logs", "--soc"}), "--socket\n");
  EXPECT_EQ(complete({"logs", "--since", "1m", "sh"}), "shop/db\n");
  EXPECT_EQ(complete({"logs", "--all"}), "--all-containers\n");
  EXPECT_EQ(complete({"logs", "-p", "sh"}), "shop/db\n");
  EXPECT_EQ(complete({"rm", "w"}), "web\nweb/app\n");
  EXPECT_EQ(complete({"logs", ""}), "shop/db\nweb\nweb/app\n");
  EXPECT_EQ(complete({"logs", "web", ""}), "");
  EXPECT_EQ(complete({"rmi", "127"}), "127.0.0.1:5000/x:1\n");
  EXPECT_EQ(complete({"tag", "127"}), "127.0.0.1:5000/x:1\n");
  EXPECT_EQ(complete({"pull", "--progress", "j"}), "json\n");
  EXPECT_EQ(complete({"ps", "-p", "s"}), "shop/db\n");
  EXPECT_EQ(complete({"run", ""}), "");
  EXPECT_EQ(complete({"--socket", "/nope", "rm", ""}), "");
  EXPECT_EQ(complete({"completion", "b"}), "bash\n");
}

TEST_F(AppTest, CompletionScriptsAreThere) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_EQ(Run({"completion", shell}), 0);
    EXPECT_THAT(out_, HasSubstr("berth __complete --"));
  }
}

}  // namespace
}  // namespace berth::cli
