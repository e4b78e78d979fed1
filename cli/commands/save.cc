#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "runtime/base/id.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> images;
  std::string file;
  std::string format = "oci";
};

// A file that has its name only when it is whole. What is there already and is no regular file (/dev/null, a pipe) is
// written to, not replaced.
class NewFile {
 public:
  explicit NewFile(const std::string& path)
      : path_(path),
        in_place_(IsSpecial(path)),
        temporary_(in_place_ ? path : absl::StrCat(path, ".", RandomHexId().substr(0, 12), ".part")) {}
  ~NewFile() {
    if (fd_ && !in_place_) unlink(temporary_.c_str());
  }

  absl::Status Open() {
    ASSIGN_OR_RETURN(fd_, sys::Open(temporary_, in_place_ ? O_WRONLY : O_WRONLY | O_CREAT | O_EXCL, 0644));
    return absl::OkStatus();
  }
  absl::Status Write(absl::string_view bytes) {
    size_ += bytes.size();
    return sys::WriteAll(fd_.get(), bytes, temporary_);
  }
  absl::Status Publish() {
    if (in_place_) return absl::OkStatus();
    if (fsync(fd_.get()) != 0) return ErrnoError(errno, absl::StrCat("fsync '", temporary_, "'"));
    if (rename(temporary_.c_str(), path_.c_str()) != 0) {
      return ErrnoError(errno, absl::StrCat("rename '", temporary_, "' to '", path_, "'"));
    }
    fd_.Reset();
    return absl::OkStatus();
  }
  uint64_t size() const { return size_; }

 private:
  static bool IsSpecial(const std::string& path) {
    struct stat status;
    return stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
  }

  const std::string path_;
  const bool in_place_;
  const std::string temporary_;
  sys::UniqueFd fd_;
  uint64_t size_ = 0;
};

absl::Status SaveToStdout(const Options& options, CriClient& client, std::ostream& out) {
  if (&out == &std::cout && isatty(STDOUT_FILENO)) {
    return UsageError("an archive is not written to a terminal: name a file with --file");
  }
  auto write = [&](absl::string_view bytes) -> absl::Status {
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return out ? absl::OkStatus() : absl::UnavailableError("cannot write to stdout");
  };
  return client.SaveImages(options.images, options.format == "docker", write);
}

absl::StatusOr<int> Save(const Options& options, Session& session) {
  std::string what = absl::StrCat("save ", options.images.front());
  if (options.images.size() > 1) absl::StrAppend(&what, " and others");
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  if (options.file == "-") {
    RETURN_IF_ERROR(SaveToStdout(options, *client, session.io.out), what);
    return kExitOk;
  }
  session.UndoOnSignal();  // the half-written file goes
  NewFile file(options.file);
  RETURN_IF_ERROR(file.Open(), what);
  RETURN_IF_ERROR(client->SaveImages(options.images, options.format == "docker",
                                     [&](absl::string_view bytes) { return file.Write(bytes); }),
                  what);
  RETURN_IF_ERROR(file.Publish(), what);
  if (session.json()) {
    session.io.out << DumpJson(Json{{"file", options.file},
                                    {"format", options.format},
                                    {"images", options.images},
                                    {"bytes", file.size()}},
                               2)
                   << "\n";
  }
  return kExitOk;
}

}  // namespace

void AddSave(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("save", "Write images into one archive");
  auto options = std::make_shared<Options>();
  command->add_option("IMAGE", options->images, "Tag, digest or id; a tag is kept in the archive")->required();
  command->add_option("-o,-f,--file", options->file, "File to write, - for stdout (here -o is not --output)")
      ->required();
  command->add_option("--format", options->format, "oci (an OCI image layout) or docker (as docker save)")
      ->capture_default_str()
      ->check(CLI::IsMember({"oci", "docker"}));
  command->footer(
      "Examples:\n"
      "  berth save -o web.tar registry.example:5000/shop/web:2.1\n"
      "  berth save -o all.tar --format docker busybox:1.36 nginx:1.27\n"
      "  berth save -o - web:2.1 | zstd > web.tar.zst");
  command->callback([options, &action] { action = [options](Session& session) { return Save(*options, session); }; });
}

}  // namespace berth::cli
