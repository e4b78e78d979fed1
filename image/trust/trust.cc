#include "image/trust/trust.h"

#include <cerrno>
#include <map>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "image/trust/policy.h"
#include "image/trust/public_key.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kLongestName = 300;  // of a foreign name in a message

absl::Status Refused(absl::string_view image, absl::string_view why) {
  return absl::PermissionDeniedError(absl::StrCat("SignatureValidationFailed: ", image, ": ", why));
}

absl::StatusOr<std::vector<PublicKey>> LoadKeys(const Requirement& requirement) {
  std::vector<PublicKey> out;
  for (const std::string& path : requirement.key_paths) {
    ASSIGN_OR_RETURN(std::string pem, sys::ReadFile(path));
    ASSIGN_OR_RETURN(PublicKey key, PublicKey::FromPem(pem), "key ", path);
    out.push_back(std::move(key));
  }
  for (const std::string& pem : requirement.keys) {
    ASSIGN_OR_RETURN(PublicKey key, PublicKey::FromPem(pem), "keyData");
    out.push_back(std::move(key));
  }
  return out;
}

bool SignedByAny(const std::vector<PublicKey>& keys, const AttachedSignature& signature) {
  for (const PublicKey& key : keys) {
    if (key.Verifies(signature.payload, signature.signature)) return true;
  }
  return false;
}

// One pull's question to one policy.
class PolicyCheck {
 public:
  PolicyCheck(const TrustSubject& subject, const RepositoryReader& reader) : subject_(subject), reader_(reader) {
    documents_ = {subject.named.digest};
    if (subject.manifest_digest != subject.named.digest) documents_.push_back(subject.manifest_digest);
  }

  // Why the requirement is not fulfilled; empty when it is. Errors are those of the reader.
  absl::StatusOr<std::string> Objection(const Requirement& requirement) {
    switch (requirement.kind) {
      case Requirement::Kind::kAcceptAnything:
        return "";
      case Requirement::Kind::kReject:
        return "every image is rejected";
      case Requirement::Kind::kUnsupported:
        return "berth cannot check this requirement";
      case Requirement::Kind::kSigstoreSigned:
        return ObjectionToSignatures(requirement);
    }
    return "unknown requirement";
  }

 private:
  // The signature may be over the index, which names the manifest by its digest, or over the manifest itself: both are
  // the signer's word for what is going to run.
  absl::StatusOr<std::string> ObjectionToSignatures(const Requirement& requirement) {
    absl::StatusOr<std::vector<PublicKey>> keys = LoadKeys(requirement);
    if (!keys.ok()) return std::string(keys.status().message());
    std::set<std::string> objections;  // many signatures fail alike
    for (const std::string& document : documents_) {
      absl::StatusOr<const std::vector<AttachedSignature>*> signatures = SignaturesOf(document);
      if (absl::IsInvalidArgument(signatures.status())) return std::string(signatures.status().message());
      RETURN_IF_ERROR(signatures);
      for (const AttachedSignature& signature : **signatures) {
        std::string objection = ObjectionTo(signature, requirement, *keys, document);
        if (objection.empty()) return objection;
        objections.insert(std::move(objection));
      }
    }
    if (objections.empty()) return absl::StrCat("there is no signature of ", absl::StrJoin(documents_, " or "));
    return absl::StrJoin(objections, "; ");
  }

  std::string ObjectionTo(const AttachedSignature& signature, const Requirement& requirement,
                          const std::vector<PublicKey>& keys, const std::string& document) {
    // What was not signed is not looked at.
    if (!SignedByAny(keys, signature)) return "a signature is not by a key of the policy";
    absl::StatusOr<SignedClaim> claim = ParseClaim(signature.payload);
    if (!claim.ok()) return absl::StrCat("a signed payload is malformed: ", claim.status().message());
    if (claim->manifest_digest != document) {
      return absl::StrCat("a signature is for another image, ",
                          absl::CHexEscape(claim->manifest_digest.substr(0, kLongestName)));
    }
    if (!IdentityAccepts(requirement.identity, subject_.reference, claim->name)) {
      return absl::StrCat("a signature is for the name '", absl::CHexEscape(claim->name.substr(0, kLongestName)), "'");
    }
    return "";
  }

  absl::StatusOr<const std::vector<AttachedSignature>*> SignaturesOf(const std::string& document) {
    auto known = signatures_.find(document);
    if (known == signatures_.end()) {
      ASSIGN_OR_RETURN(std::vector<AttachedSignature> fetched, FetchSignatures(reader_, document));
      known = signatures_.emplace(document, std::move(fetched)).first;
    }
    return &known->second;
  }

  const TrustSubject& subject_;
  const RepositoryReader& reader_;
  std::vector<std::string> documents_;  // digests: what the reference means first
  std::map<std::string, std::vector<AttachedSignature>> signatures_;
};

absl::Status CheckPolicy(const TrustOptions& options, const TrustSubject& subject, const RepositoryReader& reader) {
  const std::string& file = options.policy;
  absl::StatusOr<std::string> text = sys::ReadFile(file);
  if (!options.policy_required && ErrnoOf(text.status()) == ENOENT) return absl::OkStatus();
  if (!text.ok()) return Refused(subject.named.name, absl::StrCat("policy ", text.status().message()));
  absl::StatusOr<Policy> policy = ParsePolicy(*text);
  if (!policy.ok()) {
    return Refused(subject.named.name, absl::StrCat("policy ", file, ": ", policy.status().message()));
  }
  PolicyCheck check(subject, reader);
  for (const Requirement& requirement : RequirementsFor(*policy, subject.reference)) {
    ASSIGN_OR_RETURN(std::string objection, check.Objection(requirement));
    if (objection.empty()) continue;
    return Refused(subject.named.name,
                   absl::StrCat("policy ", file, ": ", requirement.where, " (", requirement.type, "): ", objection));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTrust(const TrustOptions& options, const TrustSubject& subject, const RepositoryReader& reader) {
  RETURN_IF_ERROR(CheckPolicy(options, subject, reader));
  const VerifierDir verifiers{options.verifiers_dir, options.most_verifiers, options.verifier_timeout};
  absl::Status status = AskVerifiers(verifiers, subject.named);
  return status.ok() ? status : Refused(subject.named.name, status.message());
}

}  // namespace berth::image
