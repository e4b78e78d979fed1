#include "cri/cdi/registry.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::cdi {
namespace {

constexpr size_t kMaxFile = 4 << 20;
constexpr size_t kMaxFiles = 1024;

struct File {
  std::string path;
  size_t priority = 0;
  std::string signature;  // changes when the file does
};

// By directory, then by name.
std::vector<File> FindFiles(const std::vector<std::string>& dirs) {
  std::vector<File> files;
  for (size_t priority = 0; priority < dirs.size(); ++priority) {
    auto dir = sys::Open(dirs[priority], O_RDONLY | O_DIRECTORY);
    if (!dir.ok()) continue;
    auto names = sys::ListDir(dir->get());
    if (!names.ok()) continue;
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
      if (!absl::EndsWith(name, ".json") && !absl::EndsWith(name, ".yaml")) continue;
      if (files.size() == kMaxFiles) return files;
      File file{absl::StrCat(dirs[priority], "/", name), priority, "?"};
      struct stat st;
      if (fstatat(dir->get(), name.c_str(), &st, 0) == 0) {
        file.signature =
            absl::StrCat(st.st_dev, ":", st.st_ino, ":", st.st_size, ":", st.st_mode, ":", st.st_mtim.tv_sec, ".",
                         st.st_mtim.tv_nsec, ":", st.st_ctim.tv_sec, ".", st.st_ctim.tv_nsec);
      }
      files.push_back(std::move(file));
    }
  }
  return files;
}

absl::StatusOr<Spec> ReadSpec(const std::string& path) {
  // Not blocked by a FIFO, and nothing happens to a device.
  ASSIGN_OR_RETURN(sys::UniqueFd node, sys::Open(path, O_PATH));
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(node.get(), path));
  if (!S_ISREG(st.st_mode)) return absl::FailedPreconditionError("is not a regular file");
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NONBLOCK));
  ASSIGN_OR_RETURN(std::string text, sys::ReadFd(fd.get(), kMaxFile, path));
  return ParseSpec(path, text);
}

}  // namespace

class Snapshot {
 public:
  struct Found {
    const Spec* spec = nullptr;
    size_t priority = 0;
    bool conflict = false;
  };

  std::vector<File> files;
  std::vector<std::unique_ptr<Spec>> specs;
  std::map<std::string, std::string> errors;  // by file
  std::map<std::string, Found> devices;       // by qualified name

  void Add(const File& file) {
    auto spec = ReadSpec(file.path);
    if (!spec.ok()) {
      errors[file.path] = std::string(spec.status().message());
      return;
    }
    specs.push_back(std::make_unique<Spec>(*std::move(spec)));
    const Spec& added = *specs.back();
    for (const auto& [name, edits] : added.devices) {
      const std::string qualified = DeviceName{added.vendor, added.device_class, name}.str();
      Found& found = devices[qualified];
      if (found.spec == nullptr || file.priority > found.priority) {
        found = {&added, file.priority, false};
        continue;
      }
      found.conflict = true;
      errors[file.path] = absl::StrCat("device '", qualified, "' is in '", found.spec->path, "' too");
    }
  }
};

std::shared_ptr<const Snapshot> Registry::Refresh() {
  std::vector<File> files = FindFiles(dirs_);
  const auto same = [](const File& a, const File& b) { return a.path == b.path && a.signature == b.signature; };
  std::map<std::string, std::string> known_errors;
  {
    absl::MutexLock lock(&mutex_);
    if (last_ != nullptr) {
      if (std::equal(files.begin(), files.end(), last_->files.begin(), last_->files.end(), same)) return last_;
      known_errors = last_->errors;
    }
  }
  auto next = std::make_shared<Snapshot>();
  for (const File& file : files) next->Add(file);
  next->files = std::move(files);
  for (const auto& [path, error] : next->errors) {
    auto known = known_errors.find(path);
    if (known == known_errors.end() || known->second != error) spdlog::warn("CDI spec file {}: {}", path, error);
  }
  absl::MutexLock lock(&mutex_);
  last_ = next;
  return next;
}

absl::StatusOr<Edits> Registry::Resolve(absl::Span<const std::string> names) {
  Edits out;
  if (names.empty()) return out;
  const std::shared_ptr<const Snapshot> snapshot = Refresh();
  std::set<std::string> seen;
  std::set<const Spec*> applied;
  for (const std::string& text : names) {
    ASSIGN_OR_RETURN(const DeviceName name, ParseDeviceName(text));
    if (!seen.insert(text).second) continue;
    auto found = snapshot->devices.find(text);
    if (found == snapshot->devices.end() || found->second.conflict) {
      std::string why;
      for (const auto& [path, error] : snapshot->errors) absl::StrAppend(&why, "; ", path, ": ", error);
      if (why.size() > 1000) why.resize(1000);
      return absl::NotFoundError(absl::StrCat("no spec file has the device '", text, "'", why));
    }
    const Spec& spec = *found->second.spec;
    if (applied.insert(&spec).second) out.Append(spec.edits);
    out.Append(spec.devices.at(name.name));
  }
  if (!out.unsupported.empty()) {
    return absl::UnimplementedError(
        absl::StrCat("'", out.unsupported_file, "' asks for ", out.unsupported, ", which berth does not do"));
  }
  return out;
}

std::string Registry::Describe() {
  const std::shared_ptr<const Snapshot> snapshot = Refresh();
  Json out = {{"directories", dirs_}, {"devices", Json::object()}, {"errors", snapshot->errors}};
  for (const auto& [name, found] : snapshot->devices) {
    out["devices"][name] = found.conflict ? "in conflict" : found.spec->path;
  }
  return DumpJson(out);
}

}  // namespace berth::cdi
