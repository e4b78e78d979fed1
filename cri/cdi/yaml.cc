#include "cri/cdi/yaml.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace berth::cdi {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxValues = 200000;

class Converter {
 public:
  absl::StatusOr<Json> Convert(const YAML::Node& node, int depth) {
    if (depth > kMaxDepth) return At(node, absl::StrCat("nested deeper than ", kMaxDepth));
    if (++values_ > kMaxValues) return At(node, absl::StrCat("more than ", kMaxValues, " values"));
    switch (node.Type()) {
      case YAML::NodeType::Map:
        return ConvertMap(node, depth);
      case YAML::NodeType::Sequence:
        return ConvertList(node, depth);
      case YAML::NodeType::Scalar: {
        // yaml-cpp gives plain scalars the tag "?".
        const std::string& text = node.Scalar();
        if (node.Tag() == "?" && (text.empty() || text == "~" || text == "null")) return Json();
        return Json(text);
      }
      default:
        return Json();
    }
  }

 private:
  static absl::Status At(const YAML::Node& node, absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("YAML line ", node.Mark().line + 1, ": ", what));
  }
  absl::StatusOr<Json> ConvertMap(const YAML::Node& node, int depth) {
    Json out = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) return At(entry.first, "a key that is no scalar");
      ASSIGN_OR_RETURN(Json value, Convert(entry.second, depth + 1));
      if (!out.emplace(entry.first.Scalar(), std::move(value)).second) {
        return At(entry.first, absl::StrCat("'", entry.first.Scalar(), "' is given twice"));
      }
    }
    return out;
  }
  absl::StatusOr<Json> ConvertList(const YAML::Node& node, int depth) {
    Json out = Json::array();
    for (const auto& item : node) {
      ASSIGN_OR_RETURN(Json value, Convert(item, depth + 1));
      out.push_back(std::move(value));
    }
    return out;
  }

  int values_ = 0;
};

absl::StatusOr<int64_t> ParseInt(absl::string_view text) {
  absl::string_view digits = text;
  const bool negative = absl::ConsumePrefix(&digits, "-");
  int base = 10;
  if (absl::ConsumePrefix(&digits, "0x")) {
    base = 16;
  } else if (absl::ConsumePrefix(&digits, "0o") || (digits.size() > 1 && digits[0] == '0')) {
    base = 8;
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size() || digits[0] == '-') {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not an integer"));
  }
  return negative ? -value : value;
}

}  // namespace

absl::StatusOr<Json> ParseYaml(absl::string_view text) {
  try {
    return Converter().Convert(YAML::Load(std::string(text)), 0);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("YAML line ", e.mark.line + 1, ": ", e.msg));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("invalid YAML: ", e.what()));
  }
}

absl::StatusOr<int64_t> IntOf(const Json& value) {
  if (value.is_string()) return ParseInt(value.get_ref<const std::string&>());
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return absl::InvalidArgumentError("an integer of more than 64 bits");
  }
  if (!value.is_number_integer()) return absl::InvalidArgumentError("expected an integer");
  return value.get<int64_t>();
}

}  // namespace berth::cdi
