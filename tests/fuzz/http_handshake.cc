// The head of a request: what is decided of it, and what it is answered.
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "cri/streaming/handshake.h"
#include "tests/fuzz/require.h"

using namespace berth::streaming;

namespace {

// One head, without anything that a client could have put in.
void CheckResponse(absl::string_view response) {
  REQUIRE(absl::ConsumePrefix(&response, "HTTP/1.1 "));
  const size_t end = HeadSize(response);
  REQUIRE(end > 0);
  for (char c : response) REQUIRE(c == '\r' || c == '\n' || (c >= ' ' && c < 127));
  const absl::string_view body = response.substr(end);
  REQUIRE(body.empty() || body.find('\n') == body.size() - 1);
}

template <typename Choice>
bool Refused(const Choice& choice) {
  const auto* refusal = std::get_if<Refusal>(&choice);
  if (refusal == nullptr) return false;
  REQUIRE(refusal->status >= 400 && refusal->status < 500);
  CheckResponse(ResponseOf(*refusal));
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = HeadSize(bytes);
  if (end == 0 || end > kMaxHead) return 0;
  const auto head = ParseHead(bytes.substr(0, end));
  if (!head.ok()) return 0;
  const auto target = FindTarget(*head);
  if (Refused(target)) return 0;
  REQUIRE(PathOf(std::get<Target>(target).kind, std::get<Target>(target).token) == head->path);
  for (const Request& request : {Request(ExecRequest{}), Request(AttachRequest{}), Request(PortForwardRequest{})}) {
    const auto choice = ChooseUpgrade(*head, request);
    if (Refused(choice)) continue;
    const auto& upgrade = std::get<Upgrade>(choice);
    REQUIRE(!head->has_body);
    if (upgrade.carrier == Upgrade::Carrier::kSpdy) CheckResponse(SpdyResponse(upgrade));
    const bool forward = std::holds_alternative<PortForwardRequest>(request);
    REQUIRE(forward || upgrade.ports.empty());
    if (forward && upgrade.carrier == Upgrade::Carrier::kWebSocket) {
      REQUIRE(!upgrade.ports.empty() && upgrade.ports.size() <= kMaxWebSocketPorts);
      for (uint16_t port : upgrade.ports) REQUIRE(port != 0);
    }
  }
  return 0;
}
