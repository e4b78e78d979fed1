#include "image/registry/http_client.h"

#include <curl/curl.h>

#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "image/registry/retry.h"
#include "runtime/base/deadline.h"
#include "runtime/sys/file.h"

namespace berth::image {

struct HttpClient::Handle {
  CURLM* multi = curl_multi_init();
  CURL* easy = curl_easy_init();

  ~Handle() {
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
  }
};

// What the callbacks of one transfer share.
struct HttpClient::Transfer {
  HttpResponse response;
  size_t header_bytes = 0;
  size_t max_body;
  const std::function<bool()>* cancelled;
  const HttpClient::BodySink* sink;
  absl::Status status;       // set by a callback that ended the transfer
  bool body_is_cut = false;  // an error's body that is longer than anyone reads
  absl::Duration window;
  Deadline window_end = Deadline::In(window);  // by then there has to be some progress
  size_t window_bytes = 0;
  curl_off_t sent = 0;
  char detail[CURL_ERROR_SIZE] = "";

  static size_t OnHeader(char* data, size_t, size_t size, void* user);
  static size_t OnBody(char* data, size_t, size_t size, void* user);
  bool Header(absl::string_view line);
  bool Body(absl::string_view bytes);
  void Moved(size_t bytes);
  void Sent(void* easy);
};

namespace {

constexpr size_t kMaxHeaders = 256 << 10;
constexpr size_t kMaxCaFile = 4 << 20;
constexpr long kReceiveBuffer = 256 << 10;
constexpr long kSendBuffer = 256 << 10;
constexpr int kPollMs = 100;  // how soon a cancellation is seen

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
    for (const std::string* path : {&tls.client_cert, &tls.client_key}) {
      if (path->empty()) continue;
      if (auto file = sys::Open(*path, O_RDONLY); !file.ok()) {
        return absl::InvalidArgumentError(absl::StrCat("client certificate: ", file.status().message()));
      }
    }
    curl_easy_setopt(curl, CURLOPT_SSLCERT, tls.client_cert.c_str());
    curl_easy_setopt(curl, CURLOPT_SSLKEY, (tls.client_key.empty() ? tls.client_cert : tls.client_key).c_str());
  }
  return absl::OkStatus();
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
  absl::Duration connect =
      request.connect_timeout > absl::ZeroDuration() ? request.connect_timeout : options.connect_timeout;
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(connect)));
  curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);  // a cancelled transfer does not wait for its look-up of a name
  curl_easy_setopt(curl, CURLOPT_PROXY, ProxyFor(options.proxies, request.url).c_str());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "");  // that was looked at just now, and not as libcurl would
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

void HttpClient::Transfer::Moved(size_t bytes) {
  window_bytes += bytes;
  if (window_bytes < kLeastProgress) return;
  window_end = Deadline::In(window);
  window_bytes = 0;
}

// What libcurl sent counts as moved, too.
void HttpClient::Transfer::Sent(void* easy) {
  curl_off_t all = 0;
  curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &all);
  if (all > sent) Moved(static_cast<size_t>(all - sent));
  sent = all;
}

bool HttpClient::Transfer::Header(absl::string_view line) {
  header_bytes += line.size();
  Moved(line.size());
  if (header_bytes > kMaxHeaders) {
    status = absl::ResourceExhaustedError("the response's headers are over 256 KiB");
    return false;
  }
  if (absl::StartsWith(line, "HTTP/")) {  // a new head: after 1xx
    response = HttpResponse();
    std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (!absl::SimpleAtoi(parts.second.substr(0, 3), &response.status)) response.status = 0;
    return true;
  }
  size_t colon = line.find(':');
  if (colon != absl::string_view::npos) {
    response.headers.emplace_back(absl::AsciiStrToLower(line.substr(0, colon)),
                                  std::string(absl::StripAsciiWhitespace(line.substr(colon + 1))));
  }
  return true;
}

bool HttpClient::Transfer::Body(absl::string_view bytes) {
  Moved(bytes.size());
  bool wanted = response.status == 200 || response.status == 206;
  if (wanted && *sink) {
    const absl::Duration left = window_end.Left();  // what the sink takes is not the server's time
    status = (*sink)(response, bytes);
    window_end = Deadline::In(left);
    return status.ok();
  }
  if (bytes.size() > max_body - response.body.size()) {
    if (wanted) {
      status = absl::ResourceExhaustedError(absl::StrCat("the answer is over ", max_body, " bytes"));
    } else {
      body_is_cut = true;
    }
    return false;
  }
  response.body.append(bytes.data(), bytes.size());
  return true;
}

size_t HttpClient::Transfer::OnHeader(char* data, size_t, size_t size, void* user) {
  return static_cast<Transfer*>(user)->Header({data, size}) ? size : 0;
}

size_t HttpClient::Transfer::OnBody(char* data, size_t, size_t size, void* user) {
  return static_cast<Transfer*>(user)->Body({data, size}) ? size : 0;
}

HttpClient::HttpClient(const Options& options, HostHealth& health) : options_(options), health_(health) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Handle> HttpClient::Take() {
  absl::MutexLock lock(&mutex_);
  if (idle_.empty()) return std::make_unique<Handle>();
  std::unique_ptr<Handle> handle = std::move(idle_.back());
  idle_.pop_back();
  return handle;
}

void HttpClient::Return(std::unique_ptr<Handle> handle) {
  curl_easy_reset(handle->easy);  // keeps connections, DNS and TLS sessions
  absl::MutexLock lock(&mutex_);
  idle_.push_back(std::move(handle));
}

// OK, or why there is no whole answer. What a callback said is in transfer.status.
absl::Status HttpClient::Perform(Handle& handle, const HttpRequest& request, Transfer& transfer) {
  auto failed = [&](absl::string_view why) {
    return absl::StrCat(request.url.scheme, "://", request.url.Authority(), ": ", why);
  };
  curl_multi_add_handle(handle.multi, handle.easy);
  absl::Status ended;
  CURLcode code = CURLE_OK;
  for (int running = 1; running > 0 && ended.ok();) {
    if (curl_multi_perform(handle.multi, &running) != CURLM_OK) ended = absl::InternalError("libcurl fails");
    if (running == 0 || !ended.ok()) break;
    transfer.Sent(handle.easy);
    if (*transfer.cancelled && (*transfer.cancelled)()) {
      ended = absl::CancelledError("the transfer was cancelled");
    } else if (transfer.window_end.Passed()) {
      ended = absl::UnavailableError(
          failed(absl::StrCat("no progress for ", absl::FormatDuration(options_.progress_timeout))));
    } else {
      curl_multi_poll(handle.multi, nullptr, 0, kPollMs, nullptr);
    }
  }
  int left = 0;
  for (CURLMsg* message; (message = curl_multi_info_read(handle.multi, &left)) != nullptr;) {
    if (message->msg == CURLMSG_DONE) code = message->data.result;
  }
  curl_multi_remove_handle(handle.multi, handle.easy);
  RETURN_IF_ERROR(ended);
  if (code == CURLE_OK) return absl::OkStatus();
  std::string why = failed(transfer.detail[0] != '\0' ? transfer.detail : curl_easy_strerror(code));
  return code == CURLE_PEER_FAILED_VERIFICATION ? absl::FailedPreconditionError(why) : absl::UnavailableError(why);
}

absl::StatusOr<HttpResponse> HttpClient::Exchange(const HttpRequest& request, size_t max_body,
                                                  const std::function<bool()>& cancelled, const BodySink& sink) {
  if (cancelled && cancelled()) return absl::CancelledError("cancelled");
  const std::string host = request.url.HostAndPort();
  RETURN_IF_ERROR(health_.CheckRest(host));
  HeaderList headers;
  for (const auto& [name, value] : request.headers) RETURN_IF_ERROR(AppendHeader(headers, name, value));
  // Not "Expect: 100-continue", which costs a second at servers that do not know it.
  if (request.body) headers.reset(curl_slist_append(headers.release(), "Expect:"));
  std::unique_ptr<Handle> handle = Take();
  CURL* curl = handle->easy;
  if (curl == nullptr || handle->multi == nullptr) return absl::ResourceExhaustedError("no memory for a transfer");

  Transfer transfer{.max_body = max_body, .cancelled = &cancelled, .sink = &sink, .window = options_.progress_timeout};
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer.detail);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, Transfer::OnHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Transfer::OnBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  ApplyRequest(curl, request, options_);
  absl::Status status = ApplyTls(curl, request.tls);
  if (status.ok()) status = Perform(*handle, request, transfer);
  Return(std::move(handle));

  if (transfer.response.status != 0) {
    health_.SetReached(host);
  } else if (absl::IsUnavailable(status)) {
    health_.SetUnreachable(host);
  }
  RETURN_IF_ERROR(transfer.status, request.url.Authority());
  if (!transfer.body_is_cut) RETURN_IF_ERROR(status);
  if (transfer.response.status == 429 || transfer.response.status == 503) {
    health_.LetRest(host, ParseRetryAfter(transfer.response.Header("retry-after"), absl::Now()));
  }
  return std::move(transfer.response);
}

}  // namespace berth::image
