// How calls that block run behind gRPC's callback API: on a pool, with a log line each. Included by the services alone.
#pragma once

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cri/pod/engine.h"
#include "cri/pod/worker_pool.h"
#include "cri/service/stream.h"
#include "runtime/base/status.h"

namespace berth::service {

inline grpc::Status ToGrpc(const absl::Status& s) {
  // absl's codes are gRPC's, number by number.
  return grpc::Status(static_cast<grpc::StatusCode>(s.code()), std::string(s.message()));
}

// Valid until the call is finished.
inline pod::CallContext ContextOf(grpc::CallbackServerContext* context) {
  // By the clock that the deadline was computed from: absl's may lag behind one that was set.
  const absl::Duration left = absl::FromChrono(context->deadline() - std::chrono::system_clock::now());
  return {Deadline::In(left), [context] { return context->IsCancelled(); }};
}

// `work` with its outcome in the log.
template <typename Work>
absl::Status RunLogged(const char* name, Work work) {
  const auto begin = std::chrono::steady_clock::now();
  absl::Status status = work();
  spdlog::log(status.ok() ? spdlog::level::debug : spdlog::level::warn, "{} {} in {:.1f} ms", name,
              status.ok() ? "OK" : status.ToString(),
              std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  return status;
}

// Runs a call's work(context) on a pool and answers when it is done.
template <typename Work>
grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, pod::WorkerPool& pool, const char* name,
                                Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::Status posted = pool.Post([context, reactor, name, work] {
    reactor->Finish(ToGrpc(RunLogged(name, [&] { return work(ContextOf(context)); })));
  });
  if (!posted.ok()) reactor->Finish(ToGrpc(posted));
  return reactor;
}

// One write is under way at a time. gRPC may call back in the thread that starts an operation, so none is started under
// the lock. Deletes itself when gRPC is done with it.
template <typename Response>
class ResponseStream final : public grpc::ServerWriteReactor<Response>, public Writer<Response> {
 public:
  bool Write(Response message) override ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &ResponseStream::Idle));
      if (gone_) return false;
      message_ = std::move(message);
      writing_ = true;
    }
    this->StartWrite(&message_);
    return true;
  }

  // After the last write, once; the stream must not be touched any more.
  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &ResponseStream::Idle));
    }
    this->Finish(ToGrpc(status));
  }

  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    gone_ = gone_ || !ok;
  }
  void OnCancel() override ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    gone_ = true;
  }
  void OnDone() override { delete this; }

 private:
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !writing_; }

  absl::Mutex mu_;
  Response message_;  // gRPC's while writing_
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool gone_ ABSL_GUARDED_BY(mu_) = false;
};

// Runs work(context, writer) on a pool and ends the stream with its status.
template <typename Response, typename Work>
grpc::ServerWriteReactor<Response>* ServerStreaming(grpc::CallbackServerContext* context, pod::WorkerPool& pool,
                                                    const char* name, Work work) {
  auto* stream = new ResponseStream<Response>;
  absl::Status posted = pool.Post([context, stream, name, work] {
    stream->End(RunLogged(name, [&] { return work(ContextOf(context), *stream); }));
  });
  if (!posted.ok()) stream->End(posted);
  return stream;
}

// Likewise for what a client sends: one read is under way or its message waits.
template <typename Request>
class RequestStream final : public grpc::ServerReadReactor<Request>, public Reader<Request> {
 public:
  RequestStream() { this->StartRead(&next_); }

  bool Read(Request* message) override ABSL_LOCKS_EXCLUDED(mu_) {
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &RequestStream::Idle));
      if (ended_) return false;
      *message = std::move(next_);
      reading_ = true;
    }
    this->StartRead(&next_);
    return true;
  }

  // Once; what was not read is dropped. The stream must not be touched any more.
  void End(const absl::Status& status) { this->Finish(ToGrpc(status)); }

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    reading_ = false;
    ended_ = !ok;
  }
  void OnDone() override { delete this; }

 private:
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !reading_; }

  absl::Mutex mu_;
  Request next_;  // gRPC's while reading_
  bool reading_ ABSL_GUARDED_BY(mu_) = true;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

// Runs work(context, reader) on a pool and answers when it is done, whether or not all was read.
template <typename Request, typename Work>
grpc::ServerReadReactor<Request>* ClientStreaming(grpc::CallbackServerContext* context, pod::WorkerPool& pool,
                                                  const char* name, Work work) {
  auto* stream = new RequestStream<Request>;
  absl::Status posted = pool.Post([context, stream, name, work] {
    stream->End(RunLogged(name, [&] { return work(ContextOf(context), *stream); }));
  });
  if (!posted.ok()) stream->End(posted);
  return stream;
}

}  // namespace berth::service
