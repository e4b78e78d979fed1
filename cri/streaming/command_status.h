// What the error channel of a command carries, and what its resize channel does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/streaming/backend.h"
#include "cri/streaming/session.h"
#include "runtime/base/status.h"

namespace berth::streaming {

// How a command ended, as the client is told. kJson: a metav1.Status of the Kubernetes API, where a code other than 0
// is a failure with the reason NonZeroExitCode and a cause ExitCode. kText: nothing for success, else a message.
std::string FormatCommandEnd(const absl::StatusOr<CommandEnd>& end, StatusFormat format);

struct WindowSize {
  uint16_t columns = 0, rows = 0;
};

// The stream of JSON objects {"Width":80,"Height":24}, cut anywhere. What is no such object is skipped.
class WindowSizeReader {
 public:
  // The last size that `bytes` complete, if any.
  bool Feed(absl::string_view bytes, WindowSize& size);

 private:
  static constexpr size_t kMostBytes = 1024;  // of one object
  std::string object_;
};

}  // namespace berth::streaming
