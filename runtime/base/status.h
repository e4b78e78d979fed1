// Errors are absl::Status values that carry an errno where the kernel gave one, and gain context on the way up.
// A bug CHECKs; what the world does wrong returns a status. Branch on codes (or ErrnoOf), never on text.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#ifdef BERTH_FAULTS
#include "runtime/base/fault.h"
#endif

namespace berth {

// "WHAT: strerror(err)" with the matching canonical code; ErrnoOf gives `err` back.
absl::Status ErrnoError(int err, absl::string_view what);

// The errno that ErrnoError recorded, also after Annotate; 0 when there is none.
int ErrnoOf(const absl::Status& status);

// Puts "CONTEXT: " in front of the message; keeps code and errno. An OK status stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

namespace internal {
inline const absl::Status& StatusOf(const absl::Status& s) { return s; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& s) {
  return s.status();
}
template <typename... Context>
absl::Status AnnotateAll(const absl::Status& status, const Context&... context) {
  if constexpr (sizeof...(context) == 0) {
    return status;
  } else {
    return Annotate(status, absl::StrCat(context...));
  }
}
}  // namespace internal
}  // namespace berth

#define BERTH_CONCAT_(a, b) a##b
#define BERTH_CONCAT(a, b) BERTH_CONCAT_(a, b)

#ifdef BERTH_FAULTS
// A place where a test may have the function fail instead of doing `text`.
#define BERTH_STEP_(text, ...)                                                                        \
  if (::berth::fault::control != nullptr) {                                                           \
    static constexpr ::berth::fault::Site site_ = {::berth::fault::InTree(__FILE__), __LINE__, text}; \
    if (auto fault_ = ::berth::fault::Pass(site_); !fault_.ok())                                      \
      return ::berth::internal::AnnotateAll(fault_ __VA_OPT__(, ) __VA_ARGS__);                       \
  }
#else
#define BERTH_STEP_(text, ...)
#endif

// RETURN_IF_ERROR(expr, context...): returns the error, with the context (StrCat pieces) in front of it.
#define RETURN_IF_ERROR(expr, ...)                                                                            \
  do {                                                                                                        \
    BERTH_STEP_(#expr __VA_OPT__(, ) __VA_ARGS__)                                                             \
    if (auto&& status_ = (expr); !status_.ok())                                                               \
      return ::berth::internal::AnnotateAll(::berth::internal::StatusOf(status_) __VA_OPT__(, ) __VA_ARGS__); \
  } while (0)

// ASSIGN_OR_RETURN(auto value, expr, context...): the value, or returns the error with the context in front.
#define ASSIGN_OR_RETURN(lhs, expr, ...)        \
  BERTH_STEP_(#expr __VA_OPT__(, ) __VA_ARGS__) \
  ASSIGN_OR_RETURN_(BERTH_CONCAT(result_, __LINE__), lhs, expr __VA_OPT__(, ) __VA_ARGS__)
#define ASSIGN_OR_RETURN_(result, lhs, expr, ...)                                                      \
  auto result = (expr);                                                                                \
  if (!result.ok()) return ::berth::internal::AnnotateAll(result.status() __VA_OPT__(, ) __VA_ARGS__); \
  lhs = std::move(result).value()
