#include "image/unpack/layer_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
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
#include "runtime/sys/older_kernel.h"

namespace berth::image {
namespace {

using namespace testing_archive;  // NOLINT: the vocabulary of this test
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LayerStoreTest : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    if (std::string why = WhyNot(GetParam(), "/tmp"); !why.empty()) GTEST_SKIP() << why;
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
    auto store = LayerStore::Open(root_, options_);
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
  bool erofs() const { return GetParam() == Format::kErofs; }

  LayerStoreOptions options_{.format = GetParam()};
  std::string root_;
  std::unique_ptr<LayerStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Formats, LayerStoreTest, testing::ValuesIn(kFormats),
                         [](const auto& info) { return FormatName(info.param); });

TEST_P(LayerStoreTest, ALayerIsKeptOnceCommitted) {
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
    EXPECT_EQ(info->inodes, erofs() ? 1u : 6u);
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

TEST_P(LayerStoreTest, UsageIsWhatAWalkFinds) {
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
  auto info = store_->Info(*diff_id);
  if (erofs()) {
    struct stat st;
    ASSERT_EQ(stat(absl::StrCat(root_, "/layers/", DigestHex(*diff_id), "/layer.erofs").c_str(), &st), 0);
    EXPECT_EQ(info->inodes, 1u);
    EXPECT_EQ(info->bytes, static_cast<uint64_t>(st.st_blocks) * 512);
    return;
  }
  auto walked = MeasureTree(sys::OpenAt(layer->get(), ".", O_RDONLY | O_DIRECTORY)->get());
  ASSERT_TRUE(walked.ok());
  EXPECT_EQ(info->inodes, walked->inodes);
  EXPECT_EQ(info->bytes, walked->bytes);
}

TEST_P(LayerStoreTest, WhatIsNotAsPromisedIsRefusedAndLeavesNothing) {
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

TEST_P(LayerStoreTest, Sha512DigestsWork) {
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

TEST_P(LayerStoreTest, TheFirstErrorSticksAndUnfinishedSinksCannotBeCommitted) {
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

TEST_P(LayerStoreTest, OneLayerUnpackedTwiceAtOnceIsKeptOnce) {
  std::string tar = Tar({File("f", "x")});
  LayerBlob promise = Promise(tar, tar);
  std::vector<std::unique_ptr<LayerSink>> sinks;
  for (int i = 0; i < 3; ++i) sinks.push_back(*Receive(*store_, promise, tar));
  ASSERT_TRUE(store_->Commit(std::move(sinks)).ok());
  EXPECT_THAT(store_->List(), SizeIs(1));
  EXPECT_EQ(Entries("staging"), 0u);
  EXPECT_EQ(Read(promise.diff_id, "f"), "x");
}

TEST_P(LayerStoreTest, SinksInSeveralThreads) {
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

TEST_P(LayerStoreTest, OpenClearsWhatAnInterruptedCallLeft) {
  auto diff_id = *AddLayer(*store_, {File("f", "x")});
  auto sink = *store_->NewSink(Promise("x", "x"));
  std::filesystem::create_directories(root_ + "/trash/abc/fs/d");
  EXPECT_EQ(Entries("staging"), 1u);
  auto second = *LayerStore::Open(root_, options_);
  EXPECT_EQ(Entries("staging"), 0u);
  EXPECT_TRUE(TrashEmpties());
  EXPECT_THAT(second->List(), ElementsAre(diff_id));
}

TEST_P(LayerStoreTest, ADamagedRecordIsReportedAndReplacedByTheNextCommit) {
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

TEST_P(LayerStoreTest, LimitsOfTheUncompressedSide) {
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

TEST_P(LayerStoreTest, WhatNobodyPromisedIsTakenAsItComes) {
  std::string tar = Tar({File("f", "x")}), blob = Gzip(tar);
  auto sink = Receive(*store_, {}, blob);
  ASSERT_TRUE(sink.ok()) << sink.status();
  EXPECT_EQ((*sink)->Finish()->diff_id, Sha256Digest(tar));
  ASSERT_TRUE(Commit(*std::move(sink)).ok());
  EXPECT_EQ(Read(Sha256Digest(tar), "f"), "x");
}

TEST_P(LayerStoreTest, TheArchiveComesBackByteForByte) {
  std::string tar = Tar({Dir("d"), File("d/f", std::string(700'000, 'x'))}) + std::string(9000, '\0') + "trailer";
  auto sink = Receive(*store_, Promise(tar, tar), tar);
  ASSERT_TRUE(sink.ok()) << sink.status();
  ASSERT_TRUE(Commit(*std::move(sink)).ok());
  std::string back;
  auto collect = [&](absl::string_view bytes) {
    back.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  absl::Status status = store_->ReadArchive(Sha256Digest(tar), collect);
  if (!erofs()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    return;
  }
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(back, tar);
  std::fstream file(absl::StrCat(root_, "/layers/", DigestHex(Sha256Digest(tar)), "/layer.erofs"));
  file.seekp(4096 + 600'000);
  file.put('y');
  file.close();
  EXPECT_EQ(store_->ReadArchive(Sha256Digest(tar), collect).code(), absl::StatusCode::kDataLoss);
}

TEST_P(LayerStoreTest, BlobsAreKeptOnDemand) {
  auto without = *AddLayer(*store_, {File("f", "1")});
  EXPECT_EQ(store_->OpenBlob(without).status().code(), absl::StatusCode::kNotFound);
  options_.keep_blobs = true;
  Reopen();
  std::string tar = Tar({File("f", "2")}), blob = Gzip(tar);
  auto sink = Receive(*store_, Promise(blob, tar), blob);
  ASSERT_TRUE(sink.ok()) << sink.status();
  ASSERT_TRUE(Commit(*std::move(sink)).ok());
  Reopen();
  auto kept = store_->OpenBlob(Sha256Digest(tar));
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->digest, Sha256Digest(blob));
  EXPECT_EQ(kept->size, blob.size());
  EXPECT_EQ(*sys::ReadFd(kept->file.get(), 1 << 20, "blob"), blob);
}

TEST_P(LayerStoreTest, BothFormatsLiveInOneStore) {
  auto first = *AddLayer(*store_, {File("f", "1")});
  options_.format = erofs() ? Format::kDirectory : Format::kAuto;
  Reopen();
  auto second = *AddLayer(*store_, {File("f", "2")});
  EXPECT_EQ(Read(first, "f") + Read(second, "f"), "12");
  EXPECT_EQ(store_->Info(first)->format, erofs() ? LayerFormat::kErofs : LayerFormat::kDirectory);
}

TEST_P(LayerStoreTest, ALayerWhoseIndexWasChangedIsNotMounted) {
  if (!erofs()) return;
  auto id = *AddLayer(*store_, {File("f", "x")});
  const std::string path = absl::StrCat(root_, "/layers/", DigestHex(id), "/layer.erofs");
  Reopen();
  std::fstream file(path);
  file.seekp(static_cast<std::streamoff>(store_->Info(id)->index.at) + 300);
  file.put('\x7f');
  file.close();
  EXPECT_EQ(store_->OpenLayer(id).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(store_->Has(id));
  EXPECT_THAT(store_->Problems(), SizeIs(1));
  ASSERT_EQ(*AddLayer(*store_, {File("f", "x")}), id);
  EXPECT_EQ(Read(id, "f"), "x");
  std::filesystem::resize_file(path, 4096);
  Reopen();
  EXPECT_THAT(store_->List(), IsEmpty());
}

// FALLBACK(linux<6.15) of image/unpack/disk_layer_store.cc
TEST(LayerFormatTest, AnOlderKernelHasDirectories) {
  if (geteuid() != 0) GTEST_SKIP() << "making layers sets owners, which needs root";
  char path[] = "/tmp/berth-layer-test-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  auto found = sys::OnOlderKernel({{.number = SYS_fsopen, .error = ENODEV, .arg = 0, .text = "erofs"}}, [&] {
    absl::Status demanded = LayerStore::Open(path, {.format = Format::kErofs}).status();
    auto store = *LayerStore::Open(path);
    std::string format = store->Format() == LayerFormat::kDirectory ? "directories" : "erofs";
    std::string id = AddLayer(*store, {File("f", "x")}).value_or("");
    auto layer = store->OpenLayer(id);
    return absl::StrCat(demanded.message(), "; ", store->FormatReason(), "; ", format, " with ",
                        sys::ReadFileAt(layer->get(), "f").value_or("nothing"));
  });
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(*found, HasSubstr("EROFS layers do not work here: fsopen 'erofs': No such device"));
  EXPECT_THAT(*found, HasSubstr("; fsopen 'erofs': No such device; directories with x"));
  std::filesystem::remove_all(path);
}

TEST(LayerRecord, PathsMayBeAnyBytes) {
  LayerInfo info{.diff_id = Sha256Digest("x"), .bytes = 1, .inodes = 2};
  info.implied_parents = {"", "a\"\\\n\xff\xfe/b", "ü"};
  auto back = DecodeLayerRecord(EncodeLayerRecord(info));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->implied_parents, info.implied_parents);
  EXPECT_EQ(back->inodes, 2u);
  for (absl::string_view bad : {"", "[]", "{}", R"({"version":3})", R"({"version":1,"diffID":"x"})"}) {
    EXPECT_FALSE(DecodeLayerRecord(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace berth::image
