// The commands around images, against a daemon with berth.v1 and one without.
#include <nlohmann/json.hpp>

#include "cli/testing/app_fixture.h"

namespace berth::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Json = nlohmann::json;

constexpr char kReference[] = "127.0.0.1:5000/x:1";
constexpr char kId[] = "sha256:abcdef0123456789";

class ImagesTest : public AppTest {
 protected:
  ImagesTest() : AppTest(/*admin=*/true) { fake_.AddToRegistry(kReference, kId); }

  void Run1(const std::string& container_state) {
    std::string pod = fake_.AddPod("web");
    std::string id = fake_.AddContainer(pod, "app", container_state == "running");
    fake_.containers[id].image_id = kId;
  }
};

TEST_F(ImagesTest, PullAsPlainLines) {
  EXPECT_EQ(Run({"pull", kReference}), 0);
  EXPECT_EQ(out_, std::string(kId) + "\n");
  EXPECT_EQ(err_, "pulling 127.0.0.1:5000/x:1\na1b2c3d4e5f6: done, 100B\n");
  EXPECT_EQ(Run({"pull", "-q", kReference}), 0);
  EXPECT_THAT(err_, IsEmpty());
  EXPECT_EQ(Run({"pull", "--progress", "none", kReference}), 0);
  EXPECT_THAT(err_, IsEmpty());
}

TEST_F(ImagesTest, PullAsBarsOnATerminal) {
  err_is_terminal_ = true;
  EXPECT_EQ(Run({"pull", kReference}), 0);
  EXPECT_EQ(out_, std::string(kId) + "\n");
  EXPECT_THAT(err_, HasSubstr("\rpulled 127.0.0.1:5000/x:1 in 0."));
  EXPECT_THAT(err_, HasSubstr("\ra1b2c3d4e5f6  done           100B\x1b[K\n"));
  EXPECT_EQ(Run({"pull", "--progress", "plain", kReference}), 0);
  EXPECT_THAT(err_, Not(HasSubstr("\x1b")));
  env_["TERM"] = "dumb";
  EXPECT_EQ(Run({"pull", kReference}), 0);
  EXPECT_THAT(err_, Not(HasSubstr("\x1b")));
}

TEST_F(ImagesTest, PullAsJson) {
  EXPECT_EQ(Run({"pull", "--progress", "json", "-o", "json", kReference}), 0);
  EXPECT_EQ(Json::parse(out_), Json({{"id", kId}, {"image", kReference}}));
  std::istringstream lines(err_);
  std::vector<Json> updates;
  for (std::string line; std::getline(lines, line);) updates.push_back(Json::parse(line));
  ASSERT_EQ(updates.size(), 2u);
  EXPECT_EQ(updates[0]["phase"], "downloading");
  EXPECT_EQ(updates[0]["layers"][0],
            Json({{"digest", "sha256:a1b2c3d4e5f60718"}, {"phase", "downloading"}, {"done", 10}, {"total", 100}}));
  EXPECT_EQ(updates[1]["phase"], "done");
}

TEST_F(ImagesTest, Tag) {
  EXPECT_EQ(Run({"tag", kReference, "web:2"}), 0) << err_;
  EXPECT_EQ(out_, "docker.io/library/web:2\n");
  EXPECT_EQ(fake_.tag_request.image(), kReference);
  EXPECT_EQ(Run({"tag", "-o", "json", kReference, "web:2"}), 0);
  EXPECT_EQ(Json::parse(out_)["name"], "docker.io/library/web:2");
  fake_.failures["TagImage"] = {5, "no image 'x'", 0};
  EXPECT_EQ(Run({"tag", "x", "web:2"}), 1);
  EXPECT_EQ(err_, "berth: tag x: not found: no image 'x'\n");
}

TEST_F(ImagesTest, PruneAsksOnATerminal) {
  auto* image = fake_.prune.add_images();
  image->set_id(kId);
  image->add_names("a:1");
  image->add_names("a@sha256:12");
  fake_.prune.set_bytes(1'200'000);
  const char kTable[] = "ID            NAMES\nabcdef012345  a:1\n";
  EXPECT_EQ(Run({"prune"}), 0);
  EXPECT_EQ(out_, std::string(kTable) + "removed 1 image, 1.2MB\n");
  EXPECT_THAT(fake_.calls, ElementsAre("PruneImages"));
  EXPECT_EQ(Run({"prune", "--dry-run", "--untagged-only"}), 0);
  EXPECT_EQ(out_, std::string(kTable) + "would remove 1 image, 1.2MB\n");
  EXPECT_TRUE(fake_.prune_request.untagged_only());

  in_is_terminal_ = true;
  fake_.calls.clear();
  EXPECT_EQ(Run({"prune"}, "\n"), 1);
  EXPECT_EQ(err_, std::string(kTable) + "Remove 1 image, 1.2MB? [y/N] berth: prune: nothing was removed\n");
  EXPECT_EQ(Run({"prune"}, ""), 1);
  EXPECT_THAT(fake_.calls, ElementsAre("PruneImages (dry)", "PruneImages (dry)"));
  EXPECT_EQ(Run({"prune"}, "Yes\n"), 0);
  EXPECT_EQ(fake_.calls.back(), "PruneImages");
  EXPECT_EQ(Run({"prune", "-y"}), 0);
  EXPECT_THAT(err_, IsEmpty());
  EXPECT_EQ(Run({"prune", "-y", "-o", "json"}), 0);
  EXPECT_EQ(
      Json::parse(out_),
      Json({{"dryRun", false}, {"bytes", 1'200'000}, {"images", {{{"id", kId}, {"names", {"a:1", "a@sha256:12"}}}}}}));
}

TEST_F(ImagesTest, Df) {
  for (auto [diff_id, bytes, images] : {std::tuple("sha256:aaaaaaaaaaaaaaaa", 300'000'000, 2u),
                                        std::tuple("sha256:bbbbbbbbbbbbbbbb", 100'000'000, 1u)}) {
    auto* layer = fake_.disk.add_layers();
    layer->set_diff_id(diff_id);
    layer->set_bytes(static_cast<uint64_t>(bytes));
    layer->set_inodes(7);
    layer->set_format("erofs");
    layer->set_images(images);
  }
  auto* first = fake_.disk.add_images();
  first->set_id(kId);
  first->add_names("docker.io/library/a:1");
  first->set_bytes(400'000'000);
  first->set_own_bytes(100'000'000);
  first->set_containers(1);
  auto* second = fake_.disk.add_images();
  second->set_id("sha256:123456789abcdef0");
  second->set_bytes(300'000'000);
  second->set_pinned(true);
  std::string container = fake_.AddContainer(fake_.AddPod("web"), "app");
  auto* snapshot = fake_.disk.add_snapshots();
  snapshot->set_container_id(container);
  snapshot->set_bytes(5'000'000);
  snapshot->set_inodes(3);
  fake_.disk.set_reclaimable_bytes(100'000'000);
  fake_.disk.set_content_bytes(12'000);
  fake_.disk.set_free_bytes(20'000'000'000);
  fake_.disk.set_snapshots_measured_at(1);
  const std::string summary =
      "TYPE             TOTAL  ACTIVE  SIZE   RECLAIMABLE\n"
      "Images           2      1       400MB  100MB (25%)\n"
      "Layers           2      2       400MB\n"
      "Writable layers  1      1       5MB\n"
      "Manifests                       12kB\n"
      "Free on disk                    20GB\n";
  EXPECT_EQ(Run({"df"}), 0) << err_;
  EXPECT_EQ(out_, summary);
  EXPECT_EQ(Run({"df", "-o", "wide"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr(summary));
  EXPECT_THAT(out_, HasSubstr("docker.io/library/a:1  abcdef012345  400MB  100MB  300MB   1\n"));
  EXPECT_THAT(out_, HasSubstr("<none>                 123456789abc  300MB  0B     300MB   0           yes\n"));
  EXPECT_THAT(out_, HasSubstr("bbbbbbbbbbbb  100MB  7       erofs   1\n"));
  EXPECT_THAT(out_, HasSubstr("  app   5MB   3\nwritable layers were measured "));
  EXPECT_EQ(Run({"df", "-o", "json"}), 0);
  Json json = Json::parse(out_);
  EXPECT_EQ(json["images"][0]["ownBytes"], 100'000'000);
  EXPECT_EQ(json["layers"][1]["format"], "erofs");
  EXPECT_EQ(json["writableLayers"][0]["containerId"], container);
  EXPECT_EQ(json["writableLayersMeasuredAt"], "1970-01-01T00:00:00.000000001Z");
}

TEST_F(ImagesTest, RmiSparesImagesThatRun) {
  fake_.images = fake_.registry;
  Run1("running");
  EXPECT_EQ(Run({"rmi", kReference}), 1);
  EXPECT_THAT(err_, HasSubstr("berth: rmi 127.0.0.1:5000/x:1: container app (d"));
  EXPECT_FALSE(fake_.images.empty());
  EXPECT_EQ(Run({"rmi", "-f", kReference}), 0) << err_;
  EXPECT_TRUE(fake_.images.empty());
}

TEST_F(ImagesTest, RmiOfImagesWhoseContainersEnded) {
  fake_.images = fake_.registry;
  Run1("exited");
  EXPECT_EQ(Run({"rmi", "nope", kId}), 1);
  EXPECT_EQ(err_, "berth: rmi nope: no image 'nope'\n");
  EXPECT_EQ(out_, std::string(kId) + "\n");
  EXPECT_TRUE(fake_.images.empty());
}

TEST_F(ImagesTest, WidePinned) {
  fake_.images = fake_.registry;
  fake_.images[kReference].set_pinned(true);
  EXPECT_EQ(Run({"images", "-o", "wide"}), 0);
  EXPECT_THAT(out_, HasSubstr("SIZE   PINNED\n"));
  EXPECT_THAT(out_, HasSubstr("123MB  yes\n"));
}

using OtherRuntimeTest = AppTest;

TEST_F(OtherRuntimeTest, SaysWhatItCannot) {
  const std::vector<std::vector<std::string>> cases = {{"tag", "a", "b"}, {"prune"}, {"df"}};
  for (const auto& arguments : cases) {
    EXPECT_EQ(Run(arguments), 1);
    EXPECT_THAT(err_, HasSubstr("the runtime on this socket cannot do this: it is not berthd, or an older one\n"));
  }
}

}  // namespace
}  // namespace berth::cli
