#include "cri/cdi/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::cdi {
namespace {

using testing::HasSubstr;

std::string ErrorOf(const std::string& text) { return std::string(ParseYaml(text).status().message()); }

TEST(YamlTest, ScalarsKeepTheirText) {
  auto json = ParseYaml("a: 0660\nb: \"0\"\nc: [x, ~, null, '', 1.50]\nd: {e: true}\nf:\n");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(DumpJson(*json), R"({"a":"0660","b":"0","c":["x",null,null,"","1.50"],"d":{"e":"true"},"f":null})");
}

TEST(YamlTest, ErrorsTellTheLine) {
  EXPECT_THAT(ErrorOf("a: 1\nb: [\n"), HasSubstr("YAML line 3"));
  EXPECT_THAT(ErrorOf("a: 1\na: 2\n"), HasSubstr("line 2: 'a' is given twice"));
  EXPECT_THAT(ErrorOf("? [x]\n: 1\n"), HasSubstr("no scalar"));
  EXPECT_THAT(ErrorOf("a: \tb: c\n\t- x"), HasSubstr("YAML"));
}

TEST(YamlTest, NeitherDepthNorAliasesOverflow) {
  EXPECT_THAT(ErrorOf(std::string(100, '[') + std::string(100, ']')), HasSubstr("nested deeper"));
  EXPECT_FALSE(ParseYaml(std::string(100000, '[')).ok());
  EXPECT_FALSE(ParseYaml("&a [*a]").ok());
  std::string bomb = "a0: &a0 [x]\n";
  for (int i = 1; i < 12; ++i) {
    absl::StrAppend(&bomb, "a", i, ": &a", i, " [");
    for (int j = 0; j < 10; ++j) absl::StrAppend(&bomb, "*a", i - 1, ",");
    bomb += "x]\n";
  }
  EXPECT_THAT(ErrorOf(bomb), HasSubstr("more than"));
}

TEST(YamlTest, Integers) {
  for (auto [text, want] : {std::pair<const char*, int64_t>{"10", 10},
                            {"0660", 0660},
                            {"0o660", 0660},
                            {"0x1F", 31},
                            {"0", 0},
                            {"-5", -5}}) {
    auto got = IntOf(Json(text));
    ASSERT_TRUE(got.ok()) << text;
    EXPECT_EQ(*got, want) << text;
  }
  for (const char* text : {"", "-", "x", "08", "1.5", "0x", "99999999999999999999", "--1", " 1"}) {
    EXPECT_FALSE(IntOf(Json(text)).ok()) << text;
  }
  EXPECT_EQ(*IntOf(Json(7)), 7);
  EXPECT_FALSE(IntOf(Json(1.5)).ok());
  EXPECT_FALSE(IntOf(Json(UINT64_MAX)).ok());
  EXPECT_FALSE(IntOf(Json()).ok());
}

}  // namespace
}  // namespace berth::cdi
