#include "cri/streaming/io_threads.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace berth::streaming {
namespace {

// For sessions to end once their streams are closed. All of them do; a daemon that ends does not wait on a mistake.
constexpr auto kGrace = std::chrono::seconds(5);

}  // namespace

void IoThreads::Lane::Track(const std::shared_ptr<ByteStream>& stream) {
  if (closing_) return stream->Close();
  if (streams_.size() >= sweep_at_) {
    std::erase_if(streams_, [](const std::weak_ptr<ByteStream>& one) { return one.expired(); });
    sweep_at_ = std::max<size_t>(64, 2 * streams_.size());
  }
  streams_.push_back(stream);
}

void IoThreads::Lane::CloseAll() {
  closing_ = true;
  for (const auto& one : std::exchange(streams_, {})) {
    if (auto stream = one.lock()) stream->Close();
  }
}

void IoThreads::Lane::Run() {
  io.run();
  io.restart();
  CloseAll();
  work_.reset();
  io.run_for(kGrace);
}

IoThreads::IoThreads(int threads) {
  for (int i = 0; i < threads; ++i) {
    lanes_.push_back(std::make_unique<Lane>());
    Lane& lane = *lanes_.back();
    lane.thread_ = std::thread([&lane] { lane.Run(); });
  }
}

IoThreads::~IoThreads() {
  for (auto& lane : lanes_) lane->io.stop();
  for (auto& lane : lanes_) lane->thread_.join();
}

IoThreads::Lane& IoThreads::Next() { return *lanes_[next_++ % lanes_.size()]; }

}  // namespace berth::streaming
