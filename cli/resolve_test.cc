#include "cli/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/labels.h"

namespace berth::cli {
namespace {

using ::testing::HasSubstr;

PodInfo MakePod(std::string id, std::string name, std::string ns = "default", bool ready = true, int64_t created = 1) {
  PodInfo pod;
  pod.id = std::move(id);
  pod.name = std::move(name);
  pod.ns = std::move(ns);
  pod.ready = ready;
  pod.created_at = created;
  return pod;
}

ContainerInfo MakeContainer(std::string id, std::string pod_id, std::string name, uint32_t attempt = 0) {
  ContainerInfo container;
  container.id = std::move(id);
  container.pod_id = std::move(pod_id);
  container.name = std::move(name);
  container.attempt = attempt;
  return container;
}

const std::vector<PodInfo> kPods = {MakePod("aa11", "web"),
                                    MakePod("aa22", "db"),
                                    MakePod("bb33", "web", "shop"),
                                    MakePod("cc44", "old", "default", false, 1),
                                    MakePod("cc55", "old", "default", true, 2),
                                    MakePod("cc66", "old", "default", false, 3)};

std::string IdOf(absl::string_view word) {
  auto pod = ResolvePod(word, kPods);
  return pod.ok() ? pod->id : std::string(pod.status().message());
}

TEST(ResolvePod, ByNameNamespaceAndId) {
  EXPECT_EQ(IdOf("db"), "aa22");
  EXPECT_EQ(IdOf("shop/web"), "bb33");
  EXPECT_EQ(IdOf("default/web"), "aa11");
  EXPECT_EQ(IdOf("bb"), "bb33");
  EXPECT_EQ(IdOf("aa11"), "aa11");
  EXPECT_EQ(IdOf("old"), "cc55");  // the ready one, though not the newest
}

TEST(ResolvePod, SaysWhatIsAmbiguousOrMissing) {
  EXPECT_EQ(IdOf("web"), "'web' is ambiguous: pods default/web (aa11), shop/web (bb33)");
  EXPECT_THAT(IdOf("aa"), HasSubstr("'aa' is ambiguous"));
  EXPECT_EQ(IdOf("nope"), "no pod 'nope'");
  EXPECT_EQ(IdOf(""), "no pod ''");
  EXPECT_EQ(ResolvePod("nope", kPods).status().code(), absl::StatusCode::kNotFound);
}

class ResolveContainerTest : public ::testing::Test {
 protected:
  ResolveContainerTest() {
    containers_ = {MakeContainer("d1", "aa11", "app"),      MakeContainer("d2", "aa22", "app"),
                   MakeContainer("d3", "aa22", "backup"),   MakeContainer("d4", "bb33", "cache", 0),
                   MakeContainer("d5", "bb33", "cache", 1), MakeContainer("d6", "cc55", "init"),
                   MakeContainer("d7", "cc55", "main")};
    containers_[5].annotations[kInitAnnotation] = "true";
  }
  std::string IdOf(absl::string_view word) {
    auto container = ResolveContainer(word, kPods, containers_);
    return container.ok() ? container->id : std::string(container.status().message());
  }
  std::vector<ContainerInfo> containers_;
};

TEST_F(ResolveContainerTest, ByNamePodAndId) {
  EXPECT_EQ(IdOf("backup"), "d3");
  EXPECT_EQ(IdOf("db/app"), "d2");
  EXPECT_EQ(IdOf("default/web/app"), "d1");
  EXPECT_EQ(IdOf("shop/web"), "d5");  // the only container, latest attempt
  EXPECT_EQ(IdOf("cache"), "d5");
  EXPECT_EQ(IdOf("d4"), "d4");
  EXPECT_EQ(IdOf("old"), "d7");  // not the init container
  EXPECT_EQ(IdOf("old/init"), "d6");
}

TEST_F(ResolveContainerTest, SaysWhatIsAmbiguousOrMissing) {
  EXPECT_EQ(IdOf("app"), "'app' is ambiguous: containers app (d1), app (d2)");
  EXPECT_THAT(IdOf("db"), HasSubstr("'db' is ambiguous: containers"));
  EXPECT_THAT(IdOf("web/app"), HasSubstr("'web' is ambiguous: pods"));
  EXPECT_EQ(IdOf("db/nope"), "no container 'db/nope'");
  EXPECT_EQ(IdOf(""), "no container ''");
  EXPECT_EQ(IdOf("/"), "no container '/'");
}

}  // namespace
}  // namespace berth::cli
