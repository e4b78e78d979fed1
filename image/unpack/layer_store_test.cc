#include "image/unpack/layer_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "image/content/digest.h"
#include "image/unpack/layer_record.h"
#include "image/unpack/testing_archive.h"
#include "image/unpack/tree_usage.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using namespace testing_archive;  // NOLINT: the vocabulary of this test
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LayerStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "unpacking sets owners, which needs root";
    char path[] = "/tmp/berth-layer-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    root_ = path;
    Reopen();
  }
  void TearDown() override {
    store_.reset();
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }
  void Reopen() {
    auto store = LayerStore::Open(root_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  // The trash is emptied by a thread that runs when nothing else does.
  bool TrashEmpties() {
    for (int i = 0; i < 3000 && Entries("trash") != 0; ++i) absl::SleepFor(absl::Milliseconds(10));
    return Entries("trash") == 0;
  }

  size_t Entries(absl::string_view dir) {
    return sys::ListDir(sys::Open(absl::StrCat(root_, "/", dir), O_RDONLY)->get())->size();
  }
  absl::Status Commit(std::unique_ptr<LayerSink> sink) {
    std::vector<std::unique_ptr<LayerSink>> sinks;
    sinks.push_back(std::move(sink));
    return store_->Commit(std::move(sinks));
  }
  std::string Read(absl::string_view diff_id, absl::string_view path) {
    auto layer = store_->OpenLayer(diff_id);
    if (!layer.ok()) return std::string(layer.status().message());
    auto fd = sys::OpenInRoot(layer->get(), path, O_RDONLY);
    return fd.ok() ? *sys::ReadFd(fd->get(), 1 << 20, path) : std::string(fd.status().message());
  }
  std::string root_;
  std::unique_ptr<LayerStore> store_;
};

TEST_F(LayerStoreTest, ALayerIsKeptOnceCommitted) {
  std::string tar = Tar({Dir("etc"), File("etc/motd", "hello"), File("opt/x/y", "implied")});
  for (const std::string& blob : {Gzip(tar), Zstd(tar), tar}) {
    LayerBlob promise = Promise(blob, tar);
    auto sink = Receive(*store_, promise, blob, 100);
    ASSERT_TRUE(sink.ok()) << sink.status();
    EXPECT_FALSE(store_->Has(promise.diff_id));
    auto result = (*sink)->Finish();  // a second time: the same answer
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->diff_id, promise.diff_id);
    EXPECT_EQ(result->blob_size, blob.size());
    EXPECT_THAT(result->implied_parents, ElementsAre("", "opt", "opt/x"));
    EXPECT_FALSE((*sink)->Write("more").ok());
    ASSERT_TRUE(Commit(*std::move(sink)).ok());
    Reopen();
    EXPECT_EQ(Read(promise.diff_id, "etc/motd"), "hello");
    auto info = store_->Info(promise.diff_id);
    EXPECT_EQ(info->inodes, 6u);
    EXPECT_EQ(info->bytes, result->unpacked_bytes);
    EXPECT_EQ(info->implied_parents, result->implied_parents);
    EXPECT_THAT(store_->List(), ElementsAre(promise.diff_id));
    ASSERT_TRUE(store_->Remove(promise.diff_id).ok());
    ASSERT_TRUE(store_->Remove(promise.diff_id).ok());
    EXPECT_FALSE(store_->Has(promise.diff_id));
    EXPECT_TRUE(TrashEmpties());
    EXPECT_EQ(Entries("staging") + Entries("layers"), 0u);
  }
}

TEST_F(LayerStoreTest, UsageIsWhatAWalkFinds) {
  std::vector<Entry> entries = {Dir("./"),
                                Dir("d", 02775, 5, 6),
                                File("d/big", std::string(300'000, 'x')),
                                File("d/small", "y"),
                                File("d/empty"),
                                HardLink("d/link", "d/big"),
                                Symlink("s", "d"),
                                Symlink("long", std::string(200, 'l')),
                                File("d/small", std::string(9000, 'z')),
                                File("gone", "1"),
                                Dir("gone"),
                                File("gone/f", "2"),
                                File(".wh.other"),
                                File("deep/er/f", "3"),
                                Dir("dir/sub"),
                                File("dir", "was a directory")};
  auto diff_id = AddLayer(*store_, entries);
  ASSERT_TRUE(diff_id.ok()) << diff_id.status();
  auto layer = store_->OpenLayer(*diff_id);
  sync();  // delayed allocation is settled
  auto walked = MeasureTree(sys::OpenAt(layer->get(), ".", O_RDONLY | O_DIRECTORY)->get());
  ASSERT_TRUE(walked.ok());
  auto info = store_->Info(*diff_id);
  EXPECT_EQ(info->inodes, walked->inodes);
  EXPECT_EQ(info->bytes, walked->bytes);
}

TEST_F(LayerStoreTest, WhatIsNotAsPromisedIsRefusedAndLeavesNothing) {
  std::string tar = Tar({File("f", std::string(5000, 'x'))}), blob = Gzip(tar);
  LayerBlob good = Promise(blob, tar);
  auto expect = [&](LayerBlob promise, absl::string_view bytes, absl::string_view text) {
    auto sink = Receive(*store_, promise, bytes, 50);
    EXPECT_EQ(sink.status().code(), absl::StatusCode::kDataLoss) << sink.status();
    EXPECT_THAT(std::string(sink.status().message()), HasSubstr(std::string(text)));
    EXPECT_EQ(Entries("staging"), 0u);
  };
  LayerBlob bad = good;
  bad.digest = Sha256Digest("other");
  expect(bad, blob, "digest");
  bad = good;
  bad.diff_id = Sha256Digest("other");
  expect(bad, blob, "diffID");
  bad = good;
  bad.size -= 1;
  expect(bad, blob, "more than the promised");
  bad.size += 2;
  expect(bad, blob, "ends after");
  expect(good, absl::string_view(blob).substr(0, blob.size() - 1), "ends after");
  std::string cut = tar.substr(0, 1000);
  expect(Promise(cut, cut), cut, "ends in the middle");
  std::string cut_gzip = blob.substr(0, blob.size() - 5);
  expect(Promise(cut_gzip, tar), cut_gzip, "truncated");
  std::string damaged = blob;
  damaged[blob.size() / 2] ^= 0xff;
  auto sink = Receive(*store_, good, damaged, 50);
  EXPECT_EQ(sink.status().code(), absl::StatusCode::kDataLoss);
  bad = good;
  bad.digest = "sha256:../../../etc/passwd";
  EXPECT_EQ(store_->NewSink(bad).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(store_->List(), IsEmpty());
}

TEST_F(LayerStoreTest, Sha512DigestsWork) {
  std::string tar = Tar({File("f", "x")});
  Hasher hasher("sha512:");
  hasher.Update(tar);
  std::string digest = hasher.Finish();
  auto sink = Receive(*store_, {digest, tar.size(), digest}, tar);
  ASSERT_TRUE(sink.ok()) << sink.status();
  ASSERT_TRUE(Commit(*std::move(sink)).ok());
  Reopen();
  EXPECT_EQ(Read(digest, "f"), "x");
}

TEST_F(LayerStoreTest, TheFirstErrorSticksAndUnfinishedSinksCannotBeCommitted) {
  std::string tar = Tar({File("f", "x")});
  LayerBlob promise = Promise(tar, tar);
  auto sink = *store_->NewSink(promise);
  EXPECT_FALSE(sink->Write(std::string(tar.size() + 1, 'x')).ok());
  EXPECT_EQ(sink->Write("").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(sink->Finish().status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Commit(std::move(sink)).code(), absl::StatusCode::kFailedPrecondition);
  sink = *store_->NewSink(promise);
  ASSERT_TRUE(sink->Write(tar).ok());
  EXPECT_EQ(Commit(std::move(sink)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(store_->List(), IsEmpty());
  EXPECT_EQ(Entries("staging"), 0u);
}

TEST_F(LayerStoreTest, OneLayerUnpackedTwiceAtOnceIsKeptOnce) {
  std::string tar = Tar({File("f", "x")});
  LayerBlob promise = Promise(tar, tar);
  std::vector<std::unique_ptr<LayerSink>> sinks;
  for (int i = 0; i < 3; ++i) sinks.push_back(*Receive(*store_, promise, tar));
  ASSERT_TRUE(store_->Commit(std::move(sinks)).ok());
  EXPECT_THAT(store_->List(), SizeIs(1));
  EXPECT_EQ(Entries("staging"), 0u);
  EXPECT_EQ(Read(promise.diff_id, "f"), "x");
}

TEST_F(LayerStoreTest, SinksInSeveralThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 5; ++i) {
        auto id = AddLayer(*store_, {File(absl::StrCat("f", t, "-", i), std::string(100'000, 'a'))});
        EXPECT_TRUE(id.ok()) << id.status();
        EXPECT_TRUE(store_->Has(*id));
        if (i % 2 == 0) {
          EXPECT_TRUE(store_->Remove(*id).ok());
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_THAT(store_->List(), SizeIs(8));
}

TEST_F(LayerStoreTest, OpenClearsWhatAnInterruptedCallLeft) {
  auto diff_id = *AddLayer(*store_, {File("f", "x")});
  auto sink = *store_->NewSink(Promise("x", "x"));
  std::filesystem::create_directories(root_ + "/trash/abc/fs/d");
  EXPECT_EQ(Entries("staging"), 1u);
  auto second = *LayerStore::Open(root_);
  EXPECT_EQ(Entries("staging"), 0u);
  EXPECT_TRUE(TrashEmpties());
  EXPECT_THAT(second->List(), ElementsAre(diff_id));
}

TEST_F(LayerStoreTest, ADamagedRecordIsReportedAndReplacedByTheNextCommit) {
  auto one = *AddLayer(*store_, {File("f", "1")});
  auto two = *AddLayer(*store_, {File("f", "2")});
  auto record = [&](absl::string_view id) { return absl::StrCat(root_, "/layers/", DigestHex(id), "/meta.json"); };
  std::ofstream(record(one)) << "{";
  std::filesystem::create_directory(root_ + "/layers/stranger");
  Reopen();
  EXPECT_THAT(store_->List(), ElementsAre(two));
  EXPECT_THAT(store_->Problems(), SizeIs(2));
  EXPECT_EQ(store_->OpenLayer(one).status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(*AddLayer(*store_, {File("f", "1")}), one);
  EXPECT_EQ(Read(one, "f"), "1");
  EXPECT_TRUE(TrashEmpties());
  std::filesystem::copy_file(record(two), record(one), std::filesystem::copy_options::overwrite_existing);
  Reopen();
  EXPECT_THAT(store_->List(), ElementsAre(two));
}

TEST_F(LayerStoreTest, LimitsOfTheUncompressedSide) {
  std::string tar = Tar({File("zeros", std::string(3 << 20, '\0'))}), blob = Zstd(tar);
  auto receive = [&](UnpackLimits limits) {
    auto sink = *store_->NewSink(Promise(blob, tar), limits);
    absl::Status status = sink->Write(blob);
    return status.ok() ? sink->Finish().status() : status;
  };
  EXPECT_TRUE(receive({}).ok());
  UnpackLimits limits;
  limits.max_bytes = 1 << 20;
  EXPECT_EQ(receive(limits).code(), absl::StatusCode::kResourceExhausted);
  limits = {};
  limits.ratio_from = 1 << 20;
  limits.max_ratio = 100;
  EXPECT_THAT(std::string(receive(limits).message()), HasSubstr("100 times"));
  limits = {};
  limits.min_free_bytes = uint64_t{1} << 60;
  EXPECT_EQ(receive(limits).code(), absl::StatusCode::kResourceExhausted);
  limits = {};
  limits.min_free_inodes = uint64_t{1} << 60;
  EXPECT_EQ(receive(limits).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Entries("staging"), 0u);
}

TEST(LayerRecord, PathsMayBeAnyBytes) {
  LayerInfo info = {Sha256Digest("x"), 1, 2, {"", "a\"\\\n\xff\xfe/b", "ü"}};
  auto back = DecodeLayerRecord(EncodeLayerRecord(info));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->implied_parents, info.implied_parents);
  EXPECT_EQ(back->inodes, 2u);
  for (absl::string_view bad : {"", "[]", "{}", R"({"version":2})", R"({"version":1,"diffID":"x"})"}) {
    EXPECT_FALSE(DecodeLayerRecord(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace berth::image
