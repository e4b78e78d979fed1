// A PodShim over a connected socket.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "runtime/base/timed_condition.h"
#include "runtime/client/reactor.h"
#include "runtime/client/shim_client.h"
#include "runtime/shim/wire.h"

namespace berth::client {

class ShimConnection final : public PodShim, public std::enable_shared_from_this<ShimConnection> {
 public:
  // `socket` is connected, and the answer to request 1, the Hello, is on its way. Waits for it until `deadline`;
  // then the shim is known, and its events are delivered. Unavailable when the shim is gone or was never there; the
  // shim's own error when it could not start. FailedPrecondition when it is another pod's.
  static absl::StatusOr<std::shared_ptr<ShimConnection>> Open(std::shared_ptr<Reactor> reactor, ShimEvents events,
                                                              PodId id, sys::UniqueFd socket, const Deadline& deadline,
                                                              absl::Duration call_timeout);
  ~ShimConnection() override;

  const PodId& id() const override { return id_; }
  int pid() const override { return pid_; }
  absl::StatusOr<sys::UniqueFd> OpenNetns() override;
  absl::StatusOr<sys::UniqueFd> OpenUserns() override;
  absl::StatusOr<shim::v1::CreateReply> Create(const shim::v1::ContainerPlan& plan, absl::Span<const int> fds) override;
  absl::StatusOr<shim::v1::StartReply> Start(const ContainerId& id) override;
  absl::Status Signal(const ContainerId& id, int signal, bool all) override;
  absl::StatusOr<StartedExec> Exec(const shim::v1::ExecPlan& plan, absl::Span<const int> fds,
                                   std::function<void(absl::StatusOr<ExecOutcome>)> done) override;
  absl::Status KillExec(uint64_t exec_id) override;
  absl::Status HangUpExec(uint64_t exec_id, absl::Duration grace) override;
  absl::StatusOr<Attached> Attach(const ContainerId& id, int stdout_pipe, int stderr_pipe, bool input,
                                  std::function<void(absl::StatusOr<AttachOutcome>)> done) override;
  absl::Status EndInput(uint64_t attach_id) override;
  absl::Status Detach(uint64_t attach_id) override;
  absl::Status ReopenLog(const ContainerId& id, int directory) override;
  absl::Status Remove(const ContainerId& id) override;
  absl::StatusOr<std::vector<shim::v1::ContainerFact>> State(absl::Duration patience) override;
  bool lost() const override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }
  absl::Status Shutdown() override;

  // Fails what waits and stops delivering. Called by the launcher when it ends.
  void Abandon() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Gets the event that says how an exec or an attachment ended.
  using Ended = std::function<void(absl::StatusOr<shim::v1::Reply>)>;
  struct Answer {
    shim::v1::Reply reply;
    std::vector<sys::UniqueFd> fds;  // beside it
  };
  struct Pending {
    std::optional<Answer> answer;
    Ended ended;  // of an Exec or Attach: moves to open_ with the answer
  };

  ShimConnection(std::shared_ptr<Reactor> reactor, ShimEvents events, PodId id, sys::UniqueFd socket,
                 absl::Duration call_timeout)
      : reactor_(std::move(reactor)),
        events_(std::move(events)),
        id_(std::move(id)),
        call_timeout_(call_timeout),
        socket_(std::move(socket)) {}

  absl::Status ReadHello(const Deadline& deadline);
  absl::StatusOr<Answer> Call(shim::v1::Request request, absl::Span<const int> fds, absl::Duration timeout,
                              Ended ended = nullptr) ABSL_LOCKS_EXCLUDED(mutex_, send_mutex_);
  // With the usual timeout, for the status alone.
  absl::Status Ask(shim::v1::Request request);
  // Waits until it is sent, not for the answer.
  absl::Status Tell(shim::v1::Request request) ABSL_LOCKS_EXCLUDED(mutex_, send_mutex_);
  absl::Status Send(const shim::v1::Request& request, absl::Span<const int> fds, const Deadline& deadline)
      ABSL_LOCKS_EXCLUDED(send_mutex_);

  // On the reactor's thread.
  void OnReadable() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnAnswer(Answer answer) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnLateAnswer(const shim::v1::Reply& reply) ABSL_LOCKS_EXCLUDED(mutex_, send_mutex_);
  void OnEnded(uint64_t id, shim::v1::Reply event) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnLost() ABSL_LOCKS_EXCLUDED(mutex_);
  // No more calls. Tells those who wait for the end of what nobody will hear of again.
  void Close(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::shared_ptr<Reactor> reactor_;
  const ShimEvents events_;
  const PodId id_;
  const absl::Duration call_timeout_;
  int pid_ = 0;
  sys::UniqueFd pidfd_;
  sys::UniqueFd userns_;
  shim::MessageReader reader_;  // the reactor's thread only
  std::atomic<uint64_t> watch_{0};

  // Taken before mutex_, never the other way round.
  absl::Mutex send_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // packets of one message stay together
  mutable absl::Mutex mutex_;
  TimedCondition answered_;
  const sys::UniqueFd socket_;
  uint64_t next_seq_ ABSL_GUARDED_BY(mutex_) = 2;
  std::map<uint64_t, Pending> pending_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Ended> open_ ABSL_GUARDED_BY(mutex_);  // execs and attachments, by the shim's number
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool shutting_down_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace berth::client
