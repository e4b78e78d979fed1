#include "cri/streaming/tokens.h"

#include <openssl/sha.h>
#include <sys/random.h>

#include <cstdlib>

#include "absl/strings/escaping.h"

namespace berth::streaming {
namespace {

std::string NewToken() {
  char raw[16];
  // So few bytes are never cut short once the pool is seeded (getrandom(2)); anything else is a broken kernel.
  if (getrandom(raw, sizeof raw, 0) != static_cast<ssize_t>(sizeof raw)) std::abort();
  return absl::WebSafeBase64Escape(absl::string_view(raw, sizeof raw));
}

std::string DigestOf(absl::string_view token) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest);
  return std::string(reinterpret_cast<const char*>(digest), sizeof digest);
}

}  // namespace

Tokens::Tokens(Clock::duration lifetime, size_t max_pending, std::function<Clock::time_point()> now)
    : lifetime_(lifetime), max_pending_(max_pending), now_(std::move(now)) {}

absl::StatusOr<std::string> Tokens::Add(Request request) {
  std::string token = NewToken();
  Digest digest = DigestOf(token);
  absl::MutexLock lock(&mutex_);
  DropExpired();
  if (pending_.size() >= max_pending_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(pending_.size(), " sessions wait for their client: try again when some have come or expired"));
  }
  const Clock::time_point expiry = now_() + lifetime_;
  pending_.emplace(digest, Pending{std::move(request), expiry});
  by_age_.emplace_back(expiry, std::move(digest));
  return token;
}

std::optional<Request> Tokens::Find(absl::string_view token) {
  const Digest digest = DigestOf(token);
  absl::MutexLock lock(&mutex_);
  DropExpired();
  auto found = pending_.find(digest);
  if (found == pending_.end()) return std::nullopt;
  return found->second.request;
}

std::optional<Request> Tokens::Take(absl::string_view token) {
  const Digest digest = DigestOf(token);
  absl::MutexLock lock(&mutex_);
  DropExpired();
  auto found = pending_.find(digest);
  if (found == pending_.end()) return std::nullopt;
  std::optional<Request> request = std::move(found->second.request);
  pending_.erase(found);
  return request;
}

// All live equally long: the oldest expires first.
void Tokens::DropExpired() {
  const Clock::time_point now = now_();
  for (; !by_age_.empty() && by_age_.front().first <= now; by_age_.pop_front()) pending_.erase(by_age_.front().second);
}

}  // namespace berth::streaming
