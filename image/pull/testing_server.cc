#include "image/pull/testing_server.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "image/content/digest.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::image::testing_server {
namespace {

// A listener on a free port of 127.0.0.1.
sys::UniqueFd Listen(int& port) {
  sys::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd.get(), 64) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    abort();
  }
  port = ntohs(address.sin_port);
  return fd;
}

bool SendAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool ReadRequest(int fd, Request& out) {
  std::string text;
  char buffer[4096];
  size_t end;
  while ((end = text.find("\r\n\r\n")) == std::string::npos) {
    ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    if (n <= 0) return false;
    text.append(buffer, static_cast<size_t>(n));
  }
  std::vector<std::string> lines = absl::StrSplit(text.substr(0, end), "\r\n");
  std::vector<std::string> first = absl::StrSplit(lines[0], ' ');
  if (first.size() != 3) return false;
  out.method = first[0];
  out.target = first[1];
  for (size_t i = 1; i < lines.size(); ++i) {
    std::pair<std::string, std::string> header = absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
    out.headers[absl::AsciiStrToLower(header.first)] = header.second;
  }
  size_t length = 0;
  if (out.headers.count("content-length") && !absl::SimpleAtoi(out.headers["content-length"], &length)) return false;
  out.body = text.substr(end + 4);
  while (out.body.size() < length) {
    ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    if (n <= 0) return false;
    out.body.append(buffer, static_cast<size_t>(n));
  }
  return true;
}

size_t Discard(char*, size_t size, size_t count, void*) { return size * count; }
size_t Collect(char* data, size_t size, size_t count, void* out) {
  static_cast<std::string*>(out)->append(data, size * count);
  return size * count;
}

// The status and, in `location`, that header of one upload request.
long Upload(const std::string& method, const std::string& url, const std::string& type, const std::string& body,
            const std::string& user, std::string* location) {
  CURL* curl = curl_easy_init();
  std::string head;
  curl_slist* headers = curl_slist_append(nullptr, ("Content-Type: " + type).c_str());
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Discard);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, Collect);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &head);
  if (!user.empty()) curl_easy_setopt(curl, CURLOPT_USERPWD, user.c_str());
  long status = 0;
  if (curl_easy_perform(curl) == CURLE_OK) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  for (absl::string_view line : absl::StrSplit(head, "\r\n")) {
    if (location && absl::StartsWithIgnoreCase(line, "location: ")) *location = std::string(line.substr(10));
  }
  curl_slist_free_all(headers);
  curl_easy_cleanup(curl);
  return status;
}

pid_t Spawn(const std::vector<std::string>& args) {
  std::vector<char*> argv;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? pid : -1;
}

}  // namespace

FaultServer::FaultServer(Handler handler) : handler_(std::move(handler)), listener_(Listen(port_)) {
  acceptor_ = std::thread([this] { Accept(); });
}

FaultServer::~FaultServer() {
  stop_.store(true);
  shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  std::vector<std::thread> workers;
  {
    absl::MutexLock lock(&mutex_);
    workers.swap(workers_);
  }
  for (std::thread& worker : workers) worker.join();
}

std::vector<Request> FaultServer::requests() const {
  absl::MutexLock lock(&mutex_);
  return requests_;
}

void FaultServer::Accept() {
  while (!stop_.load()) {
    sys::UniqueFd connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) continue;
    absl::MutexLock lock(&mutex_);
    workers_.emplace_back([this, c = std::make_shared<sys::UniqueFd>(std::move(connection))] { Serve(std::move(*c)); });
  }
}

void FaultServer::Serve(sys::UniqueFd connection) {
  Request request;
  if (!ReadRequest(connection.get(), request)) return;
  {
    absl::MutexLock lock(&mutex_);
    requests_.push_back(request);
  }
  Reply reply = handler_(request);
  for (int waited = 0; waited < reply.delay_ms && !stop_.load(); waited += 10) absl::SleepFor(absl::Milliseconds(10));
  std::string head = absl::StrCat("HTTP/1.1 ", reply.status, " X\r\nConnection: close\r\n");
  for (const std::string& header : reply.headers) absl::StrAppend(&head, header, "\r\n");
  if (reply.announce) absl::StrAppend(&head, "Content-Length: ", reply.body.size(), "\r\n");
  while (reply.endless_headers && !stop_.load() && SendAll(connection.get(), head)) head = "X-More: and more\r\n";
  if (SendAll(connection.get(), head + "\r\n")) SendBody(connection.get(), reply);
  shutdown(connection.get(), SHUT_WR);
}

void FaultServer::SendBody(int connection, const Reply& reply) {
  absl::string_view body = absl::string_view(reply.body).substr(0, reply.cut_after);
  while (reply.endless_body && !stop_.load() && SendAll(connection, body)) continue;
  if (reply.piece == 0) {
    SendAll(connection, body);
    return;
  }
  while (!body.empty() && !stop_.load() && SendAll(connection, body.substr(0, reply.piece))) {
    body.remove_prefix(std::min(reply.piece, body.size()));
    absl::SleepFor(absl::Milliseconds(100));
  }
}

namespace {

// "bytes=FROM-" or "bytes=FROM-TO" of the body.
void Cut(absl::string_view range, Reply& reply) {
  std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(absl::StripPrefix(range, "bytes="), absl::MaxSplits('-', 1));
  size_t from = 0, to = reply.body.size() - 1;
  if (!absl::SimpleAtoi(ends.first, &from)) return;
  if (!ends.second.empty() && !absl::SimpleAtoi(ends.second, &to)) return;
  reply.status = 206;
  reply.headers.push_back(absl::StrCat("Content-Range: bytes ", from, "-", to, "/", reply.body.size()));
  reply.body = reply.body.substr(from, to - from + 1);
}

}  // namespace

FaultServer::Handler Serving(const testing_image::TestImage& image,
                             std::function<bool(const Request&, Reply&)> before) {
  return [image, before](const Request& request) {
    Reply reply;
    if (before && before(request, reply)) return reply;
    if (absl::StartsWith(request.target, "/v2/app/manifests/")) {
      reply.headers = {"Content-Type: application/vnd.oci.image.manifest.v1+json",
                       "Docker-Content-Digest: " + image.manifest_digest};
      reply.body = image.manifest;
      return reply;
    }
    std::string digest = request.target.substr(request.target.rfind('/') + 1);
    digest = digest.substr(0, digest.find('?'));
    auto blob = image.blobs.find(digest);
    if (!absl::StartsWith(request.target, "/v2/app/blobs/") || blob == image.blobs.end()) {
      reply.status = 404;
      return reply;
    }
    reply.body = blob->second;
    if (auto range = request.headers.find("range"); range != request.headers.end()) Cut(range->second, reply);
    return reply;
  };
}

absl::StatusOr<std::unique_ptr<DockerRegistry>> DockerRegistry::Start(const std::string& dir, const std::string& user,
                                                                      const std::string& password) {
  if (access("/usr/bin/docker-registry", X_OK) != 0) return absl::UnavailableError("docker-registry is not installed");
  std::unique_ptr<DockerRegistry> registry(new DockerRegistry());
  Listen(registry->port_);  // closed again: the port is free for the moment that counts
  std::string auth;
  ASSIGN_OR_RETURN(sys::UniqueFd at, sys::Open(dir, O_RDONLY | O_DIRECTORY));
  if (!user.empty()) {
    if (access("/usr/bin/htpasswd", X_OK) != 0) return absl::UnavailableError("htpasswd is not installed");
    pid_t pid = Spawn({"htpasswd", "-Bbc", dir + "/htpasswd", user, password});
    if (pid > 0) waitpid(pid, nullptr, 0);
    auth = absl::StrCat("auth: {htpasswd: {realm: test, path: ", dir, "/htpasswd}}\n");
    registry->user_ = absl::StrCat(user, ":", password);
  }
  std::string config =
      absl::StrCat("version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: ", dir,
                   "/data}}\nhttp: {addr: '", registry->host(), "'}\n", auth);
  RETURN_IF_ERROR(sys::ReplaceFileAt(at.get(), "config.yml", config, 0600));
  registry->pid_ = Spawn({"docker-registry", "serve", dir + "/config.yml"});
  for (int i = 0; i < 200; ++i) {
    if (Upload("GET", absl::StrCat("http://", registry->host(), "/v2/"), "text/plain", "", registry->user_, nullptr) ==
        200) {
      return registry;
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
  return absl::InternalError("docker-registry does not answer");
}

DockerRegistry::~DockerRegistry() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

absl::Status DockerRegistry::Push(const testing_image::TestImage& image, const std::string& repository,
                                  const std::string& tag, const std::string& manifest) {
  std::string base = absl::StrCat("http://", host(), "/v2/", repository);
  for (const auto& [digest, bytes] : image.blobs) {
    std::string location;
    long status = Upload("POST", base + "/blobs/uploads/", "application/octet-stream", "", user_, &location);
    if (status != 202) return absl::InternalError(absl::StrCat("upload answers ", status));
    std::string url = absl::StrCat(location, absl::StrContains(location, "?") ? "&" : "?", "digest=", digest);
    status = Upload("PUT", url, "application/octet-stream", bytes, user_, nullptr);
    if (status != 201) return absl::InternalError(absl::StrCat("blob answers ", status));
  }
  const std::string& document = manifest.empty() ? image.manifest : manifest;
  ASSIGN_OR_RETURN(Json json, ParseJson(document));
  ASSIGN_OR_RETURN(std::string type, StringField(json, "mediaType"));
  long status = Upload("PUT", absl::StrCat(base, "/manifests/", tag), type, document, user_, nullptr);
  return status == 201 ? absl::OkStatus() : absl::InternalError(absl::StrCat("manifest answers ", status));
}

}  // namespace berth::image::testing_server
