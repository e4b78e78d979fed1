// The end of a pod.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/shim/shim.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/procfs.h"

namespace berth::shim {

void Shim::BeginShutdown(PendingReply to) {
  finishing_ = true;
  shutdown_reply_ = to;
  for (const auto& [id, c] : containers_) Kill(*c);
  MaybeFinish();
}

// Ends the process when nothing is left that it is needed for.
void Shim::MaybeFinish() {
  if ((!finishing_ && !draining_) || done_) return;
  const bool alive = std::any_of(containers_.begin(), containers_.end(),
                                 [](const auto& c) { return c.second->state < PodContainer::State::kEnding; });
  if (alive) return;
  for (const auto& [id, c] : containers_) {
    // What still holds a log's pipe is about to be killed.
    if (c->state == PodContainer::State::kEnding) return Record(*c);
  }
  KillLeftovers();
  Answer(std::exchange(shutdown_reply_, {}), absl::OkStatus());
  for (const auto& [serial, daemon] : daemons_) {
    pollfd p = {daemon->fd(), POLLOUT, 0};
    if (daemon->wants_write() && poll(&p, 1, 1000) > 0) daemon->Flush().IgnoreError();
  }
  unlinkat(state_dir_.get(), "shim.sock", 0);
  done_ = true;
}

// The built-in init with all of its namespace, execs, and what was left to us as the subreaper.
void Shim::KillLeftovers() {
  if (init_.pidfd) sys::SignalPidfd(init_.pidfd.get(), SIGKILL).IgnoreError();
  const uint64_t deadline = StepTimer::Now() + 5000000000u;
  while (StepTimer::Now() < deadline) {
    // Our own unreaped children: their numbers cannot be another's.
    for (pid_t child : sys::ChildrenOf(start_.procfs.get(), getpid())) kill(child, SIGKILL);
    int reaped;
    while ((reaped = waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (reaped < 0) return;  // ECHILD
    poll(nullptr, 0, 1);
  }
}

}  // namespace berth::shim
