// A state store in a directory of its own, for tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "cri/state/state_store.h"
#include "runtime/sys/file.h"

namespace berth::state {

using Contents = std::map<std::pair<Kind, std::string>, std::string>;

inline Contents ContentsOf(const Loaded& loaded) {
  Contents out;
  for (const Record& r : loaded.records) out[{r.kind, r.id}] = r.data;
  return out;
}

// EXPECT_TRUE(Same(…)): says which records differ, and not all that they hold.
inline testing::AssertionResult Same(const Contents& found, const Contents& want) {
  std::string differ;
  for (const auto& [key, data] : want) {
    auto it = found.find(key);
    if (it == found.end()) {
      differ += " missing: " + key.second;
    } else if (it->second != data) {
      differ += " other content: " + key.second;
    }
  }
  for (const auto& [key, data] : found) differ += want.count(key) == 0 ? " nobody's: " + key.second : "";
  return differ.empty() ? testing::AssertionSuccess() : testing::AssertionFailure() << differ;
}

// As long and as varied as records of containers are, and different for each name.
inline std::string DataFor(const std::string& name, size_t size) {
  std::string data = name + ":";
  for (size_t i = 0; data.size() < size; ++i)
    data += static_cast<char>(std::hash<std::string>()(name + std::to_string(i)));
  return data;
}

inline std::string ReadAll(const std::string& path) {
  std::stringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

inline void WriteAll(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class StateFiles : public testing::Test {
 protected:
  void SetUp() override {
    // In memory where there is such a place: many files are made, synced and thrown away.
    dir_ = access("/dev/shm", W_OK) == 0 ? "/dev/shm/berth-state-test-XXXXXX" : "/tmp/berth-state-test-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
    path_ = dir_ + "/state.db";
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }

  std::unique_ptr<StateStore> Open() {
    auto store = OpenSqliteStateStore(path_);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  Loaded Load() {
    auto store = Open();
    auto loaded = store ? store->Load() : absl::UnavailableError("not open");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return loaded.value_or(Loaded{});
  }
  std::string dir_, path_;
};

}  // namespace berth::state
