// Runs the command line against a FakeCri, with its streams and environment in the test's hands.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "cli/app.h"
#include "cli/session.h"
#include "cli/testing/fake_cri.h"

namespace berth::cli {

class AppTest : public ::testing::Test {
 protected:
  explicit AppTest(bool admin = false) : fake_(admin) {
    char name[] = "/tmp/berth-app-XXXXXX";
    directory_ = mkdtemp(name);
    env_["BERTH_SOCKET"] = fake_.socket();
    env_["BERTH_POD_LOGS"] = directory_ + "/logs";
    env_["BERTH_CLI_STATE"] = directory_ + "/state";
  }
  ~AppTest() override { std::filesystem::remove_all(directory_); }

  // The exit code; what was written is in out_ and err_ then.
  int Run(const std::vector<std::string>& arguments, const std::string& input = "") {
    std::istringstream in(input);
    std::ostringstream out, err;
    Streams streams{in, out, err, err_is_terminal_, in_is_terminal_};
    if (in_fd_ >= 0) streams.in_fd = in_fd_;
    if (out_fd_ >= 0) streams.out_fd = out_fd_;
    if (err_fd_ >= 0) streams.err_fd = err_fd_;
    Session session(streams, [this](const char* variable) -> const char* {
      auto found = env_.find(variable);
      return found == env_.end() ? nullptr : found->second.c_str();
    });
    session_ = &session;
    int code = RunBerth(arguments, session);
    session_ = nullptr;
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  std::string Write(const std::string& name, const std::string& text) {
    std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  // Regular files and directories below the test's directory, without the roots that stay.
  std::vector<std::string> Leftovers() const {
    std::vector<std::string> found;
    for (const char* root : {"/logs", "/state/volumes"}) {
      if (!std::filesystem::exists(directory_ + root)) continue;
      for (const auto& entry : std::filesystem::directory_iterator(directory_ + root)) found.push_back(entry.path());
    }
    return found;
  }

  FakeCri fake_;
  std::string directory_, out_, err_;
  std::map<std::string, std::string> env_;
  bool err_is_terminal_ = false, in_is_terminal_ = false;
  int in_fd_ = -1, out_fd_ = -1, err_fd_ = -1;  // for what is streamed; -1: the program's own
  Session* session_ = nullptr;
};

}  // namespace berth::cli
