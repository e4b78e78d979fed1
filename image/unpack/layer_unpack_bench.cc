// Unpacks one blob into a fresh store and prints where the time goes.
// Usage: layer_unpack_bench BLOB DIFF_ID DIRECTORY [RUNS]
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/time/clock.h"
#include "image/content/digest.h"
#include "image/unpack/layer_store.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr size_t kChunk = 128 << 10;  // about what an HTTP client hands over

double CpuSeconds() {
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

absl::Status Run(const std::string& blob, const LayerBlob& promise, const std::string& root) {
  ASSIGN_OR_RETURN(std::unique_ptr<LayerStore> store, LayerStore::Open(root));
  absl::Time start = absl::Now();
  double cpu = CpuSeconds();
  ASSIGN_OR_RETURN(std::unique_ptr<LayerSink> sink, store->NewSink(promise));
  for (size_t at = 0; at < blob.size(); at += kChunk) {
    RETURN_IF_ERROR(sink->Write(absl::string_view(blob).substr(at, kChunk)));
  }
  ASSIGN_OR_RETURN(LayerResult result, sink->Finish());
  double unpacked = absl::ToDoubleSeconds(absl::Now() - start);
  std::vector<std::unique_ptr<LayerSink>> sinks;
  sinks.push_back(std::move(sink));
  RETURN_IF_ERROR(store->Commit(std::move(sinks)));
  double durable = absl::ToDoubleSeconds(absl::Now() - start);
  double megabytes = static_cast<double>(result.unpacked_bytes) / 1e6;
  printf("unpacked %.3f s, durable %.3f s, cpu %.3f s; %.0f MB on disk, %lu inodes: %.0f MB/s unpacked, %.0f durable\n",
         unpacked, durable, CpuSeconds() - cpu, megabytes, static_cast<unsigned long>(result.inodes),
         megabytes / unpacked, megabytes / durable);
  return absl::OkStatus();
}

}  // namespace
}  // namespace berth::image

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s BLOB DIFF_ID DIRECTORY [RUNS]\n", argv[0]);
    return 2;
  }
  auto blob = berth::sys::ReadFile(argv[1], size_t{8} << 30);
  if (!blob.ok()) {
    fprintf(stderr, "%s\n", blob.status().ToString().c_str());
    return 1;
  }
  berth::image::LayerBlob promise = {berth::image::Sha256Digest(*blob), blob->size(), argv[2]};
  for (int run = 0; run < (argc > 4 ? atoi(argv[4]) : 5); ++run) {
    // A directory of its own for each run: ext4 is slow in reusing what was just deleted.
    absl::Status status = berth::image::Run(*blob, promise, absl::StrCat(argv[3], "/run", run));
    if (!status.ok()) {
      fprintf(stderr, "%s\n", status.ToString().c_str());
      return 1;
    }
  }
  return 0;
}
