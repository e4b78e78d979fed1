// The head of an HTTP/1.1 request as plain values. The parsing is Boost.Beast's.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::streaming {

struct RequestHead {
  std::string method;
  std::string path, query;                                   // as sent; the query without its '?'
  std::vector<std::pair<std::string, std::string>> headers;  // in order, names in lower case
  bool has_body = false;

  // The first of that name (in lower case); empty when there is none.
  absl::string_view Header(absl::string_view name) const;
  bool Has(absl::string_view name) const;
  // All values of that name: headers may repeat, and hold several values between commas.
  std::vector<std::string> List(absl::string_view name) const;
  // Whether List(name) has `value`, whatever its case.
  bool Lists(absl::string_view name, absl::string_view value) const;
};

inline constexpr size_t kMaxHead = 16 * 1024;

// Where the head that `bytes` begin with ends, behind its empty line; 0 when it is not complete yet.
size_t HeadSize(absl::string_view bytes);

// `head` is HeadSize long. InvalidArgument when it is not HTTP/1.1.
absl::StatusOr<RequestHead> ParseHead(absl::string_view head);

}  // namespace berth::streaming
