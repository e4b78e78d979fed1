#include "image/push/testing_upload_registry.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "image/content/digest.h"

namespace berth::image::testing_upload_registry {

using testing_server::Reply;
using testing_server::Request;

namespace {

// The value of `key` in the query, or "".
std::string Query(const Request& request, const std::string& key) {
  size_t at = request.target.find(key + "=");
  if (at == std::string::npos) return "";
  std::string value = request.target.substr(at + key.size() + 1);
  return absl::StrReplaceAll(value.substr(0, value.find('&')), {{"%3A", ":"}, {"%2F", "/"}});
}

std::string PathOf(const Request& request) { return request.target.substr(0, request.target.find('?')); }

}  // namespace

UploadRegistry::UploadRegistry(Before before)
    : before_(std::move(before)), server_([this](const Request& request) { return Handle(request); }) {}

std::vector<std::string> UploadRegistry::Methods() const {
  std::vector<std::string> out;
  for (const Request& request : requests()) {
    const char* what = absl::StrContains(request.target, "mount=")    ? "?mount"
                       : absl::StrContains(request.target, "digest=") ? "?digest"
                                                                      : "";
    out.push_back(absl::StrCat(request.method, what));
  }
  return out;
}

std::map<std::string, std::string> UploadRegistry::blobs() const {
  absl::MutexLock lock(&mutex_);
  return blobs_;
}

std::map<std::string, std::string> UploadRegistry::manifests() const {
  absl::MutexLock lock(&mutex_);
  return manifests_;
}

size_t UploadRegistry::open_uploads() const {
  absl::MutexLock lock(&mutex_);
  return uploads_.size();
}

void UploadRegistry::TakePart(const Request& patch, size_t bytes) {
  std::string path = PathOf(patch);
  absl::MutexLock lock(&mutex_);
  uploads_[path.substr(path.rfind('/') + 1)] += patch.body.substr(0, bytes);
}

void UploadRegistry::ForgetUploads() {
  absl::MutexLock lock(&mutex_);
  uploads_.clear();
}

void UploadRegistry::SendElsewhere(const std::string& host) {
  absl::MutexLock lock(&mutex_);
  elsewhere_ = host;
}

Reply UploadRegistry::Handle(const Request& request) {
  Reply reply;
  if (before_ && before_(request, reply)) return reply;
  absl::MutexLock lock(&mutex_);
  std::string path = PathOf(request);
  size_t uploads = path.find("/blobs/uploads/");
  size_t kind = std::min(path.find("/blobs/"), path.find("/manifests/"));
  std::string repository = path.substr(4, kind - 4);
  if (uploads != std::string::npos) return HandleUpload(request, repository, path.substr(uploads + 15));
  std::string last = path.substr(path.rfind('/') + 1);
  if (request.method == "PUT" && absl::StrContains(path, "/manifests/")) {
    manifests_[absl::StrCat(repository, ":", last)] = request.body;
    return {.status = 201, .headers = {"Docker-Content-Digest: " + Sha256Digest(request.body)}};
  }
  auto blob = blobs_.find(last);
  if (request.method != "HEAD" || blob == blobs_.end()) return {.status = 404};
  return {.headers = {absl::StrCat("Content-Length: ", blob->second.size())}, .announce = false};
}

Reply UploadRegistry::HandleUpload(const Request& request, const std::string& repository, const std::string& id) {
  if (request.method == "POST") {
    if (std::string digest = Query(request, "mount"); !digest.empty() && blobs_.count(digest)) return {.status = 201};
    std::string name = absl::StrCat("up", ++last_upload_);
    uploads_[name] = "";
    std::string base = elsewhere_.empty() ? "" : absl::StrCat("http://", elsewhere_);
    return {.status = 202, .headers = {absl::StrCat("Location: ", base, "/v2/", repository, "/blobs/uploads/", name)}};
  }
  auto upload = uploads_.find(id);
  if (upload == uploads_.end()) return {.status = 404};
  std::string& bytes = upload->second;
  if (request.method == "DELETE") {
    uploads_.erase(upload);
    return {.status = 204};
  }
  if (request.method == "PATCH" || request.method == "PUT") {
    auto range = request.headers.find("content-range");
    if (range != request.headers.end() && !absl::StartsWith(range->second, absl::StrCat(bytes.size(), "-"))) {
      return {.status = 416};
    }
    bytes += request.body;
  }
  if (request.method == "PUT") {
    std::string digest = Query(request, "digest");
    if (Sha256Digest(bytes) != digest) {
      return {.status = 400, .body = R"({"errors":[{"code":"DIGEST_INVALID","message":"not that digest"}]})"};
    }
    blobs_[digest] = bytes;
    uploads_.erase(upload);
    return {.status = 201};
  }
  return {.status = request.method == "PATCH" ? 202 : 204,
          .headers = {absl::StrCat("Range: 0-", bytes.empty() ? 0 : bytes.size() - 1),
                      absl::StrCat("Location: ", PathOf(request))}};
}

}  // namespace berth::image::testing_upload_registry
