#include "cli/stream/upgrade.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace berth::cli::stream {
namespace {

constexpr size_t kMaxHeader = 16 * 1024;
constexpr size_t kMaxText = 2 * 1024;  // of an error that is shown
constexpr char kSpdy[] = "SPDY/3.1";

struct Answer {
  int code = 0;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case

  std::string Get(absl::string_view name) const {
    for (const auto& [key, value] : fields) {
      if (key == name) return value;
    }
    return "";
  }
};

absl::Status NotHttp(absl::string_view what) {
  return absl::InternalError(absl::StrCat("the streaming server's answer is no HTTP: ", what));
}

absl::Status WriteAll(int socket, absl::string_view data, absl::Time deadline) {
  while (!data.empty()) {
    ssize_t n = send(socket, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      data.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {
      RETURN_IF_ERROR(WaitFor(socket, POLLOUT, deadline));
    } else if (errno != EINTR) {
      return ErrnoError(errno, "the streaming server");
    }
  }
  return absl::OkStatus();
}

// Appends what arrives; false at the end of the connection.
absl::StatusOr<bool> ReadSome(int socket, std::string* into, absl::Time deadline) {
  for (;;) {
    char buffer[4096];
    ssize_t n = recv(socket, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) into->append(buffer, static_cast<size_t>(n));
    if (n >= 0) return n > 0;
    if (errno == EAGAIN) {
      RETURN_IF_ERROR(WaitFor(socket, POLLIN, deadline));
    } else if (errno != EINTR) {
      return ErrnoError(errno, "the streaming server");
    }
  }
}

bool IsToken(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("!#$%&'*+-.^_`|~", c);
  });
}

absl::StatusOr<Answer> ParseAnswer(absl::string_view head) {
  std::vector<absl::string_view> lines = absl::StrSplit(head, "\r\n");
  absl::string_view status = lines[0];
  Answer answer;
  bool good = (absl::StartsWith(status, "HTTP/1.1 ") || absl::StartsWith(status, "HTTP/1.0 ")) && status.size() >= 12 &&
              absl::SimpleAtoi(status.substr(9, 3), &answer.code) && answer.code >= 100 && answer.code <= 599 &&
              (status.size() == 12 || status[12] == ' ');
  if (!good) return NotHttp("its status line");
  answer.reason = std::string(absl::StripAsciiWhitespace(status.substr(12)));
  for (size_t i = 1; i < lines.size(); ++i) {
    size_t colon = lines[i].find(':');
    if (colon == absl::string_view::npos || !IsToken(lines[i].substr(0, colon))) return NotHttp("a header line");
    answer.fields.emplace_back(absl::AsciiStrToLower(lines[i].substr(0, colon)),
                               absl::StripAsciiWhitespace(lines[i].substr(colon + 1)));
  }
  return answer;
}

bool ListHas(absl::string_view list, absl::string_view word) {
  for (absl::string_view item : absl::StrSplit(list, ',')) {
    if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(item), word)) return true;
  }
  return false;
}

absl::StatusCode CodeFor(int http) {
  switch (http) {
    case 401:
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 429:
    case 503:
      return absl::StatusCode::kResourceExhausted;
    default:
      return absl::StatusCode::kInternal;
  }
}

// Reads the text of an error as far as it is there, and makes it one.
absl::Status Refusal(int socket, const Answer& answer, std::string text, absl::Time deadline) {
  size_t length = kMaxText;
  uint64_t announced = 0;
  if (absl::SimpleAtoi(answer.Get("content-length"), &announced)) length = std::min<uint64_t>(announced, kMaxText);
  if (!answer.Get("transfer-encoding").empty()) length = 0;
  while (text.size() < length) {
    auto more = ReadSome(socket, &text, deadline);
    if (!more.ok() || !*more) break;
  }
  text.resize(std::min(text.size(), length));
  absl::string_view words = absl::StripAsciiWhitespace(text);
  return absl::Status(CodeFor(answer.code), absl::StrCat("the streaming server refuses: ", answer.code, " ",
                                                         answer.reason, words.empty() ? "" : ": ", words));
}

}  // namespace

absl::StatusOr<std::string> Upgrade(int socket, const Url& url, absl::string_view protocol, absl::Time deadline) {
  RETURN_IF_ERROR(WriteAll(socket,
                           absl::StrCat("POST ", url.target, " HTTP/1.1\r\nHost: ", url.authority,
                                        "\r\nUser-Agent: berth\r\nConnection: Upgrade\r\nUpgrade: ", kSpdy,
                                        "\r\nX-Stream-Protocol-Version: ", protocol, "\r\nContent-Length: 0\r\n\r\n"),
                           deadline));
  std::string read;
  size_t end;
  while ((end = read.find("\r\n\r\n")) == std::string::npos) {
    if (read.size() > kMaxHeader) return NotHttp("its header has no end");
    ASSIGN_OR_RETURN(bool more, ReadSome(socket, &read, deadline));
    if (!more) return absl::UnavailableError("the streaming server closed the connection before it answered");
  }
  ASSIGN_OR_RETURN(Answer answer, ParseAnswer(absl::string_view(read).substr(0, end)));
  std::string early = read.substr(end + 4);
  if (answer.code != 101) return Refusal(socket, answer, std::move(early), deadline);
  if (!ListHas(answer.Get("connection"), "upgrade") || !absl::EqualsIgnoreCase(answer.Get("upgrade"), kSpdy)) {
    return absl::InternalError("the streaming server did not upgrade to SPDY/3.1");
  }
  std::string agreed = answer.Get("x-stream-protocol-version");
  if (agreed != protocol) {
    return absl::InternalError(absl::StrCat("the streaming server speaks ", agreed.empty() ? "no protocol" : agreed,
                                            " instead of ", protocol));
  }
  return early;
}

}  // namespace berth::cli::stream
