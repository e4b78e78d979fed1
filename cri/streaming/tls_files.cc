#include <fcntl.h>
#include <openssl/err.h>
#include <spdlog/spdlog.h>

#include <cstring>
#include <utility>

#include "cri/streaming/tls.h"
#include "runtime/sys/file.h"

namespace berth::streaming {
namespace {

constexpr auto kLook = std::chrono::seconds(1);

// The reason of OpenSSL's last error; empties its queue.
std::string LastReason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "unknown reason";
}

absl::Status Unusable(absl::string_view option, absl::string_view path) {
  return absl::InvalidArgumentError(absl::StrCat(option, ": '", path, "' is of no use: ", LastReason()));
}

// Why a file cannot be read, in the kernel's words: OpenSSL's own are poorer.
absl::Status CheckReadable(absl::string_view option, const std::string& path) {
  const auto file = sys::Open(path, O_RDONLY);
  return file.ok() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat(option, ": ", file.status().message()));
}

// A key with a passphrase is an error, not a question on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

absl::Status AskForClients(SSL_CTX* context, const std::string& ca) {
  RETURN_IF_ERROR(CheckReadable("tls_client_ca", ca));
  if (SSL_CTX_load_verify_locations(context, ca.c_str(), nullptr) != 1) return Unusable("tls_client_ca", ca);
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(ca.c_str());
  if (names == nullptr) return Unusable("tls_client_ca", ca);
  SSL_CTX_set_client_CA_list(context, names);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return absl::OkStatus();
}

bool Same(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

}  // namespace

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Load(Paths paths) {
  std::unique_ptr<TlsFiles> files(new TlsFiles(std::move(paths)));
  auto stamps = files->StampFiles();
  ASSIGN_OR_RETURN(auto context, files->Read());
  absl::MutexLock lock(&files->mutex_);
  files->stamps_ = std::move(stamps);
  files->context_ = std::move(context);
  return files;
}

std::shared_ptr<SSL_CTX> TlsFiles::Current() {
  absl::MutexLock lock(&mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (now < next_look_) return context_;
  next_look_ = now + kLook;
  // Stamped before they are read: what is written meanwhile is seen the next time.
  auto stamps = StampFiles();
  const bool same =
      std::equal(stamps.begin(), stamps.end(), stamps_.begin(), stamps_.end(), [](const Stamp& a, const Stamp& b) {
        return a.inode == b.inode && a.size == b.size && Same(a.modified, b.modified) && Same(a.changed, b.changed);
      });
  if (same) return context_;
  stamps_ = std::move(stamps);
  auto context = Read();
  if (context.ok()) {
    context_ = std::move(*context);
    spdlog::info("streaming: the certificate '{}' was read anew", paths_.cert);
  } else {
    spdlog::warn("streaming: the certificate before stays: {}", context.status().ToString());
  }
  return context_;
}

std::vector<TlsFiles::Stamp> TlsFiles::StampFiles() const {
  std::vector<Stamp> stamps;
  for (const std::string* path : {&paths_.cert, &paths_.key, &paths_.client_ca}) {
    struct stat found = {};
    if (path->empty() || stat(path->c_str(), &found) != 0) found = {};
    stamps.push_back({found.st_ino, found.st_size, found.st_mtim, found.st_ctim});
  }
  return stamps;
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> TlsFiles::Read() const {
  ERR_clear_error();
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!context) return absl::ResourceExhaustedError("no memory for TLS");
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(raw, 0);  // a URL is good once: nobody comes back
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(raw, NoPassphrase);
  RETURN_IF_ERROR(CheckReadable("tls_cert", paths_.cert));
  if (SSL_CTX_use_certificate_chain_file(raw, paths_.cert.c_str()) != 1) return Unusable("tls_cert", paths_.cert);
  RETURN_IF_ERROR(CheckReadable("tls_key", paths_.key));
  if (SSL_CTX_use_PrivateKey_file(raw, paths_.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Unusable("tls_key", paths_.key);
  }
  if (!paths_.client_ca.empty()) RETURN_IF_ERROR(AskForClients(raw, paths_.client_ca));
  return context;
}

}  // namespace berth::streaming
