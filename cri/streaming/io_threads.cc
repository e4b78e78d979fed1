#include "cri/streaming/io_threads.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

namespace berth::streaming {
namespace {

// For sessions to end once their streams are closed. All of them do; a daemon that ends does not wait on a mistake.
constexpr auto kGrace = std::chrono::seconds(5);

// Nothing here throws on purpose, but memory may be short, and libraries have their own mind: that is the end of one
// session, not of all containers' daemon.
template <typename Loop>
void Survive(Loop loop) {
  for (;;) {
    try {
      return loop();
    } catch (const std::exception& e) {
      spdlog::error("streaming: a session has ended by an exception: {}", e.what());
    }
  }
}

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
  Survive([this] { io.run(); });
  io.restart();
  CloseAll();
  work_.reset();
  const auto end = std::chrono::steady_clock::now() + kGrace;
  Survive([this, end] { io.run_until(end); });
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
