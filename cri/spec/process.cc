#include "cri/spec/process.h"

#include <csignal>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace berth::spec {
namespace {

constexpr absl::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// An ordered environment in which a key stands once.
class Environment {
 public:
  void Set(absl::string_view key, absl::string_view value) {
    std::string entry = absl::StrCat(key, "=", value);
    for (std::string& e : entries_) {
      if (KeyOf(e) == key) {
        e = std::move(entry);
        return;
      }
    }
    entries_.push_back(std::move(entry));
  }
  bool Has(absl::string_view key) const {
    for (const std::string& e : entries_) {
      if (KeyOf(e) == key) return true;
    }
    return false;
  }
  std::vector<std::string> Take() { return std::move(entries_); }
  static absl::string_view KeyOf(absl::string_view entry) { return entry.substr(0, entry.find('=')); }

 private:
  std::vector<std::string> entries_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> MergeCommand(const state::v1::ContainerSpec& spec,
                                                      const image::ImageConfig& image) {
  std::vector<std::string> argv(spec.command().begin(), spec.command().end());
  if (argv.empty()) argv = image.entrypoint;
  if (spec.args_size() > 0) {
    argv.insert(argv.end(), spec.args().begin(), spec.args().end());
  } else if (spec.command_size() == 0) {
    argv.insert(argv.end(), image.cmd.begin(), image.cmd.end());
  }
  if (argv.empty() || argv[0].empty()) {
    return absl::InvalidArgumentError("command: no command specified, neither by the request nor by the image");
  }
  return argv;
}

std::vector<std::string> MergeEnv(const state::v1::ContainerSpec& spec, const image::ImageConfig& image,
                                  absl::string_view hostname, absl::string_view home) {
  Environment env;
  env.Set("HOSTNAME", hostname);
  for (const std::string& e : image.env) {
    absl::string_view key = Environment::KeyOf(e);
    env.Set(key, key.size() < e.size() ? absl::string_view(e).substr(key.size() + 1) : "");
  }
  for (const state::v1::Env& e : spec.envs()) env.Set(e.key(), e.value());
  if (!env.Has("PATH")) env.Set("PATH", kDefaultPath);
  if (!env.Has("HOME") && !home.empty()) env.Set("HOME", home);
  if (spec.tty() && !env.Has("TERM")) env.Set("TERM", "xterm");
  return env.Take();
}

std::string WorkingDir(const state::v1::ContainerSpec& spec, const image::ImageConfig& image) {
  if (!spec.working_dir().empty()) return spec.working_dir();
  return image.working_dir.empty() ? "/" : image.working_dir;
}

absl::StatusOr<int> ParseSignal(absl::string_view name) {
  if (name.empty()) return SIGTERM;
  int number = 0;
  if (absl::SimpleAtoi(name, &number)) {
    if (number >= 1 && number <= SIGRTMAX) return number;
  } else {
    std::string upper = absl::AsciiStrToUpper(name);
    absl::string_view rest = absl::StripPrefix(upper, "SIG");
    int offset = 0;
    if (absl::ConsumePrefix(&rest, "RTMIN") &&
        (rest.empty() || (rest[0] == '+' && absl::SimpleAtoi(rest.substr(1), &offset)))) {
      if (offset >= 0 && SIGRTMIN + offset <= SIGRTMAX) return SIGRTMIN + offset;
    } else if (absl::ConsumePrefix(&rest, "RTMAX") &&
               (rest.empty() || (rest[0] == '-' && absl::SimpleAtoi(rest.substr(1), &offset)))) {
      if (offset >= 0 && SIGRTMAX - offset >= SIGRTMIN) return SIGRTMAX - offset;
    } else {
      // Second names of three signals, which sigabbrev_np(3) does not give.
      if (rest == "CLD") rest = "CHLD";
      if (rest == "IOT") rest = "ABRT";
      if (rest == "IO") rest = "POLL";
      for (int n = 1; n < SIGRTMIN; ++n) {
        const char* abbreviation = sigabbrev_np(n);
        if (abbreviation && rest == abbreviation) return n;
      }
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("stop_signal: '", name, "' is not a signal"));
}

std::string SignalName(int signal) {
  // Real-time signals by the nearer end, as CRI names them.
  if (signal == SIGRTMIN) return "SIGRTMIN";
  if (signal == SIGRTMAX) return "SIGRTMAX";
  if (signal > SIGRTMIN && signal <= SIGRTMIN + 15) return absl::StrCat("SIGRTMIN+", signal - SIGRTMIN);
  if (signal > SIGRTMIN && signal < SIGRTMAX) return absl::StrCat("SIGRTMAX-", SIGRTMAX - signal);
  const char* abbreviation = sigabbrev_np(signal);
  return abbreviation ? absl::StrCat("SIG", abbreviation) : absl::StrCat(signal);
}

}  // namespace berth::spec
