#include "cri/streaming/command_status.h"

#include <gtest/gtest.h>

#include "runtime/base/json.h"

namespace berth::streaming {
namespace {

TEST(FormatCommandEnd, SuccessIsAStatusWithoutReason) {
  EXPECT_EQ(*ParseJson(FormatCommandEnd(CommandEnd{0}, StatusFormat::kJson)),
            (Json{{"metadata", Json::object()}, {"status", "Success"}}));
  EXPECT_EQ(FormatCommandEnd(CommandEnd{0}, StatusFormat::kText), "");
}

// What client-go reads the code from: reason, and the message of the cause ExitCode.
TEST(FormatCommandEnd, AFailingCommandTellsItsCode) {
  const Json status = *ParseJson(FormatCommandEnd(CommandEnd{137}, StatusFormat::kJson));
  EXPECT_EQ(status["status"], "Failure");
  EXPECT_EQ(status["reason"], "NonZeroExitCode");
  EXPECT_EQ(status["details"]["causes"][0]["reason"], "ExitCode");
  EXPECT_EQ(status["details"]["causes"][0]["message"], "137");
  EXPECT_EQ(FormatCommandEnd(CommandEnd{137}, StatusFormat::kText), "command terminated with non-zero exit code: 137");
}

TEST(FormatCommandEnd, AnErrorIsTheServersOwn) {
  const Json status =
      *ParseJson(FormatCommandEnd(absl::NotFoundError("exec: \"a\xff\": not found"), StatusFormat::kJson));
  EXPECT_EQ(status["status"], "Failure");
  EXPECT_EQ(status["reason"], "InternalError");
  EXPECT_EQ(status["code"], 404);
  EXPECT_EQ(status["message"], "exec: \"a\xEF\xBF\xBD\": not found");
}

// A client tells by it what a shell tells by 127 and 126.
TEST(FormatCommandEnd, AnErrorHasTheHttpCodeOfItsKind) {
  const auto code = [](const absl::Status& end) {
    return (*ParseJson(FormatCommandEnd(end, StatusFormat::kJson)))["code"];
  };
  EXPECT_EQ(code(absl::NotFoundError("x")), 404);
  EXPECT_EQ(code(absl::PermissionDeniedError("x")), 403);
  EXPECT_EQ(code(absl::UnavailableError("x")), 500);
}

struct Case {
  const char* name;
  std::string text;
  int columns, rows;  // 0: none is found
};

class WindowSizes : public testing::TestWithParam<Case> {};

TEST_P(WindowSizes, CutAnywhere) {
  for (size_t cut = 0; cut <= GetParam().text.size(); ++cut) {
    WindowSizeReader reader;
    WindowSize size;
    bool found = reader.Feed(GetParam().text.substr(0, cut), size);
    found |= reader.Feed(GetParam().text.substr(cut), size);
    EXPECT_EQ(found, GetParam().columns != 0) << cut;
    EXPECT_EQ(size.columns, GetParam().columns) << cut;
    EXPECT_EQ(size.rows, GetParam().rows) << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(All, WindowSizes,
                         testing::Values(Case{"one", "{\"Width\":80,\"Height\":24}\n", 80, 24},
                                         Case{"last", "{\"Width\":80,\"Height\":24}\n{\"Width\":132,\"Height\":43}\n",
                                              132, 43},
                                         Case{"zero", "{\"Width\":0,\"Height\":24}", 0, 0},
                                         Case{"large", "{\"Width\":65536,\"Height\":24}", 0, 0},
                                         Case{"negative", "{\"Width\":-1,\"Height\":24}", 0, 0},
                                         Case{"text", "{\"Width\":\"80\",\"Height\":24}", 0, 0},
                                         Case{"noise", "}}{[]}{\"Width\":80,\"Height\":24}", 80, 24},
                                         Case{"endless", std::string(4000, '{') + std::string(4000, 'x') + "}", 0, 0}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace berth::streaming
