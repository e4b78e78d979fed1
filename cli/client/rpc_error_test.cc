#include "cli/client/rpc_error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace berth::cli {
namespace {

TEST(RpcError, KeepsTheCodeAndSaysItOnce) {
  EXPECT_TRUE(RpcError(0, "ignored").ok());
  absl::Status status = RpcError(5, "no manifest");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "not found: no manifest");
  EXPECT_EQ(RpcError(5, "Not found: x").message(), "Not found: x");
  EXPECT_EQ(RpcError(5, "").message(), "not found");
  EXPECT_EQ(RpcError(99, "x").message(), "unknown error: x");
  EXPECT_EQ(RpcError(-1, "x").code(), absl::StatusCode::kUnknown);
}

TEST(RpcError, EveryCodeHasWords) {
  for (int code = 1; code <= 16; ++code) {
    EXPECT_EQ(static_cast<int>(RpcError(code, "m").code()), code);
    EXPECT_EQ(CodeInWords(static_cast<absl::StatusCode>(code)) == "unknown error", code == 2) << code;
  }
}

TEST(CannotReach, SaysWhatToDo) {
  EXPECT_EQ(CannotReach("/s", ECONNREFUSED).message(),
            "cannot reach berthd at /s: is it running? (systemctl status berthd)");
  EXPECT_EQ(CannotReach("/s", ENOENT).message(), CannotReach("/s", ECONNREFUSED).message());
  EXPECT_EQ(CannotReach("/s", EACCES).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(CannotReach("/s", ENOTSOCK).message(), "cannot reach berthd at /s: Socket operation on non-socket");
}

}  // namespace
}  // namespace berth::cli
