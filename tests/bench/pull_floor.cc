// pull_floor REGISTRY REPOSITORY TAG DIRECTORY: what a pull costs at the least, by the bare calls alone. Nothing of
// berth is in it, and neither unpacking nor records: one thread a layer gets the blob, hashes it, decompresses it,
// hashes that and writes it to one file, which is on disk (fdatasync) when the thread ends.
//
// Three phases, one after the other, and a line of JSON with their times in seconds:
//   bare      all layers at once, as above: from the first request to the last fdatasync
//   cpu       of this process in that phase; `longest` of the layer that took most of it, which no second core helps
//   wire      the same blobs, all at once, to nowhere
//   disk      as many bytes as `bare` wrote, one after the other, past the page cache
//   compressed, plain   bytes on the wire and on the disk
#include <curl/curl.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <openssl/evp.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kChunk = 256 << 10;
constexpr off_t kWriteBack = 8 << 20;  // so much is given to the disk at a time, while more is on its way

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "pull_floor: %s\n", what.c_str());
  std::exit(1);
}

double Seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

double CpuSeconds() {
  rusage use;
  getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_, EVP_sha256(), nullptr); }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void Update(const void* data, size_t size) { EVP_DigestUpdate(context_, data, size); }
  std::string Finish() {
    unsigned char bytes[32];
    EVP_DigestFinal_ex(context_, bytes, nullptr);
    std::string out = "sha256:";
    for (unsigned char b : bytes) {
      char hex[3];
      std::snprintf(hex, sizeof hex, "%02x", b);
      out += hex;
    }
    return out;
  }

 private:
  EVP_MD_CTX* context_;
};

// A file that is written to the disk while it grows.
class File {
 public:
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    if (fd_ < 0) Die(path + ": " + strerror(errno));
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void Write(const void* data, size_t size) {
    if (write(fd_, data, size) != static_cast<ssize_t>(size)) Die(std::string("write: ") + strerror(errno));
    size_ += static_cast<off_t>(size);
    if (size_ - given_ >= kWriteBack) {
      sync_file_range(fd_, given_, size_ - given_, SYNC_FILE_RANGE_WRITE);
      given_ = size_;
    }
  }
  void Sync() {
    if (fdatasync(fd_) != 0) Die(std::string("fdatasync: ") + strerror(errno));
  }
  size_t size() const { return static_cast<size_t>(size_); }

 private:
  const int fd_;
  off_t size_ = 0, given_ = 0;
};

struct Layer {
  std::string url, digest, diff_id;
  size_t compressed = 0, plain = 0;
  double cpu = 0;
};

// One layer on its way from the wire to a file.
class Pipeline {
 public:
  explicit Pipeline(const std::string& path) : zstd_(ZSTD_createDStream()), out_(kChunk), file_(path) {
    isal_inflate_init(&inflate_);
    inflate_.crc_flag = ISAL_GZIP;
  }
  ~Pipeline() { ZSTD_freeDStream(zstd_); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  void Take(const char* data, size_t size) {
    blob_.Update(data, size);
    if (first_) is_zstd_ = size >= 4 && memcmp(data, "\x28\xb5\x2f\xfd", 4) == 0;
    first_ = false;
    is_zstd_ ? Zstd(data, size) : Gzip(data, size);
  }

  void Finish(Layer& layer) {
    if (blob_.Finish() != layer.digest) Die("another blob than " + layer.digest);
    if (plain_.Finish() != layer.diff_id) Die("another layer than " + layer.diff_id);
    file_.Sync();
    layer.plain = file_.size();
  }

 private:
  void Emit(size_t size) {
    plain_.Update(out_.data(), size);
    file_.Write(out_.data(), size);
  }

  void Gzip(const char* data, size_t size) {
    inflate_.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(data));
    inflate_.avail_in = static_cast<uint32_t>(size);
    do {
      inflate_.next_out = reinterpret_cast<uint8_t*>(out_.data());
      inflate_.avail_out = kChunk;
      if (int rc = isal_inflate(&inflate_); rc != ISAL_DECOMP_OK) Die("inflate: " + std::to_string(rc));
      Emit(kChunk - inflate_.avail_out);
    } while (inflate_.block_state != ISAL_BLOCK_FINISH && (inflate_.avail_in > 0 || inflate_.avail_out == 0));
  }

  void Zstd(const char* data, size_t size) {
    ZSTD_inBuffer in = {data, size, 0};
    for (;;) {
      ZSTD_outBuffer out = {out_.data(), kChunk, 0};
      size_t rc = ZSTD_decompressStream(zstd_, &out, &in);
      if (ZSTD_isError(rc)) Die(std::string("zstd: ") + ZSTD_getErrorName(rc));
      Emit(out.pos);
      if (in.pos == in.size && (out.pos < kChunk || rc == 0)) return;
    }
  }

  bool first_ = true, is_zstd_ = false;
  inflate_state inflate_;
  ZSTD_DStream* const zstd_;
  std::vector<char> out_;
  Sha256 blob_, plain_;
  File file_;
};

using Receiver = void (*)(void* to, const char* data, size_t size);

struct Sink {
  Receiver receive;
  void* to;
};

size_t OnData(char* data, size_t, size_t size, void* sink) {
  auto* s = static_cast<Sink*>(sink);
  s->receive(s->to, data, size);
  return size;
}

void Get(const std::string& url, Sink sink, const char* accept = nullptr) {
  CURL* curl = curl_easy_init();
  curl_slist* headers = accept != nullptr ? curl_slist_append(nullptr, accept) : nullptr;
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, static_cast<long>(kChunk));
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, OnData);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
  if (CURLcode rc = curl_easy_perform(curl); rc != CURLE_OK) Die(url + ": " + curl_easy_strerror(rc));
  curl_slist_free_all(headers);
  curl_easy_cleanup(curl);
}

nlohmann::json GetJson(const std::string& url, const char* accept) {
  std::string text;
  Get(url, {[](void* to, const char* data, size_t size) { static_cast<std::string*>(to)->append(data, size); }, &text},
      accept);
  return nlohmann::json::parse(text);
}

std::vector<Layer> FindLayers(const std::string& repository, const std::string& tag) {
  nlohmann::json manifest = GetJson(
      repository + "/manifests/" + tag,
      "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json");
  nlohmann::json config = GetJson(repository + "/blobs/" + manifest["config"]["digest"].get<std::string>(), nullptr);
  std::vector<Layer> layers;
  for (size_t i = 0; i < manifest["layers"].size(); ++i) {
    const nlohmann::json& blob = manifest["layers"][i];
    std::string digest = blob["digest"];
    layers.push_back({repository + "/blobs/" + digest, digest, config["rootfs"]["diff_ids"][i], blob["size"]});
  }
  return layers;
}

// Runs `work` for all layers at once; the seconds that it took.
template <typename Work>
double AllAtOnce(std::vector<Layer>& layers, Work work) {
  const double begin = Seconds(CLOCK_MONOTONIC);
  std::vector<std::thread> threads;
  for (Layer& layer : layers) threads.emplace_back([&] { work(layer); });
  for (std::thread& t : threads) t.join();
  return Seconds(CLOCK_MONOTONIC) - begin;
}

void Pull(Layer& layer, const std::string& path) {
  Pipeline pipeline(path);
  Get(layer.url,
      {[](void* to, const char* data, size_t size) { static_cast<Pipeline*>(to)->Take(data, size); }, &pipeline});
  pipeline.Finish(layer);
  layer.cpu = Seconds(CLOCK_THREAD_CPUTIME_ID);
}

double WriteToDisk(const std::string& path, size_t bytes) {
  constexpr size_t kBlock = 1 << 20;
  std::unique_ptr<char, decltype(&free)> block(static_cast<char*>(aligned_alloc(4096, kBlock)), free);
  memset(block.get(), 'x', kBlock);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
  if (fd < 0) Die(path + ": " + strerror(errno));
  const double begin = Seconds(CLOCK_MONOTONIC);
  for (size_t done = 0; done < bytes; done += kBlock) {
    if (write(fd, block.get(), kBlock) != static_cast<ssize_t>(kBlock)) Die(path + ": " + strerror(errno));
  }
  fdatasync(fd);
  const double seconds = Seconds(CLOCK_MONOTONIC) - begin;
  close(fd);
  unlink(path.c_str());
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: pull_floor REGISTRY REPOSITORY TAG DIRECTORY\n");
    return 2;
  }
  curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::string directory = argv[4];
  std::vector<Layer> layers = FindLayers(std::string("http://") + argv[1] + "/v2/" + argv[2], argv[3]);
  auto path = [&](const Layer& layer) { return directory + "/" + layer.digest.substr(7); };

  const double cpu_before = CpuSeconds();
  const double bare = AllAtOnce(layers, [&](Layer& layer) { Pull(layer, path(layer)); });
  const double cpu = CpuSeconds() - cpu_before;
  size_t compressed = 0, plain = 0;
  double longest = 0;
  for (const Layer& layer : layers) {
    compressed += layer.compressed;
    plain += layer.plain;
    longest = std::max(longest, layer.cpu);
    unlink(path(layer).c_str());
  }
  const double wire = AllAtOnce(layers, [](Layer& layer) {
    Get(layer.url, {[](void*, const char*, size_t) {}, nullptr});
  });
  const double disk = WriteToDisk(directory + "/disk", plain);
  std::printf("%s\n", nlohmann::json{{"bare", bare},
                                     {"cpu", cpu},
                                     {"longest", longest},
                                     {"wire", wire},
                                     {"disk", disk},
                                     {"compressed", compressed},
                                     {"plain", plain}}
                          .dump()
                          .c_str());
  return 0;
}
