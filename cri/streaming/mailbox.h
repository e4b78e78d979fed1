// How other threads reach an object of an io_context's thread that may be gone by then.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace berth::streaming {

class Mailbox {
 public:
  explicit Mailbox(boost::asio::io_context& io) : io_(&io) {}

  // Runs `work` on the io_context's thread, soon; drops it once the box is closed. From any thread.
  template <typename Work>
  void Post(Work work) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (io_ != nullptr) boost::asio::post(*io_, std::move(work));
  }
  // After this the io_context may end. What was posted before may still run.
  void Close() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    io_ = nullptr;
  }

 private:
  absl::Mutex mu_;
  boost::asio::io_context* io_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::streaming
