#include "runtime/sys/user_namespace.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <vector>

#include "runtime/sys/clone.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"
#include "runtime/sys/namespace.h"
#include "runtime/sys/procfs.h"

namespace berth::sys {
namespace {

constexpr IdRange kRange = {0, 100000, 65536};

TEST(OutsideId, FollowsTheRangeThatHoldsIt) {
  const IdRange ranges[] = {{0, 100000, 10}, {10, 5, 1}, {20, 200000, 65536}};
  EXPECT_EQ(OutsideId(ranges, 0), 100000u);
  EXPECT_EQ(OutsideId(ranges, 9), 100009u);
  EXPECT_EQ(OutsideId(ranges, 10), 5u);
  EXPECT_EQ(OutsideId(ranges, 11), std::nullopt);
  EXPECT_EQ(OutsideId(ranges, 20 + 65535), 265535u);
  EXPECT_EQ(OutsideId(ranges, 20 + 65536), std::nullopt);
  EXPECT_EQ(OutsideId({}, 0), std::nullopt);
}

class UserNamespaceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "maps of more than one id need root";
    auto procfs = OpenDetachedProcfs();
    ASSERT_TRUE(procfs.ok()) << procfs.status();
    procfs_ = *std::move(procfs);
  }
  absl::StatusOr<UniqueFd> Make(IdRange uids = kRange, IdRange gids = kRange) {
    return NewUserNamespace(procfs_.get(), {&uids, 1}, {&gids, 1});
  }
  // What `body` exits with in a child.
  template <typename Body>
  int InChild(Body body) {
    auto child = Clone(0);
    EXPECT_TRUE(child.ok()) << child.status();
    if (child.ok() && child->pid == 0) _exit(body());
    int status = 0;
    waitpid(child->pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  UniqueFd procfs_;
};

TEST_F(UserNamespaceTest, WhoEntersIsRootInsideAndNobodyOutside) {
  auto userns = Make();
  ASSERT_TRUE(userns.ok()) << userns.status();
  UniqueFd file(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(file.valid());
  EXPECT_EQ(InChild([&] {
              prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
              if (!EnterUserNamespace(userns->get()).ok()) return 1;
              if (getuid() != 0 || getgid() != 0 || getgroups(0, nullptr) != 0) return 2;
              if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return 3;
              if (!Unshare(CLONE_NEWNET).ok() || !BringLoopbackUp().ok()) return 4;
              struct stat st;
              if (fstat(file.get(), &st) != 0 || st.st_uid == 0) return 5;  // the host's root is nobody here
              const gid_t group = 7;
              if (setgroups(1, &group) != 0) return 6;
              const gid_t unmapped = 70000;
              return setgroups(1, &unmapped) == 0 ? 7 : 0;
            }),
            0);
}

TEST_F(UserNamespaceTest, RefusesRangesThatTheKernelRefuses) {
  EXPECT_EQ(ErrnoOf(Make({0, 100000, 0}).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(Make({0, 4294967295u, 2}).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(Make(kRange, {0, 100000, 0}).status()), EINVAL);
}

TEST_F(UserNamespaceTest, ManyThreadsMakeTheirOwn) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] {
      for (int n = 0; n < 10; ++n) EXPECT_TRUE(Make().ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(UserNamespaceTest, AMappedMountShowsOtherOwners) {
  auto userns = Make();
  ASSERT_TRUE(userns.ok()) << userns.status();
  char path[] = "/tmp/berth-idmap-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  auto mount = CloneTree(AT_FDCWD, path, false);
  ASSERT_TRUE(mount.ok()) << mount.status();
  absl::Status mapped = MapMountIds(mount->get(), userns->get());
  if (ErrnoOf(mapped) == EINVAL) {
    rmdir(path);
    GTEST_SKIP() << "the file system of /tmp maps no ids";
  }
  ASSERT_TRUE(mapped.ok()) << mapped;
  auto st = StatFd(mount->get(), path);
  ASSERT_TRUE(st.ok());
  EXPECT_EQ(st->st_uid, 100000u);
  EXPECT_EQ(st->st_gid, 100000u);
  EXPECT_FALSE(MapMountIds(mount->get(), userns->get()).ok()) << "a mapping is for ever";
  rmdir(path);
  auto proc = MountDetached("proc", {}, 0);
  ASSERT_TRUE(proc.ok());
  EXPECT_EQ(ErrnoOf(MapMountIds(proc->get(), userns->get())), EINVAL);
}

}  // namespace
}  // namespace berth::sys
