#include "image/content/content_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>

#include "image/content/digest.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr absl::string_view kEmpty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Digest, KnownVectors) {
  EXPECT_EQ(Sha256Digest(""), kEmpty);
  Hasher h("sha512:");
  h.Update("a");
  h.Update("bc");
  EXPECT_EQ(h.Finish(),
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

TEST(Digest, OnlyTheExactFormsAreAccepted) {
  EXPECT_TRUE(CheckDigest(kEmpty).ok());
  EXPECT_TRUE(CheckDigest(absl::StrCat("sha512:", std::string(128, 'a'))).ok());
  for (absl::string_view bad : {"", "sha256:", "sha256:../../../etc/passwd", "md5:d41d8cd98f00b204e9800998ecf8427e",
                                "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
                                "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
                                "sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}) {
    EXPECT_EQ(CheckDigest(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  std::string with_nul(kEmpty);
  with_nul[20] = '\0';
  EXPECT_FALSE(CheckDigest(with_nul).ok());
  EXPECT_EQ(*DigestFromHex(DigestHex(kEmpty)), kEmpty);
}

class ContentStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-content-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    root_ = path;
    store_ = *ContentStore::Open(root_);
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, root_).ok()); }
  std::string root_;
  std::unique_ptr<ContentStore> store_;
};

TEST_F(ContentStoreTest, KeepsBytesByDigestAcrossOpens) {
  std::string text("{\"a\":\0}", 7);
  std::string digest = Sha256Digest(text);
  ASSERT_TRUE(store_->Put(digest, text).ok());
  ASSERT_TRUE(store_->Put(digest, text).ok());
  store_ = *ContentStore::Open(root_);
  EXPECT_EQ(*store_->Get(digest), text);
  EXPECT_THAT(store_->List(), ElementsAre(digest));
  EXPECT_TRUE(store_->Remove(digest).ok());
  EXPECT_TRUE(store_->Remove(digest).ok());
  EXPECT_EQ(store_->Get(digest).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(store_->List(), IsEmpty());
}

TEST_F(ContentStoreTest, TotalIsWhatTheFilesTake) {
  auto on_disk = [&] {
    uint64_t bytes = 0;
    for (const std::string& digest : store_->List()) {
      struct stat st = {};
      EXPECT_EQ(stat(absl::StrCat(root_, "/content/", DigestHex(digest)).c_str(), &st), 0);
      bytes += static_cast<uint64_t>(st.st_blocks) * 512;
    }
    return bytes;
  };
  EXPECT_EQ(store_->Total().bytes, 0u);
  const std::string small = "small", large(100'000, 'x');
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(store_->Put(Sha256Digest(small), small).ok());
    ASSERT_TRUE(store_->Put(Sha256Digest(large), large).ok());
    EXPECT_EQ(store_->Total().bytes, on_disk());
    EXPECT_EQ(store_->Total().inodes, 2u);
  }
  EXPECT_GE(store_->Total().bytes, 100'000u);
  store_ = *ContentStore::Open(root_);
  EXPECT_EQ(store_->Total().bytes, on_disk());
  EXPECT_TRUE(store_->Remove(Sha256Digest(large)).ok());
  EXPECT_EQ(store_->Total().bytes, on_disk());
  EXPECT_TRUE(store_->Remove(Sha256Digest(small)).ok());
  EXPECT_TRUE(store_->Remove(Sha256Digest(small)).ok());
  EXPECT_EQ(store_->Total().bytes, 0u);
  EXPECT_EQ(store_->Total().inodes, 0u);
}

TEST_F(ContentStoreTest, RefusesWhatIsNotWhatItSays) {
  EXPECT_EQ(store_->Put(kEmpty, "x").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(store_->Put("sha256:../x", "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Get("../../etc/passwd").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Remove("sha256:..").code(), absl::StatusCode::kInvalidArgument);
  std::string big(ContentStore::kMaxDocument + 1, 'x');
  EXPECT_EQ(store_->Put(Sha256Digest(big), big).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(store_->List(), IsEmpty());
}

TEST_F(ContentStoreTest, RotIsNoticedAndRepairedByTheNextPut) {
  std::string digest = Sha256Digest("good");
  ASSERT_TRUE(store_->Put(digest, "good").ok());
  std::string path = absl::StrCat(root_, "/content/", DigestHex(digest));
  ASSERT_TRUE(sys::WriteFileAt(AT_FDCWD, path, "evil").ok());
  EXPECT_EQ(store_->Get(digest).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(store_->Put(digest, "good").ok());
  EXPECT_EQ(*store_->Get(digest), "good");
}

TEST_F(ContentStoreTest, OpenRemovesHalfWrittenFilesAndListIgnoresStrangers) {
  for (const char* name : {"tmp-abc", "README"}) {
    ASSERT_TRUE(sys::Open(absl::StrCat(root_, "/content/", name), O_CREAT | O_WRONLY, 0600).ok());
  }
  store_ = *ContentStore::Open(root_);
  EXPECT_THAT(store_->List(), IsEmpty());
  EXPECT_FALSE(sys::Open(absl::StrCat(root_, "/content/tmp-abc"), O_RDONLY).ok());
  EXPECT_TRUE(sys::Open(absl::StrCat(root_, "/content/README"), O_RDONLY).ok());
}

}  // namespace
}  // namespace berth::image
