#include "runtime/shim/attachments.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace berth::shim {
namespace {

enum class Taken { kAll, kNotAll, kNobodyReads };

Taken WriteTo(int pipe, absl::string_view bytes) {
  ssize_t n;
  while ((n = write(pipe, bytes.data(), bytes.size())) < 0 && errno == EINTR) {
  }
  if (n == static_cast<ssize_t>(bytes.size())) return Taken::kAll;
  return n >= 0 || errno == EAGAIN ? Taken::kNotAll : Taken::kNobodyReads;
}

}  // namespace

bool Attachments::any_input() const {
  return std::any_of(all_.begin(), all_.end(), [](const Attachment& a) { return a.input; });
}

Attachment* Attachments::Find(uint64_t id) {
  auto it = std::find_if(all_.begin(), all_.end(), [id](const Attachment& a) { return a.id == id; });
  return it == all_.end() ? nullptr : &*it;
}

template <typename Predicate>
std::vector<Attachment> Attachments::TakeIf(Predicate predicate) {
  auto taken = std::stable_partition(all_.begin(), all_.end(), [&](Attachment& a) { return !predicate(a); });
  std::vector<Attachment> out(std::make_move_iterator(taken), std::make_move_iterator(all_.end()));
  all_.erase(taken, all_.end());
  return out;
}

std::vector<Attachment> Attachments::Write(Stream stream, absl::string_view bytes) {
  return TakeIf([&](Attachment& a) {
    const int pipe = stream == Stream::kOut ? a.out.get() : a.err.get();
    if (pipe < 0) return false;
    const Taken taken = WriteTo(pipe, bytes);
    a.lagged = taken == Taken::kNotAll;
    return taken != Taken::kAll;
  });
}

std::vector<Attachment> Attachments::Take(uint64_t id) {
  return TakeIf([id](const Attachment& a) { return a.id == id; });
}

std::vector<Attachment> Attachments::TakeOf(uint64_t connection) {
  return TakeIf([connection](const Attachment& a) { return a.connection == connection; });
}

}  // namespace berth::shim
