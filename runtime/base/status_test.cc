#include "runtime/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace berth {
namespace {

TEST(Status, ErrnoSurvivesContext) {
  absl::Status s = Annotate(Annotate(ErrnoError(ENOENT, "open 'x'"), "config: "), "start");
  EXPECT_EQ(s.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrnoOf(s), ENOENT);
  EXPECT_EQ(s.message(), "start: config: open 'x': No such file or directory");
  EXPECT_EQ(ErrnoOf(absl::OkStatus()), 0);
  EXPECT_EQ(ErrnoOf(absl::InternalError("no errno")), 0);
}

TEST(Status, WhatFailsIsNeverUnknown) {
  EXPECT_EQ(ErrnoError(EIO, "read").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ErrnoOf(ErrnoError(EIO, "read")), EIO);
}

absl::StatusOr<int> Half(int n) {
  if (n % 2) return absl::InvalidArgumentError(absl::StrCat(n, " is odd"));
  return n / 2;
}

absl::StatusOr<int> Quarter(int n) {
  ASSIGN_OR_RETURN(int half, Half(n));
  ASSIGN_OR_RETURN(int quarter, Half(half), "half of ", n);
  return quarter;
}

absl::Status Check(int n) {
  RETURN_IF_ERROR(Quarter(n), "check");
  return absl::OkStatus();
}

TEST(Status, MacrosReturnTheErrorWithContext) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(7).status().message(), "7 is odd");
  EXPECT_EQ(Quarter(6).status().message(), "half of 6: 3 is odd");
  EXPECT_EQ(Check(6).message(), "check: half of 6: 3 is odd");
  EXPECT_TRUE(Check(4).ok());
}

}  // namespace
}  // namespace berth
