#include "image/pull/image_record.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <memory>

#include "image/content/digest.h"
#include "runtime/base/id.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

// Somebody removes each image as soon as it is there.
class RemovedAtOnce : public Catalog {
 public:
  explicit RemovedAtOnce(Catalog& real) : real_(real) {}
  absl::Status PutImage(const ImageRow& row) override {
    RETURN_IF_ERROR(real_.PutImage(row));
    return real_.RemoveImage(row.id);
  }
  absl::Status SetPinned(const ImageId& id, bool pinned) override { return real_.SetPinned(id, pinned); }
  absl::StatusOr<ImageRow> FindByRef(absl::string_view ref) const override { return real_.FindByRef(ref); }
  absl::StatusOr<ImageRow> FindById(absl::string_view id) const override { return real_.FindById(id); }
  absl::StatusOr<std::vector<ImageRow>> ListImages() const override { return real_.ListImages(); }
  absl::Status AddTag(const ImageId& id, absl::string_view tag) override { return real_.AddTag(id, tag); }
  absl::Status RemoveImage(const ImageId& id) override { return real_.RemoveImage(id); }
  absl::StatusOr<bool> RemoveImageAsOf(const ImageRow& row) override { return real_.RemoveImageAsOf(row); }
  absl::StatusOr<std::vector<std::string>> LayersOf(const ImageId& id) const override { return real_.LayersOf(id); }
  absl::StatusOr<std::set<std::string>> LayersInUse() const override { return real_.LayersInUse(); }
  absl::StatusOr<std::set<std::string>> DocumentsInUse() const override { return real_.DocumentsInUse(); }
  std::vector<std::string> Problems() const override { return real_.Problems(); }

 private:
  Catalog& real_;
};

TEST(ImageRecord, AnImageThatIsRemovedInTheSameMomentWasThere) {
  const std::string dir = absl::StrCat(::testing::TempDir(), "berth-record-", RandomHexId().substr(0, 16));
  ASSERT_TRUE(sys::MakeDirs(dir, 0700).ok());
  auto content = ContentStore::Open(dir);
  auto real = Catalog::Open(dir + "/images.db");
  ASSERT_TRUE(content.ok() && real.ok());
  RemovedAtOnce catalog(**real);
  PullParts parts{.content = content->get(), .catalog = &catalog};
  const std::string config = "{}", manifest = "{ }";
  auto row = RecordImage(parts,
                         {.id = Sha256Digest(config),
                          .manifest_digest = Sha256Digest(manifest),
                          .manifest_bytes = manifest,
                          .config = config,
                          .tags = {"r/x:1"}},
                         {});
  EXPECT_TRUE(row.ok()) << row.status();
  if (row.ok()) {
    EXPECT_EQ(row->id.str(), Sha256Digest(config));
  }
  EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir).ok());
}

}  // namespace
}  // namespace berth::image
