// Takes connections from a listening socket, on the thread of its io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::streaming {

class Listener : public std::enable_shared_from_this<Listener> {
 public:
  using OnConnection = std::function<void(sys::UniqueFd)>;  // non-blocking, close-on-exec

  Listener(boost::asio::io_context& io, sys::UniqueFd socket, OnConnection on_connection);
  void Start();
  // Takes no more. May be called on the thread of the io_context alone.
  void Stop();

 private:
  void Wait();
  void Accept();
  void Rest(const absl::Status& why);

  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer rest_;
  const OnConnection on_connection_;
  bool resting_ = false;
};

}  // namespace berth::streaming
