// The threads that connections live on, each with an io_context of its own.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "cri/streaming/byte_stream.h"

namespace berth::streaming {

class IoThreads {
 public:
  // One thread and what lives on it. Only `io` may be used from another thread, to post.
  class Lane {
   public:
    boost::asio::io_context io{1};
    // Closed when the threads end, if it still lives then.
    void Track(const std::shared_ptr<ByteStream>& stream);

   private:
    friend class IoThreads;
    // Asio opens an io_context's descriptors with its first user: from the start, so that there are always as many.
    boost::asio::steady_timer first_user_{io};
    void Run();
    void CloseAll();

    std::vector<std::weak_ptr<ByteStream>> streams_;
    size_t sweep_at_ = 64;  // streams_ are rid of the dead when they are so many
    bool closing_ = false;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ = boost::asio::make_work_guard(io);
    std::thread thread_;
  };

  explicit IoThreads(int threads);
  // Closes every stream, and waits until all that ran on them has ended: what they wait for is called meanwhile. What
  // does not end within some seconds is left as it is.
  ~IoThreads();
  IoThreads(const IoThreads&) = delete;
  IoThreads& operator=(const IoThreads&) = delete;

  Lane& first() { return *lanes_.front(); }
  Lane& Next();  // round robin; from any thread

 private:
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<size_t> next_ = 0;
};

}  // namespace berth::streaming
