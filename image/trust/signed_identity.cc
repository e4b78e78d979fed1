#include "image/trust/signed_identity.h"

#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "image/trust/strict_json.h"

namespace berth::image {
namespace {

using Kind = SignedIdentity::Kind;

// A reference as it was written: without the tag that the grammar would supply.
struct WrittenName {
  Reference reference;
  bool is_name_only = false;
};

absl::StatusOr<WrittenName> ParseWrittenName(absl::string_view text) {
  WrittenName out;
  ASSIGN_OR_RETURN(out.reference, ParseReference(text));
  absl::string_view last = text.substr(text.rfind('/') + 1);  // npos + 1 is 0
  const bool digest = absl::StrContains(last, '@');
  const bool tag = absl::StrContains(last.substr(0, last.find('@')), ':');
  if (tag && digest) return absl::InvalidArgumentError(absl::StrCat("'", text, "' has both a tag and a digest"));
  out.is_name_only = !tag && !digest;
  return out;
}

absl::StatusOr<std::string> ReadPrefix(const Json& json, const std::string& where, const char* key) {
  ASSIGN_OR_RETURN(std::string prefix, RequiredString(json, where, key));
  // What names a repository when something is put behind it, in the form that the catalogue knows.
  const std::string within = absl::StrCat(prefix, "/x");
  if (auto name = ParseReference(within); name.ok() && name->Name() == within) return prefix;
  return absl::InvalidArgumentError(absl::StrCat(where, ".", key, ": '", absl::CHexEscape(prefix),
                                                 "' is neither a registry's host nor a host with a path"));
}

bool MatchesRepoDigestOrExact(const Reference& image, const WrittenName& written) {
  if (written.is_name_only) return false;
  // With a digest, the manifest has it: that was checked when it was fetched.
  return image.digest.empty() ? written.reference.Normal() == image.Normal() : written.reference.Name() == image.Name();
}

bool MatchesRemapped(const SignedIdentity& identity, const Reference& image, const WrittenName& written) {
  const std::string name = image.Name();
  if (name != identity.prefix && !absl::StartsWith(name, identity.prefix + "/")) {
    return MatchesRepoDigestOrExact(image, written);
  }
  auto mapped = ParseReference(absl::StrCat(identity.signed_prefix, image.Normal().substr(identity.prefix.size())));
  return mapped.ok() && MatchesRepoDigestOrExact(*mapped, written);
}

}  // namespace

absl::StatusOr<SignedIdentity> ParseSignedIdentity(const Json& json, const std::string& where) {
  static const auto* kinds = new std::map<std::string, Kind>{{"matchRepoDigestOrExact", Kind::kRepoDigestOrExact},
                                                             {"matchExact", Kind::kExact},
                                                             {"matchRepository", Kind::kRepository},
                                                             {"exactReference", Kind::kExactReference},
                                                             {"exactRepository", Kind::kExactRepository},
                                                             {"remapIdentity", Kind::kRemap}};
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": expected an object"));
  ASSIGN_OR_RETURN(std::string type, RequiredString(json, where, "type"));
  auto kind = kinds->find(type);
  if (kind == kinds->end()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".type: unknown type '", absl::CHexEscape(type), "'"));
  }
  SignedIdentity out{.kind = kind->second};
  if (out.kind == Kind::kRemap) {
    RETURN_IF_ERROR(CheckKeys(json, where, {"type", "prefix", "signedPrefix"}));
    ASSIGN_OR_RETURN(out.prefix, ReadPrefix(json, where, "prefix"));
    ASSIGN_OR_RETURN(out.signed_prefix, ReadPrefix(json, where, "signedPrefix"));
    return out;
  }
  if (out.kind != Kind::kExactReference && out.kind != Kind::kExactRepository) {
    RETURN_IF_ERROR(CheckKeys(json, where, {"type"}));
    return out;
  }
  const char* key = out.kind == Kind::kExactReference ? "dockerReference" : "dockerRepository";
  RETURN_IF_ERROR(CheckKeys(json, where, {"type", key}));
  ASSIGN_OR_RETURN(std::string text, RequiredString(json, where, key));
  ASSIGN_OR_RETURN(WrittenName written, ParseWrittenName(text), where, ".", key);
  if (written.is_name_only != (out.kind == Kind::kExactRepository)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".", key, ": '", text, "' ",
                     written.is_name_only ? "has no tag and no digest" : "has a tag or a digest"));
  }
  out.name = written.is_name_only ? written.reference.Name() : written.reference.Normal();
  return out;
}

bool IdentityAccepts(const SignedIdentity& identity, const Reference& image, absl::string_view signed_name) {
  auto written = ParseWrittenName(signed_name);
  if (!written.ok()) return false;
  switch (identity.kind) {
    case Kind::kRepoDigestOrExact:
      return MatchesRepoDigestOrExact(image, *written);
    case Kind::kExact:
      return !written->is_name_only && written->reference.Normal() == image.Normal();
    case Kind::kRepository:
      return written->reference.Name() == image.Name();
    case Kind::kExactReference:
      return !written->is_name_only && written->reference.Normal() == identity.name;
    case Kind::kExactRepository:
      return written->reference.Name() == identity.name;
    case Kind::kRemap:
      return MatchesRemapped(identity, image, *written);
  }
  return false;
}

}  // namespace berth::image
