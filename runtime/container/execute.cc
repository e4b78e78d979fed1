#include "runtime/container/execute.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace berth::container {
namespace {

constexpr absl::string_view kUsualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

bool IsDirectory(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

}  // namespace

std::vector<std::string> ExecutableCandidates(absl::string_view program, const std::vector<std::string>& env) {
  if (absl::StrContains(program, '/')) return {std::string(program)};
  absl::string_view path = kUsualPath;
  for (const std::string& variable : env) {
    if (absl::StartsWith(variable, "PATH=")) path = absl::StripPrefix(absl::string_view(variable), "PATH=");
  }
  std::vector<std::string> out;
  for (absl::string_view dir : absl::StrSplit(path, ':', absl::SkipEmpty())) {
    out.push_back(absl::StrCat(dir, absl::EndsWith(dir, "/") ? "" : "/", program));
  }
  return out;
}

absl::Status ExecuteError(absl::string_view program, int err) {
  const bool searched = !absl::StrContains(program, '/');
  const std::string what = absl::StrCat("exec: \"", program, "\"");
  if (err == ENOENT && searched) {
    return Annotate(absl::NotFoundError("executable file not found in $PATH"), what);
  }
  if (err == ENOENT) return Annotate(absl::NotFoundError("no such file or directory"), what);
  if (err == EACCES) return Annotate(absl::PermissionDeniedError("permission denied"), what);
  if (err == EISDIR) return Annotate(absl::PermissionDeniedError("is a directory"), what);
  if (err == ENOEXEC) return Annotate(absl::InvalidArgumentError("exec format error"), what);
  return ErrnoError(err, what);
}

absl::Status Execute(const std::vector<std::string>& argv, const std::vector<std::string>& env) {
  if (argv.empty() || argv[0].empty()) return absl::InvalidArgumentError("exec: no program is named");
  const std::vector<char*> args = Pointers(argv), environment = Pointers(env);
  int result = ENOENT;
  for (const std::string& file : ExecutableCandidates(argv[0], env)) {
    execve(file.c_str(), args.data(), environment.data());
    int err = errno;
    // ENOTDIR: a component of a PATH entry is a file; nothing is there.
    if (err == ENOTDIR) err = ENOENT;
    if (err == EACCES && IsDirectory(file)) err = absl::StrContains(argv[0], '/') ? EISDIR : ENOENT;
    if (err == ENOENT) continue;
    result = err;
    if (err != EACCES) break;
  }
  return ExecuteError(argv[0], result);
}

}  // namespace berth::container
