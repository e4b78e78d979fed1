#include "cri/streaming/io_threads.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

namespace berth::streaming {

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

IoThreads::IoThreads(int threads) {
  for (int i = 0; i < threads; ++i) {
    lanes_.push_back(std::make_unique<Lane>());
    Lane& lane = *lanes_.back();
    lane.thread_ = std::thread([&lane] { lane.io.run(); });
  }
}

IoThreads::~IoThreads() {
  for (auto& lane : lanes_) {
    boost::asio::post(lane->io, [&lane = *lane] {
      lane.CloseAll();
      lane.work_.reset();
    });
  }
  for (auto& lane : lanes_) lane->thread_.join();
}

IoThreads::Lane& IoThreads::Next() { return *lanes_[next_++ % lanes_.size()]; }

}  // namespace berth::streaming
