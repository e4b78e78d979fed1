// berth: the command line.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>
#include <thread>

#include "cli/app.h"
#include "cli/session.h"

namespace {

// What the signal does by default, with our threads: all of them stop.
void StopAsUsual() {
  sigset_t stop, before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTSTP);
  raise(SIGTSTP);
  pthread_sigmask(SIG_UNBLOCK, &stop, &before);  // here it stops, and here it goes on
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// A signal ends the program, unless the command handles it or has something to undo: then a first one cancels what is
// under way.
void WatchSignals(berth::cli::Session& session, const sigset_t& signals) {
  for (bool again = false;;) {
    int number = 0;
    if (sigwait(&signals, &number) != 0) continue;
    bool ends = number != SIGWINCH && number != SIGCONT && number != SIGTSTP;
    bool handled = !(ends && again) && session.Signal(number);
    if (number == SIGTSTP) StopAsUsual();
    if (!ends) continue;
    if (!handled && (again || !session.undo_on_signal())) _exit(128 + number);
    if (!handled) session.Interrupt();
    again = true;
  }
}

berth::cli::TerminalSize SizeOfStderr() {
  struct winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {.columns = size.ws_col, .rows = size.ws_row};
}

// One of the three that is closed would be some socket of ours, into which a container's output went.
void OpenStandardStreams() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", O_RDWR);
  }
}

}  // namespace

int main(int argc, char** argv) {
  OpenStandardStreams();
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH}) sigaddset(&signals, number);
  // Before the first thread, so that all inherit it.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::ios::sync_with_stdio(false);
  berth::cli::Streams streams{std::cin,    std::cout, std::cerr, isatty(STDERR_FILENO) == 1, isatty(STDIN_FILENO) == 1,
                              SizeOfStderr};
  streams.out_is_terminal = isatty(STDOUT_FILENO) == 1;
  berth::cli::Session session(streams, [](const char* name) -> const char* { return getenv(name); });
  std::thread([&] { WatchSignals(session, signals); }).detach();
  int code = berth::cli::RunBerth({argv + 1, argv + argc}, session);
  std::cout.flush();
  // The signal thread still waits on what is on this stack, and gRPC's threads need no farewell.
  _exit(std::cout ? code : berth::cli::kExitFailure);
}
