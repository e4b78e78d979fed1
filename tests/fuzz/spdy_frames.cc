// Frames from a peer, well-formed, in any order and for any streams, and what we do between them. The first byte
// selects the role and what events are answered with. Then each step has three bytes: what, for which stream, and how
// much.
#include "tests/fuzz/spdy_host.h"

using namespace berth::streaming::spdy;

namespace {

class Peer {
 public:
  std::string Frame(uint8_t what, uint8_t which, uint8_t much) {
    const StreamId id = which % 64;
    const uint8_t flags = which / 64;
    std::string out;
    switch (what) {
      case 0:
        AppendSynStream(out, {.stream = id, .headers = Block(much)}, flags);
        break;
      case 1:
        AppendSynStream(out, {.stream = next_ += 2, .headers = Block(much)}, flags);
        break;
      case 2:
        AppendSynStream(out, {.stream = next_ += which, .headers = Block(much)}, 0);
        break;
      case 3:
        AppendStreamHeaders(out, FrameType::kSynReply, {.stream = id, .headers = Block(much)}, flags);
        break;
      case 4:
        AppendStreamHeaders(out, FrameType::kHeaders, {.stream = id, .headers = Block(much)}, flags);
        break;
      case 5:
        AppendRstStream(out, {.stream = id, .status = RstStatus{much}});
        break;
      case 6:
        AppendSettings(out,
                       {{.id = which, .value = much}, {.id = kInitialWindow, .value = uint32_t{much} << flags * 8}});
        break;
      case 7:
        AppendPing(out, much);
        break;
      case 8:
        AppendGoAway(out, {.last_good = id, .status = GoAwayStatus{much}});
        break;
      case 9:
        AppendWindowUpdate(out, {.stream = id, .delta = uint32_t{much} << flags * 8});
        break;
      case 10:
        AppendWindowUpdate(out, {.stream = id, .delta = kMax31 - much});
        break;
      default: {
        const size_t size = what == 11 ? 0 : what == 12 ? much : much * 64;
        const auto header = DataHeader(id, static_cast<uint32_t>(size), (flags & kFin) != 0);
        out.assign(header.data(), header.size());
        out.append(size, 'x');
      }
    }
    return out;
  }
  static constexpr uint8_t kFrames = 14;

  explicit Peer(StreamId first) : next_(first) {}

 private:
  std::string Block(uint8_t what) {
    Headers headers;
    for (int i = 0; i < what % 16; ++i) headers.emplace_back(absl::StrCat("name", i % (what / 16 + 1)), "value");
    return deflater_.Deflate(FormatHeaders(headers));
  }

  StreamId next_;
  HeaderDeflater deflater_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const bool server = data[0] % 2 == 0;
  SpdyHost host(server ? Session::Role::kServer : Session::Role::kClient, data[0]);
  Peer peer(server ? StreamId(-1) : 0);
  for (size_t at = 1; at + 3 <= size; at += 3) {
    const uint8_t what = data[at] % 24;
    if (what >= Peer::kFrames) {
      host.Act(data[at + 1]);
      continue;
    }
    const std::string frame = peer.Frame(what, data[at + 1], data[at + 2]);
    const size_t cut = data[at] / 24 * frame.size() / 10;
    if (!host.Receive(absl::string_view(frame).substr(0, cut))) return 0;
    if (cut > 0) host.Act(data[at + 2]);
    if (!host.Receive(absl::string_view(frame).substr(cut))) return 0;
  }
  return 0;
}
