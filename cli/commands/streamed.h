// What exec and attach have in common: a session behind a URL, and the terminal that it is typed into.
#pragma once

#include <string>

#include "cli/session.h"
#include "cli/stream/spdy_client.h"

namespace berth::cli {

// The container that a word of the command line means, of those that there are now.
absl::StatusOr<ContainerInfo> FindContainer(CriClient& client, absl::string_view word);

// Connects to the session behind a URL of the daemon's and agrees on `protocol`.
absl::StatusOr<std::unique_ptr<stream::SpdyClient>> OpenStreams(Session& session, const std::string& url,
                                                                absl::string_view protocol);

struct Streamed {
  std::string url;
  StreamSet streams;        // what the URL was asked for with
  std::string detach_keys;  // bytes; looked for in what is typed into a terminal, if `streams.tty`
};

struct StreamedEnd {
  bool detached = false;
  bool cut = false;  // by a signal, or nobody reads the output any more
  int exit_code = 0;
  std::string failure;  // why the command did not start; the code is a shell's then, 126 or 127
};

// Runs it over session.io's descriptors. A terminal on stdin is raw meanwhile, if the command has one and `in`; it is
// as it was when this returns, when a signal ends or stops the program, and before anything else is printed.
absl::StatusOr<StreamedEnd> RunStreamed(Session& session, const Streamed& streamed);

}  // namespace berth::cli
