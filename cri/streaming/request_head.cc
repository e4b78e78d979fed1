#include "cri/streaming/request_head.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstdint>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace berth::streaming {
namespace http = boost::beast::http;
namespace {

constexpr absl::string_view kEnd = "\r\n\r\n";

absl::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

absl::string_view RequestHead::Header(absl::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

bool RequestHead::Has(absl::string_view name) const {
  for (const auto& header : headers) {
    if (header.first == name) return true;
  }
  return false;
}

std::vector<std::string> RequestHead::List(absl::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [key, value] : headers) {
    if (key != name) continue;
    for (absl::string_view part : absl::StrSplit(value, ',')) {
      part = absl::StripAsciiWhitespace(part);
      if (!part.empty()) values.emplace_back(part);
    }
  }
  return values;
}

bool RequestHead::Lists(absl::string_view name, absl::string_view value) const {
  for (const std::string& one : List(name)) {
    if (absl::EqualsIgnoreCase(one, value)) return true;
  }
  return false;
}

size_t HeadSize(absl::string_view bytes) {
  const size_t at = bytes.find(kEnd);
  return at == absl::string_view::npos ? 0 : at + kEnd.size();
}

absl::StatusOr<RequestHead> ParseHead(absl::string_view head) {
  http::request_parser<http::empty_body> parser;
  parser.header_limit(kMaxHead + 1);
  parser.body_limit(std::numeric_limits<uint64_t>::max());  // a body is no error of the head's
  boost::system::error_code error;
  parser.put(boost::asio::buffer(head.data(), head.size()), error);
  if (error || !parser.is_header_done()) {
    return absl::InvalidArgumentError(absl::StrCat("not an HTTP request: ", error.message()));
  }
  const auto& message = parser.get();
  if (message.version() != 11) return absl::InvalidArgumentError("not HTTP/1.1");
  RequestHead out;
  out.method = std::string(View(message.method_string()));
  const std::string target(View(message.target()));
  const size_t mark = target.find('?');
  out.path = target.substr(0, mark);
  if (mark != std::string::npos) out.query = target.substr(mark + 1);
  for (const auto& field : message) {
    out.headers.emplace_back(absl::AsciiStrToLower(View(field.name_string())), View(field.value()));
  }
  const auto length = parser.content_length();
  out.has_body = parser.chunked() || (length && *length != 0);
  return out;
}

}  // namespace berth::streaming
