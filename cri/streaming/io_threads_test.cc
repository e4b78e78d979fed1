#include "cri/streaming/io_threads.h"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <future>
#include <stdexcept>

namespace berth::streaming {
namespace {

TEST(IoThreads, AnExceptionEndsNoThread) {
  IoThreads threads(1);
  std::promise<void> ran;
  boost::asio::post(threads.first().io, [] { throw std::runtime_error("thrown by a test"); });
  boost::asio::post(threads.first().io, [&] { ran.set_value(); });
  ran.get_future().wait();
}

}  // namespace
}  // namespace berth::streaming
