// Bytes from a peer. The first byte of the input selects the role, how the rest is cut and what events are answered
// with.
#include <algorithm>

#include "tests/fuzz/spdy_host.h"

using namespace berth::streaming::spdy;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t choice = data[0];
  absl::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  SpdyHost host(choice % 2 == 0 ? Session::Role::kServer : Session::Role::kClient, choice);
  constexpr size_t kCuts[] = {1, 7, 100, 1 << 20};
  for (size_t step = kCuts[choice / 2 % 4]; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size()))) {
    if (choice % 2 == 1) host.Act(static_cast<uint8_t>(bytes.size()));
    if (!host.Receive(bytes.substr(0, step))) return 0;
  }
  return 0;
}
