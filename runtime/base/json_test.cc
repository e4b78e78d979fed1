#include "runtime/base/json.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

TEST(Json, FieldsNameThemselvesWhenWrong) {
  auto doc = ParseJson(R"({"a":"x","n":5,"b":true,"l":["1"],"z":null,"big":18446744073709551615})");
  ASSERT_TRUE(doc.ok());
  EXPECT_EQ(*StringField(*doc, "a"), "x");
  EXPECT_EQ(*StringField(*doc, "z", "def"), "def");
  EXPECT_EQ(*IntField(*doc, "n"), 5);
  EXPECT_EQ(*BoolField(*doc, "b"), true);
  EXPECT_EQ(StringListField(*doc, "l")->size(), 1u);
  EXPECT_EQ(StringField(*doc, "n").status().message(), "field 'n': expected a string");
  EXPECT_FALSE(IntField(*doc, "big").ok());
}

TEST(Json, BrokenAndDeepDocumentsAreRefused) {
  EXPECT_EQ(ParseJson("{").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(ParseJson(std::string(100000, '[')).ok());
  EXPECT_FALSE(ParseJson(std::string(70, '[') + std::string(70, ']')).ok());
  EXPECT_TRUE(ParseJson(std::string(60, '[') + std::string(60, ']')).ok());
}

TEST(Json, BytesThatAreNotUtf8DoNotThrow) { EXPECT_FALSE(DumpJson(Json(std::string("\xff"))).empty()); }

}  // namespace
}  // namespace berth
