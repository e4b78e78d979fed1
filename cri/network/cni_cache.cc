#include "cri/network/cni_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "cri/network/cni_request.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

constexpr char kKind[] = "berth.cni.attachment/1";
constexpr size_t kLimit = 4 << 20;  // the configuration, the annotations and a result of 1 MiB

// '+' is in no id and no network name, so names cannot run into each other.
std::string Prefix(const PodId& pod) { return absl::StrCat(pod.str(), "+", kCniInterface, "+"); }

absl::StatusOr<std::vector<std::string>> FilesOf(int dir, const PodId& pod) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir));
  std::vector<std::string> files;
  for (std::string& name : names) {
    if (absl::StartsWith(name, Prefix(pod))) files.push_back(std::move(name));
  }
  return files;
}

}  // namespace

std::string AttachmentText(const CniAttachment& attachment) {
  return DumpJson({{"kind", kKind},
                   {"pod", attachment.pod.str()},
                   {"config", CniConfigJson(attachment.config)},
                   {"capabilities", attachment.capabilities},
                   {"args", attachment.args},
                   {"result", attachment.result}});
}

absl::StatusOr<CniAttachment> ParseAttachment(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json, ParseJson(text));
  if (!json.is_object()) return absl::InvalidArgumentError("expected an object");
  ASSIGN_OR_RETURN(std::string kind, StringField(json, "kind"));
  if (kind != kKind) return absl::InvalidArgumentError(absl::StrCat("unknown kind '", kind, "'"));
  CniAttachment attachment;
  ASSIGN_OR_RETURN(std::string pod, StringField(json, "pod"));
  attachment.pod = PodId(pod);
  ASSIGN_OR_RETURN(attachment.config, ParseCniConfig(DumpJson(json["config"])), "field 'config'");
  attachment.capabilities = json["capabilities"];
  if (!attachment.capabilities.is_object())
    return absl::InvalidArgumentError("field 'capabilities': expected an object");
  ASSIGN_OR_RETURN(attachment.args, StringField(json, "args"));
  attachment.result = json["result"];
  return attachment;
}

absl::Status CniCache::Save(const CniAttachment& attachment) {
  if (!IsSafeName(attachment.pod.str())) return absl::InvalidArgumentError("the pod's id is empty or unsafe");
  RETURN_IF_ERROR(sys::MakeDirs(dir_, 0700));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(dir_, O_RDONLY | O_DIRECTORY));
  return sys::ReplaceFileAt(dir.get(), absl::StrCat(Prefix(attachment.pod), attachment.config.name),
                            AttachmentText(attachment), 0600);
}

std::vector<CniAttachment> CniCache::Find(const PodId& pod) {
  std::vector<CniAttachment> found;
  auto dir = sys::Open(dir_, O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return found;
  auto files = FilesOf(dir->get(), pod);
  if (!files.ok()) return found;
  for (const std::string& file : *files) {
    auto text = sys::ReadFileAt(dir->get(), file, kLimit);
    if (!text.ok()) continue;
    auto attachment = ParseAttachment(*text);
    if (attachment.ok() && attachment->pod == pod) found.push_back(*std::move(attachment));
  }
  return found;
}

absl::Status CniCache::Remove(const PodId& pod) {
  auto dir = sys::Open(dir_, O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) return ErrnoOf(dir.status()) == ENOENT ? absl::OkStatus() : dir.status();
  ASSIGN_OR_RETURN(std::vector<std::string> files, FilesOf(dir->get(), pod));
  for (const std::string& file : files) {
    if (unlinkat(dir->get(), file.c_str(), 0) != 0 && errno != ENOENT) {
      return ErrnoError(errno, absl::StrCat("remove '", dir_, "/", file, "'"));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::network
