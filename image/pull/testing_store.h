// What the tests of pulls from faulty servers share: a store, and an image to pull into it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "image/pull/testing_image.h"
#include "image/pull/testing_server.h"
#include "image/store.h"
#include "runtime/base/id.h"
#include "runtime/sys/file.h"

namespace berth::image::testing_store {

using testing_image::MakeImage;
using testing_image::TestImage;
using testing_server::FaultServer;
using testing_server::Reply;
using testing_server::Request;
using testing_server::Serving;

// One layer of 1 MiB that does not compress.
inline const TestImage& Big() {
  static const auto* image = new TestImage(MakeImage({{{"data", testing_image::Noise(1 << 20, 7)}}}));
  return *image;
}

inline bool IsLayer(const Request& request, const TestImage& image = Big()) {
  return absl::StrContains(request.target, image.layers[0]);
}

class StoreFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "layers are unpacked with their owners: needs root";
    dir_ = absl::StrCat(::testing::TempDir(), "berth-faults-", getpid(), "-", RandomHexId().substr(0, 8));
    Open({});
  }
  // Again, with other options but the directories.
  void Open(Store::Options options) {
    store_.reset();
    options.root = dir_ + "/store";
    options.hosts_dirs = {dir_ + "/certs.d"};
    auto store = Store::Open(std::move(options));
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  void TearDown() override {
    store_.reset();
    if (!dir_.empty()) sys::RemoveTreeAt(AT_FDCWD, dir_).IgnoreError();
  }
  absl::StatusOr<Image> Pull(const FaultServer& server, const Credentials& credentials = {}) {
    return store_->Pull({.reference = server.host() + "/app:v1", .credentials = credentials});
  }
  void WriteHosts(const std::string& host, const std::string& text) {
    std::string path = absl::StrCat(dir_, "/certs.d/", host);
    ASSERT_TRUE(sys::MakeDirs(path, 0755).ok());
    auto fd = sys::Open(path, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(fd.ok() && sys::ReplaceFileAt(fd->get(), "hosts.toml", text, 0644).ok());
  }
  // What an interrupted or failed pull must leave: no image, and nothing that is half done.
  void ExpectNothingLeft() {
    EXPECT_THAT(*store_->List(), ::testing::IsEmpty());
    EXPECT_THAT(Entries("/store/content"), ::testing::IsEmpty());
    for (const std::string& entry : Entries("/store/layers")) {  // staging and trash stay, empty
      EXPECT_THAT(Entries("/store/layers/" + entry), ::testing::IsEmpty());
    }
  }
  std::vector<std::string> Entries(const std::string& path) {
    auto fd = sys::Open(dir_ + path, O_RDONLY | O_DIRECTORY);
    if (!fd.ok()) return {fd.status().ToString()};
    auto names = sys::ListDir(fd->get());
    return names.ok() ? *names : std::vector<std::string>{names.status().ToString()};
  }

  std::string dir_;
  std::unique_ptr<Store> store_;
};

}  // namespace berth::image::testing_store
