#include "runtime/base/status.h"

#include <cstring>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"

namespace berth {
namespace {

constexpr absl::string_view kErrnoPayload = "berth/errno";

// strerror is not thread-safe and its GNU sibling may ignore the buffer; one place deals with it.
std::string Describe(int err) {
  char buf[128];
  return strerror_r(err, buf, sizeof buf);
}

}  // namespace

absl::Status ErrnoError(int err, absl::string_view what) {
  absl::StatusCode code = absl::ErrnoToStatusCode(err);
  // absl has none for EIO and the like; that something is amiss with this machine is known.
  if (code == absl::StatusCode::kUnknown) code = absl::StatusCode::kInternal;
  absl::Status status(code, absl::StrCat(what, ": ", Describe(err)));
  status.SetPayload(kErrnoPayload, absl::Cord(absl::StrCat(err)));
  return status;
}

int ErrnoOf(const absl::Status& status) {
  auto payload = status.GetPayload(kErrnoPayload);
  int err = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &err)) return 0;
  return err;
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok() || context.empty()) return status;
  absl::string_view sep = absl::EndsWith(context, ": ") ? "" : ": ";
  absl::Status out(status.code(), absl::StrCat(context, sep, status.message()));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) { out.SetPayload(type, payload); });
  return out;
}

}  // namespace berth
