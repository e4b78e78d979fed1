#include "image/trust/verifier_dir.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"

namespace berth::image {
namespace {

constexpr size_t kOutputLimit = 32 << 10;  // bytes of each stream that are looked at
constexpr size_t kReasonLimit = 1024;      // bytes of it in a message
constexpr char kDescriptorType[] = "application/vnd.oci.descriptor.v1+json";
constexpr char kPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

absl::StatusOr<std::vector<std::string>> Verifiers(const VerifierDir& dir) {
  absl::StatusOr<sys::UniqueFd> fd = sys::Open(dir.path, O_RDONLY | O_DIRECTORY);
  if (!fd.ok() && ErrnoOf(fd.status()) == ENOENT) return std::vector<std::string>();
  RETURN_IF_ERROR(fd);
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(fd->get()), dir.path);
  std::sort(names.begin(), names.end());
  if (dir.most >= 0 && names.size() > static_cast<size_t>(dir.most)) {
    spdlog::warn("{} has {} image verifiers, only the first {} are asked", dir.path, names.size(), dir.most);
    names.resize(static_cast<size_t>(dir.most));
  }
  return names;
}

absl::Status Ask(const VerifierDir& dir, const std::string& name, const JudgedImage& image) {
  sys::SpawnRequest request{.path = absl::StrCat(dir.path, "/", name), .env = {kPath}, .timeout = dir.timeout};
  request.argv = {request.path, "-name", image.name, "-digest", image.digest, "-stdin-media-type", kDescriptorType};
  request.input = DumpJson(Json{{"mediaType", image.media_type}, {"digest", image.digest}, {"size", image.size}});
  request.stdout_limit = request.stderr_limit = kOutputLimit;
  request.cut_stdout = true;
  absl::StatusOr<sys::SpawnResult> ended = sys::Spawn(request);
  if (!ended.ok()) {
    return absl::PermissionDeniedError(absl::StrCat("image verifier ", name, ": ", ended.status().message()));
  }
  if (!ended->err.empty()) spdlog::debug("image verifier {}: {}", name, absl::CHexEscape(ended->err));
  if (ended->ok()) return absl::OkStatus();
  absl::string_view reason = absl::StripAsciiWhitespace(ended->out);
  return absl::PermissionDeniedError(absl::StrCat(
      "image verifier ", name, " refused it (",
      ended->signal != 0 ? absl::StrCat("signal ", ended->signal) : absl::StrCat("exit code ", ended->exit_code), ")",
      reason.empty() ? "" : ": ", absl::Utf8SafeCHexEscape(reason.substr(0, kReasonLimit)),
      reason.size() > kReasonLimit ? "…" : ""));
}

}  // namespace

absl::Status AskVerifiers(const VerifierDir& dir, const JudgedImage& image) {
  absl::StatusOr<std::vector<std::string>> names = Verifiers(dir);
  if (!names.ok()) {
    return absl::PermissionDeniedError(absl::StrCat("the image verifiers are unknown: ", names.status().message()));
  }
  for (const std::string& name : *names) RETURN_IF_ERROR(Ask(dir, name, image));
  return absl::OkStatus();
}

}  // namespace berth::image
