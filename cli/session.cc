#include "cli/session.h"

#include "absl/strings/cord.h"

namespace berth::cli {
namespace {

constexpr char kUsagePayload[] = "berth/usage";

}  // namespace

absl::StatusOr<CriClient*> Session::Client() {
  absl::MutexLock lock(&mu_);
  if (!client_) {
    ASSIGN_OR_RETURN(client_, CriClient::Connect(options.socket, options.timeout));
    if (interrupted_) client_->Interrupt();
  }
  return client_.get();
}

std::string Session::Env(const char* name, absl::string_view fallback) const {
  const char* value = getenv_(name);
  return value == nullptr || *value == '\0' ? std::string(fallback) : value;
}

void Session::Interrupt() {
  absl::MutexLock lock(&mu_);
  interrupted_ = true;
  if (client_) client_->Interrupt();
}

void Session::Resume() {
  absl::MutexLock lock(&mu_);
  interrupted_ = false;
  if (client_) client_->Resume();
}

void Session::HandleSignals(std::function<void(int)> handle) {
  absl::MutexLock lock(&mu_);
  handle_ = std::move(handle);
}

bool Session::Signal(int signal) {
  std::function<void(int)> handle;
  {
    absl::MutexLock lock(&mu_);
    handle = handle_;
  }
  if (handle) handle(signal);
  return handle != nullptr;
}

absl::Status UsageError(absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsagePayload, absl::Cord("1"));
  return status;
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  return status.GetPayload(kUsagePayload) ? kExitUsage : kExitFailure;
}

}  // namespace berth::cli
