#include "cri/spec/rlimits.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"

namespace berth::spec {
namespace {

constexpr uint64_t kUnlimited = RLIM_INFINITY;

struct Name {
  absl::string_view name;
  int resource;
};
constexpr Name kNames[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK}};

bool ParseValue(absl::string_view text, uint64_t& out) {
  if (text == "unlimited") {
    out = kUnlimited;
    return true;
  }
  const bool digits = std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c); });
  return digits && absl::SimpleAtoi(text, &out) && out != kUnlimited;
}

absl::StatusOr<Rlimit> ParseOne(absl::string_view text, absl::string_view source) {
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": '", text, "': ", why));
  };
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos) return bad("expected NAME=SOFT:HARD");
  Rlimit limit;
  limit.name = absl::AsciiStrToLower(text.substr(0, equals));
  const auto known =
      std::find_if(std::begin(kNames), std::end(kNames), [&](const Name& n) { return n.name == limit.name; });
  if (known == std::end(kNames)) return bad("not the name of a limit");
  limit.resource = known->resource;
  const std::vector<absl::string_view> values = absl::StrSplit(text.substr(equals + 1), ':');
  if (values.size() > 2 || !ParseValue(values.front(), limit.soft) || !ParseValue(values.back(), limit.hard)) {
    return bad("expected a number or \"unlimited\", or two of them with ':' between");
  }
  if (limit.soft > limit.hard) return bad("the soft limit is above the hard one");
  limit.source = std::string(source);
  return limit;
}

void Merge(const std::vector<Rlimit>& from, std::vector<Rlimit>& into) {
  for (const Rlimit& limit : from) {
    auto there = std::find_if(into.begin(), into.end(), [&](const Rlimit& l) { return l.resource == limit.resource; });
    if (there == into.end()) {
      into.push_back(limit);
    } else {
      *there = limit;
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<Rlimit>> ParseRlimits(absl::string_view text, absl::string_view source) {
  std::vector<Rlimit> out;
  if (absl::StripAsciiWhitespace(text).empty()) return out;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    ASSIGN_OR_RETURN(Rlimit limit, ParseOne(absl::StripAsciiWhitespace(part), source));
    for (const Rlimit& other : out) {
      if (other.resource == limit.resource) {
        return absl::InvalidArgumentError(absl::StrCat(source, ": '", limit.name, "' is given twice"));
      }
    }
    out.push_back(std::move(limit));
  }
  return out;
}

absl::StatusOr<std::vector<Rlimit>> RlimitsOf(const state::v1::ContainerSpec& container, const state::v1::PodSpec& pod,
                                              const std::vector<Rlimit>& defaults) {
  std::vector<Rlimit> out = defaults;
  const auto merge = [&](const auto& annotations, const std::string& key) -> absl::Status {
    auto found = annotations.find(key);
    if (found == annotations.end()) return absl::OkStatus();
    ASSIGN_OR_RETURN(std::vector<Rlimit> limits, ParseRlimits(found->second, absl::StrCat("annotation ", key)));
    Merge(limits, out);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(merge(pod.annotations(), kRlimitsAnnotation));
  RETURN_IF_ERROR(merge(pod.annotations(), absl::StrCat(kRlimitsAnnotation, ".", container.name())));
  RETURN_IF_ERROR(merge(container.annotations(), kRlimitsAnnotation));
  return out;
}

absl::Status CheckRlimits(const std::vector<Rlimit>& limits, bool may_raise) {
  for (const Rlimit& limit : limits) {
    const auto refuse = [&](absl::string_view why) {
      return absl::FailedPreconditionError(absl::StrCat(limit.source, ": ", limit.name, ": ", why));
    };
    struct rlimit own;
    if (getrlimit(static_cast<__rlimit_resource_t>(limit.resource), &own) != 0) return ErrnoError(errno, "getrlimit");
    if (limit.hard > own.rlim_max && !may_raise) {
      return refuse(absl::StrCat("the hard limit is above the daemon's own, ", own.rlim_max,
                                 ", which takes CAP_SYS_RESOURCE to raise"));
    }
    if (limit.resource != RLIMIT_NOFILE) continue;
    uint64_t most = 0;
    auto text = sys::ReadFile("/proc/sys/fs/nr_open");
    if (text.ok() && absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &most) && limit.hard > most) {
      return refuse(absl::StrCat("the hard limit is above fs.nr_open, ", most));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::spec
