#include "cri/network/cni_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cri/network/cni_request.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

constexpr char kKind[] = "berth.cni.attachment/1";
constexpr size_t kLimit = 4 << 20;  // the configuration, the annotations and a result of 1 MiB

// '+' is in no id and no network name, so names cannot run into each other.
std::string FileName(const CniAttachment& attachment) {
  return absl::StrCat(attachment.pod.str(), "+", kCniInterface, "+", attachment.config.name);
}

std::optional<CniCache::Entry> ParseName(const std::string& file) {
  absl::string_view name = file;
  if (absl::ConsumePrefix(&name, ".")) (void)absl::ConsumeSuffix(&name, ".new");  // a replacement that was cut short
  std::vector<std::string> parts = absl::StrSplit(name, '+');
  if (parts.size() != 3 || parts[1] != kCniInterface || !IsSafeName(parts[0])) return std::nullopt;
  return CniCache::Entry{PodId(parts[0]), parts[2], file};
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
  return sys::ReplaceFileAt(dir.get(), FileName(attachment), AttachmentText(attachment), 0600);
}

absl::StatusOr<std::vector<CniCache::Entry>> CniCache::List() {
  std::vector<Entry> entries;
  auto dir = sys::Open(dir_, O_RDONLY | O_DIRECTORY);
  if (ErrnoOf(dir.status()) == ENOENT) return entries;
  RETURN_IF_ERROR(dir);
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir->get()), dir_);
  for (const std::string& name : names) {
    if (auto entry = ParseName(name)) entries.push_back(*std::move(entry));
  }
  return entries;
}

absl::StatusOr<std::vector<CniAttachment>> CniCache::Find(const PodId& pod) {
  std::vector<CniAttachment> found;
  ASSIGN_OR_RETURN(std::vector<Entry> entries, List());
  for (const Entry& entry : entries) {
    if (entry.pod != pod || absl::StartsWith(entry.file, ".")) continue;
    auto text = sys::ReadFile(absl::StrCat(dir_, "/", entry.file), kLimit);
    if (int error = ErrnoOf(text.status()); error == EMFILE || error == ENFILE || error == ENOMEM) return text.status();
    if (!text.ok()) continue;
    auto attachment = ParseAttachment(*text);
    if (attachment.ok() && attachment->pod == pod) found.push_back(*std::move(attachment));
  }
  return found;
}

absl::Status CniCache::Remove(const PodId& pod) {
  ASSIGN_OR_RETURN(std::vector<Entry> entries, List());
  for (const Entry& entry : entries) {
    if (entry.pod != pod) continue;
    const std::string path = absl::StrCat(dir_, "/", entry.file);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, absl::StrCat("remove '", path, "'"));
  }
  return absl::OkStatus();
}

}  // namespace berth::network
