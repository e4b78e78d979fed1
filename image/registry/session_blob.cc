// The blobs of a repository: whole, from where a transfer stopped, or in pieces.
#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "image/registry/session.h"

namespace berth::image {
namespace {

constexpr size_t kMaxRefusal = 64 << 10;  // the body of an answer that is none

}  // namespace

// On a 200 the blob begins anew and `skip` bytes are known already; on a 206 it must go on where we are.
absl::Status RegistrySession::CheckBlobHead(const HttpResponse& head, const BlobTransfer& transfer,
                                            uint64_t& skip) const {
  uint64_t length = 0;
  bool known = absl::SimpleAtoi(head.Header("content-length"), &length);
  if (head.status == 200) {
    skip = transfer.received;
    if (known && length > transfer.size) {
      return absl::DataLossError(absl::StrCat("blob ", transfer.digest, " from ", endpoint_.base.Authority(), " has ",
                                              length, " bytes instead of ", transfer.size));
    }
    return absl::OkStatus();
  }
  std::string expected = absl::StrCat("bytes ", transfer.received, "-");
  if (!absl::StartsWithIgnoreCase(head.Header("content-range"), expected)) {
    return absl::DataLossError(absl::StrCat("blob ", transfer.digest, " from ", endpoint_.base.Authority(),
                                            ": asked from byte ", transfer.received, " on, got '",
                                            absl::CHexEscape(head.Header("content-range").substr(0, 100)), "'"));
  }
  skip = 0;
  return absl::OkStatus();
}

absl::Status RegistrySession::GetBlob(BlobTransfer& transfer, const BlobSink& sink, const Cancelled& stopped) {
  if (transfer.received == transfer.size) return absl::OkStatus();
  Get get{.path = absl::StrCat("/blobs/", transfer.digest), .max_body = kMaxRefusal, .stopped = stopped};
  if (transfer.received > 0) get.headers.emplace_back("Range", absl::StrCat("bytes=", transfer.received, "-"));
  absl::Status sink_status;
  bool begun = false;
  uint64_t skip = 0;
  get.sink = [&](const HttpResponse& head, absl::string_view bytes) -> absl::Status {
    if (!begun) sink_status = CheckBlobHead(head, transfer, skip);
    begun = true;
    RETURN_IF_ERROR(sink_status);
    uint64_t known = std::min<uint64_t>(skip, bytes.size());
    skip -= known;
    bytes.remove_prefix(known);
    if (bytes.empty()) return absl::OkStatus();
    if (bytes.size() > transfer.size - transfer.received) {
      sink_status = absl::DataLossError(absl::StrCat("blob ", transfer.digest, " from ", endpoint_.base.Authority(),
                                                     " is longer than ", transfer.size, " bytes"));
    } else {
      sink_status = sink(bytes);
    }
    if (sink_status.ok()) transfer.received += bytes.size();
    return sink_status;
  };
  absl::StatusOr<HttpResponse> response = Send(get);
  RETURN_IF_ERROR(sink_status);
  RETURN_IF_ERROR(response);
  RETURN_IF_ERROR(StatusOfAnswer(*response, absl::StrCat("blob ", transfer.digest)));
  if (transfer.received == transfer.size) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("blob ", transfer.digest, " from ", endpoint_.base.Authority(),
                                          " ends after ", transfer.received, " of ", transfer.size, " bytes"));
}

absl::StatusOr<std::string> RegistrySession::GetRange(absl::string_view digest, uint64_t size, uint64_t from,
                                                      uint64_t length, const Cancelled& stopped) {
  const std::string range = absl::StrCat(from, "-", from + length - 1);
  const std::string what = absl::StrCat("blob ", digest, " from ", endpoint_.base.Authority());
  std::string out;
  out.reserve(length);
  Get get{.path = absl::StrCat("/blobs/", digest),
          .headers = {{"Range", "bytes=" + range}},
          .max_body = kMaxRefusal,
          .stopped = stopped};
  absl::Status refused;
  get.sink = [&](const HttpResponse& head, absl::string_view bytes) -> absl::Status {
    absl::string_view got = head.Header("content-range");
    if (head.status == 200) {
      refused = absl::UnimplementedError(absl::StrCat(what, " is not given in ranges"));
    } else if (got != absl::StrCat("bytes ", range, "/", size) && got != absl::StrCat("bytes ", range, "/*")) {
      refused = absl::DataLossError(absl::StrCat(what, ": asked for bytes ", range, " of ", size, ", got '",
                                                 absl::CHexEscape(got.substr(0, 100)), "'"));
    } else if (bytes.size() > length - out.size()) {
      refused = absl::DataLossError(absl::StrCat(what, ": more than the bytes ", range));
    } else {
      out.append(bytes.data(), bytes.size());
    }
    return refused;
  };
  absl::StatusOr<HttpResponse> response = Send(get);
  RETURN_IF_ERROR(refused);
  RETURN_IF_ERROR(response);
  RETURN_IF_ERROR(StatusOfAnswer(*response, absl::StrCat("blob ", digest)));
  if (out.size() != length) return absl::DataLossError(absl::StrCat(what, ": fewer than the bytes ", range));
  return out;
}

}  // namespace berth::image
