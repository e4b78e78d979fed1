#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/commands/commands.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

constexpr size_t kChunk = 1 << 20;  // of one message

struct Options {
  std::string file = "-";
};

absl::StatusOr<ArchiveSource> FromStdin(std::istream& in) {
  if (&in == &std::cin && isatty(STDIN_FILENO)) {
    return UsageError("no archive is read from a terminal: name a file with --input");
  }
  return ArchiveSource([&in](std::string& bytes) -> absl::Status {
    bytes.resize(kChunk);
    in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(static_cast<size_t>(in.gcount()));
    return in.bad() ? absl::UnavailableError("cannot read stdin") : absl::OkStatus();
  });
}

absl::StatusOr<ArchiveSource> FromFile(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY));
  return ArchiveSource([path, file = std::make_shared<sys::UniqueFd>(std::move(fd))](std::string& bytes) {
    bytes.resize(kChunk);
    ssize_t n;
    do {
      n = read(file->get(), bytes.data(), bytes.size());
    } while (n < 0 && errno == EINTR);
    if (n < 0) return ErrnoError(errno, absl::StrCat("read '", path, "'"));
    bytes.resize(static_cast<size_t>(n));
    return absl::OkStatus();
  });
}

absl::StatusOr<int> Load(const Options& options, Session& session) {
  std::string what = options.file == "-" ? "load" : absl::StrCat("load ", options.file);
  ASSIGN_OR_RETURN(ArchiveSource source, options.file == "-" ? FromStdin(session.io.in) : FromFile(options.file), what);
  ASSIGN_OR_RETURN(CriClient * client, session.Client(), what);
  ASSIGN_OR_RETURN(std::vector<LoadedImage> images, client->LoadImages(source), what);
  if (session.json()) {
    Json out = Json::array();
    for (const LoadedImage& image : images) out.push_back(Json{{"id", image.id}, {"names", image.names}});
    session.io.out << DumpJson(out, 2) << "\n";
    return kExitOk;
  }
  for (const LoadedImage& image : images) {
    session.io.out << image.id << (image.names.empty() ? "" : " ") << absl::StrJoin(image.names, " ") << "\n";
  }
  return kExitOk;
}

}  // namespace

void AddLoad(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("load", "Take the images of an archive, and print their ids and names");
  auto options = std::make_shared<Options>();
  command->add_option("-i,--input", options->file, "OCI layout or docker-archive, as tar, gzip or zstd; else stdin")
      ->type_name("FILE");
  command->footer(
      "Examples:\n"
      "  berth load -i web.tar\n"
      "  zstdcat web.tar.zst | berth load\n"
      "  skopeo copy docker://busybox oci-archive:b.tar:docker.io/library/busybox:latest && berth load -i b.tar");
  command->callback([options, &action] { action = [options](Session& session) { return Load(*options, session); }; });
}

}  // namespace berth::cli
