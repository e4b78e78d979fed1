#include "image/registry/http_client.h"

#include <curl/curl.h>

#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kMaxHeaders = 256 << 10;
constexpr size_t kMaxCaFile = 4 << 20;
constexpr long kReceiveBuffer = 256 << 10;
constexpr long kSendBuffer = 256 << 10;

// What the callbacks of one transfer share.
struct Transfer {
  HttpResponse response;
  size_t header_bytes = 0;
  size_t max_body;
  const std::function<bool()>* cancelled;
  const HttpClient::BodySink* sink;
  absl::Status status;       // set by a callback that ended the transfer
  bool body_is_cut = false;  // an error's body that is longer than anyone reads
};

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  absl::string_view line(data, size);
  transfer.header_bytes += size;
  if (transfer.header_bytes > kMaxHeaders) {
    transfer.status = absl::ResourceExhaustedError("the response's headers are over 256 KiB");
    return 0;
  }
  if (absl::StartsWith(line, "HTTP/")) {  // a new head: after 1xx, or a proxy's CONNECT
    transfer.response = HttpResponse();
    std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (!absl::SimpleAtoi(parts.second.substr(0, 3), &transfer.response.status)) transfer.response.status = 0;
    return size;
  }
  size_t colon = line.find(':');
  if (colon != absl::string_view::npos) {
    transfer.response.headers.emplace_back(absl::AsciiStrToLower(line.substr(0, colon)),
                                           std::string(absl::StripAsciiWhitespace(line.substr(colon + 1))));
  }
  return size;
}

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  HttpResponse& response = transfer.response;
  bool wanted = response.status == 200 || response.status == 206;
  if (wanted && *transfer.sink) {
    transfer.status = (*transfer.sink)(response, absl::string_view(data, size));
    return transfer.status.ok() ? size : 0;
  }
  if (size > transfer.max_body - response.body.size()) {
    if (wanted) {
      transfer.status = absl::ResourceExhaustedError(absl::StrCat("the answer is over ", transfer.max_body, " bytes"));
    } else {
      transfer.body_is_cut = true;
    }
    return 0;
  }
  response.body.append(data, size);
  return size;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (!*transfer.cancelled || !(*transfer.cancelled)()) return 0;
  transfer.status = absl::CancelledError("the transfer was cancelled");
  return 1;
}

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

absl::Status AppendHeader(HeaderList& list, absl::string_view name, absl::string_view value) {
  for (absl::string_view part : {name, value}) {
    for (char c : part) {
      if (absl::ascii_iscntrl(c)) {
        return absl::InvalidArgumentError(absl::StrCat("header '", absl::CHexEscape(name), "' has control characters"));
      }
    }
  }
  // libcurl's way to say "empty value" is a semicolon.
  std::string line = value.empty() ? absl::StrCat(name, ";") : absl::StrCat(name, ": ", value);
  list.reset(curl_slist_append(list.release(), line.c_str()));
  return absl::OkStatus();
}

absl::Status ApplyTls(CURL* curl, const TlsOptions& tls) {
  if (tls.skip_verify) {
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!tls.ca_files.empty()) {
    // The blob takes the place of the system's bundle; its directory of hashed certificates stays in use.
    std::string bundle;
    for (const std::string& path : tls.ca_files) {
      auto pem = sys::ReadFile(path, kMaxCaFile);
      if (!pem.ok()) return absl::InvalidArgumentError(absl::StrCat("CA file: ", pem.status().message()));
      absl::StrAppend(&bundle, *pem, "\n");
    }
    curl_blob blob{bundle.data(), bundle.size(), CURL_BLOB_COPY};
    curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
    curl_easy_setopt(curl, CURLOPT_CAPATH, "/etc/ssl/certs");
  }
  if (!tls.client_cert.empty()) {
    curl_easy_setopt(curl, CURLOPT_SSLCERT, tls.client_cert.c_str());
    curl_easy_setopt(curl, CURLOPT_SSLKEY, (tls.client_key.empty() ? tls.client_cert : tls.client_key).c_str());
  }
  return absl::OkStatus();
}

void ApplyTransfer(CURL* curl, Transfer* transfer) {
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

void ApplyRequest(CURL* curl, const HttpRequest& request, const HttpClient::Options& options) {
  curl_easy_setopt(curl, CURLOPT_URL, request.url.ToString().c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "berth/0.1");
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(options.connect_timeout)));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(absl::ToInt64Seconds(options.stall_timeout)));
  // A proxy of the environment is for other machines.
  if (request.url.IsLoopback()) curl_easy_setopt(curl, CURLOPT_PROXY, "");
  if (!request.form.empty()) curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, request.form.c_str());
  if (request.body) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body->size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body->empty() ? "" : request.body->data());
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, kSendBuffer);
  }
  if (request.method == "HEAD") {
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  } else if (!request.method.empty()) {
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

}  // namespace

absl::string_view HttpResponse::Header(absl::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

HttpClient::HttpClient(const Options& options) : options_(options) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

HttpClient::~HttpClient() {
  absl::MutexLock lock(&mutex_);
  for (void* handle : idle_) curl_easy_cleanup(handle);
}

void* HttpClient::Take() {
  absl::MutexLock lock(&mutex_);
  if (idle_.empty()) return curl_easy_init();
  void* handle = idle_.back();
  idle_.pop_back();
  return handle;
}

void HttpClient::Return(void* handle) {
  curl_easy_reset(handle);  // keeps connections, DNS and TLS sessions
  absl::MutexLock lock(&mutex_);
  idle_.push_back(handle);
}

absl::StatusOr<HttpResponse> HttpClient::Exchange(const HttpRequest& request, size_t max_body,
                                                  const std::function<bool()>& cancelled, const BodySink& sink) {
  if (cancelled && cancelled()) return absl::CancelledError("cancelled");
  HeaderList headers;
  for (const auto& [name, value] : request.headers) RETURN_IF_ERROR(AppendHeader(headers, name, value));
  // Not "Expect: 100-continue", which costs a second at servers that do not know it.
  if (request.body) headers.reset(curl_slist_append(headers.release(), "Expect:"));
  CURL* curl = Take();
  if (curl == nullptr) return absl::ResourceExhaustedError("no memory for a transfer");
  std::unique_ptr<CURL, std::function<void(CURL*)>> give_back(curl, [this](CURL* handle) { Return(handle); });

  Transfer transfer{.max_body = max_body, .cancelled = &cancelled, .sink = &sink};
  char detail[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  ApplyTransfer(curl, &transfer);
  ApplyRequest(curl, request, options_);
  RETURN_IF_ERROR(ApplyTls(curl, request.tls), request.url.Authority());

  CURLcode code = curl_easy_perform(curl);
  RETURN_IF_ERROR(transfer.status, request.url.Authority());
  if (code != CURLE_OK && !transfer.body_is_cut) {
    return absl::UnavailableError(absl::StrCat("RegistryUnavailable: ", request.url.scheme, "://",
                                               request.url.Authority(), ": ",
                                               *detail ? detail : curl_easy_strerror(code)));
  }
  return std::move(transfer.response);
}

}  // namespace berth::image
