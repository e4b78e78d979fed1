#include "image/trust/policy.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "image/trust/strict_json.h"

namespace berth::image {
namespace {

using Kind = Requirement::Kind;

absl::Status Bad(absl::string_view where, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", why));
}

absl::Status AddPath(const Json& json, const std::string& where, Requirement& out) {
  if (!json.is_string() || !absl::StartsWith(json.get_ref<const std::string&>(), "/")) {
    return Bad(where, "expected an absolute path");
  }
  out.key_paths.push_back(json.get<std::string>());
  return absl::OkStatus();
}

absl::Status AddData(const Json& json, const std::string& where, Requirement& out) {
  std::string pem;
  if (!json.is_string() || !absl::Base64Unescape(json.get_ref<const std::string&>(), &pem) || pem.empty()) {
    return Bad(where, "expected a public key in base64");
  }
  out.keys.push_back(std::move(pem));
  return absl::OkStatus();
}

// The four ways of naming keys; exactly one is used.
absl::Status ReadKeys(const Json& json, Requirement& out) {
  struct Way {
    const char* field;
    bool is_list;
    absl::Status (*add)(const Json&, const std::string&, Requirement&);
  };
  constexpr Way kWays[] = {{"keyPath", false, AddPath},
                           {"keyPaths", true, AddPath},
                           {"keyData", false, AddData},
                           {"keyDatas", true, AddData}};
  int ways = 0;
  for (const Way& way : kWays) {
    auto field = json.find(way.field);
    if (field == json.end()) continue;
    ++ways;
    const std::string place = absl::StrCat(out.where, ".", way.field);
    if (!way.is_list) {
      RETURN_IF_ERROR(way.add(*field, place, out));
      continue;
    }
    if (!field->is_array() || field->empty()) return Bad(place, "expected a list that is not empty");
    for (size_t i = 0; i < field->size(); ++i) {
      RETURN_IF_ERROR(way.add((*field)[i], absl::StrCat(place, "[", i, "]"), out));
    }
  }
  if (ways != 1) return Bad(out.where, "exactly one of keyPath, keyPaths, keyData and keyDatas is needed");
  return absl::OkStatus();
}

absl::Status ReadSigstoreSigned(const Json& json, Requirement& out) {
  constexpr const char* kUncheckedFields[] = {
      "fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"};
  RETURN_IF_ERROR(
      CheckKeys(json, out.where,
                {"type", "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki", "rekorPublicKeyPath",
                 "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas", "signedIdentity"}));
  if (auto identity = json.find("signedIdentity"); identity != json.end()) {
    ASSIGN_OR_RETURN(out.identity, ParseSignedIdentity(*identity, out.where + ".signedIdentity"));
  }
  for (const char* field : kUncheckedFields) {
    if (!json.contains(field)) continue;
    out.kind = Kind::kUnsupported;
    absl::StrAppend(&out.type, " with ", field);
    return absl::OkStatus();
  }
  out.kind = Kind::kSigstoreSigned;
  return ReadKeys(json, out);
}

absl::StatusOr<Requirement> ReadRequirement(const Json& json, std::string where) {
  if (!json.is_object()) return Bad(where, "expected an object");
  Requirement out{.where = std::move(where)};
  ASSIGN_OR_RETURN(out.type, RequiredString(json, out.where, "type"));
  if (out.type == "insecureAcceptAnything" || out.type == "reject") {
    out.kind = out.type == "reject" ? Kind::kReject : Kind::kAcceptAnything;
    RETURN_IF_ERROR(CheckKeys(json, out.where, {"type"}));
  } else if (out.type == "signedBy") {
    out.kind = Kind::kUnsupported;
    RETURN_IF_ERROR(
        CheckKeys(json, out.where, {"type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"}));
  } else if (out.type == "sigstoreSigned") {
    RETURN_IF_ERROR(ReadSigstoreSigned(json, out));
  } else {
    return Bad(out.where + ".type", absl::StrCat("unknown type '", absl::CHexEscape(out.type), "'"));
  }
  return out;
}

absl::StatusOr<std::vector<Requirement>> ReadRequirements(const Json& json, const std::string& where) {
  if (!json.is_array() || json.empty()) return Bad(where, "expected a list of requirements that is not empty");
  std::vector<Requirement> out;
  for (size_t i = 0; i < json.size(); ++i) {
    ASSIGN_OR_RETURN(Requirement requirement, ReadRequirement(json[i], absl::StrCat(where, "[", i, "]")));
    out.push_back(std::move(requirement));
  }
  return out;
}

std::string LowerHost(absl::string_view scope) {
  const size_t slash = scope.find('/');
  return absl::StrCat(absl::AsciiStrToLower(scope.substr(0, slash)),
                      slash == absl::string_view::npos ? "" : scope.substr(slash));
}

// A pattern that never matches would leave its images to a more general scope.
bool IsScope(absl::string_view scope) {
  const size_t star = scope.find('*');
  if (star == absl::string_view::npos) return true;
  return absl::StartsWith(scope, "*.") && scope.size() > 2 && scope.find_first_of("*/:@", 1) == absl::string_view::npos;
}

absl::Status ReadTransport(const std::string& name, const Json& json, Policy& out) {
  const std::string where = absl::StrCat("transports.", absl::CHexEscape(name));
  if (!json.is_object()) return Bad(where, "expected an object");
  for (const auto& [scope, requirements] : json.items()) {
    const std::string place = absl::StrCat(where, "[\"", absl::CHexEscape(scope), "\"]");
    ASSIGN_OR_RETURN(std::vector<Requirement> read, ReadRequirements(requirements, place));
    if (name != "docker") continue;  // of images that come from elsewhere
    if (!IsScope(scope)) return Bad(place, "'*' may only stand in '*.DOMAIN'");
    if (!out.docker.emplace(LowerHost(scope), std::move(read)).second) return Bad(place, "the scope stands twice");
  }
  return absl::OkStatus();
}

// Scopes that an image is in, the most specific first.
std::vector<std::string> ScopesOf(Reference image) {
  image.host = absl::AsciiStrToLower(image.host);
  std::vector<std::string> out = {image.Normal()};
  std::string name = image.Name();
  for (size_t slash = name.size(); slash != std::string::npos; slash = name.rfind('/', slash - 1)) {
    out.push_back(name.substr(0, slash));
  }
  std::string domain = image.host.substr(0, image.host.find(':'));
  for (size_t dot = domain.find('.'); dot != std::string::npos; dot = domain.find('.', dot + 1)) {
    out.push_back("*" + domain.substr(dot));
  }
  out.push_back("");
  return out;
}

}  // namespace

absl::StatusOr<Policy> ParsePolicy(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json, ParseStrictJson(text));
  RETURN_IF_ERROR(CheckKeys(json, "policy", {"default", "transports"}));
  if (!json.contains("default")) return Bad("default", "is missing");
  Policy out;
  ASSIGN_OR_RETURN(out.fallback, ReadRequirements(json["default"], "default"));
  auto transports = json.find("transports");
  if (transports == json.end()) return out;
  if (!transports->is_object()) return Bad("transports", "expected an object");
  for (const auto& [name, scopes] : transports->items()) RETURN_IF_ERROR(ReadTransport(name, scopes, out));
  return out;
}

const std::vector<Requirement>& RequirementsFor(const Policy& policy, const Reference& image) {
  for (const std::string& scope : ScopesOf(image)) {
    if (auto found = policy.docker.find(scope); found != policy.docker.end()) return found->second;
  }
  return policy.fallback;
}

}  // namespace berth::image
