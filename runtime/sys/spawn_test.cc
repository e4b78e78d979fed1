#include "runtime/sys/spawn.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "absl/time/clock.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {
namespace {

SpawnRequest Shell(const std::string& script) {
  return {.path = "/bin/sh", .argv = {"sh", "-c", script}, .env = {"PATH=/usr/bin:/bin"}};
}

TEST(SpawnTest, GivesInputAndTakesBothOutputs) {
  SpawnRequest request = Shell("cat; echo problem >&2; exit 3");
  request.input = std::string(300000, 'x');
  auto result = Spawn(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->out, request.input);
  EXPECT_EQ(result->err, "problem\n");
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_FALSE(result->ok());
}

TEST(SpawnTest, ReportsSignals) {
  auto result = Spawn(Shell("kill -TERM $$"));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->signal, SIGTERM);
  EXPECT_EQ(result->exit_code, -1);
}

TEST(SpawnTest, ChildSeesOnlyWhatItIsGiven) {
  UniqueFd leaky(open("/dev/null", O_RDONLY));  // without close-on-exec, as a careless library would
  sigset_t blocked, old;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &old), 0);
  auto result = Spawn(
      Shell("env | grep -v -e ^PWD= -e ^_= -e ^BERTH_SPAWN= ; pwd; ls /proc/$$/fd; grep SigBlk /proc/self/status"));
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out, "PATH=/usr/bin:/bin\n/\n0\n1\n2\nSigBlk:\t0000000000000000\n");
}

TEST(SpawnTest, DeadlineKillsTheWholeGroup) {
  SpawnRequest request = Shell("sleep 100 & echo $!; wait");
  request.timeout = absl::Milliseconds(200);
  absl::Time start = absl::Now();
  auto result = Spawn(request);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_THAT(std::string(result.status().message()), testing::HasSubstr("did not end within 200ms"));
}

// Each way out of the process group: a session of its own, a parent that ended, an emptied environment.
TEST(SpawnTest, DeadlineKillsWhatWentItsOwnWay) {
  const std::string token = absl::StrCat("7", getpid(), "0");  // as seconds of a sleep: the only one on the machine
  SpawnRequest request = Shell(absl::StrCat("trap '' TERM; setsid sleep ", token, " & (setsid sh -c 'sleep ", token,
                                            "; true' &) ; setsid env -i sleep ", token, " & sleep ", token));
  request.timeout = absl::Milliseconds(500);
  auto alive = [&] {
    auto found = Spawn(
        Shell(absl::StrCat("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '[s]leep ", token, "'")));
    return found.ok() ? found->out : std::string(found.status().message());
  };
  EXPECT_EQ(Spawn(request).status().code(), absl::StatusCode::kDeadlineExceeded);
  for (int i = 0; i < 100 && alive() != "0\n"; ++i) absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(alive(), "0\n");
}

TEST(SpawnTest, ADaemonThatThePluginLeftBehindIsNotWaitedFor) {
  absl::Time start = absl::Now();
  auto result = Spawn(Shell("setsid sleep 3 & echo done"));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->out, "done\n");
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
}

TEST(SpawnTest, IsCancelled) {
  UniqueFd event(eventfd(1, EFD_CLOEXEC));
  SpawnRequest request = Shell("sleep 100");
  request.cancel = event.get();
  EXPECT_EQ(Spawn(request).status().code(), absl::StatusCode::kCancelled);
}

TEST(SpawnTest, OutputIsBounded) {
  SpawnRequest request = Shell("yes");
  request.stdout_limit = 1000;
  EXPECT_EQ(Spawn(request).status().code(), absl::StatusCode::kResourceExhausted);
  request = Shell("yes | head -c 100000 >&2");
  request.stderr_limit = 1000;
  auto result = Spawn(request);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->err.size(), 1000u);
}

TEST(IdleChildTest, WaitsUntilItIsLetGo) {
  pid_t pid = 0;
  {
    auto child = IdleChild::Start("/bin/cat", {"cat"});
    ASSERT_TRUE(child.ok()) << child.status();
    pid = child->pid();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_NE(kill(pid, 0), 0);
  EXPECT_EQ(ErrnoOf(IdleChild::Start("/nowhere", {"x"}).status()), ENOENT);
}

TEST(SpawnTest, AMissingProgramIsAnErrno) {
  SpawnRequest request = Shell("true");
  request.path = "/nowhere/at/all";
  EXPECT_EQ(ErrnoOf(Spawn(request).status()), ENOENT);
}

}  // namespace
}  // namespace berth::sys
