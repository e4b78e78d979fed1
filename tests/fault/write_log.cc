// write_log BACKING LOG DIRECTORY: mounts DIRECTORY with one file, `disk`, that is BACKING, and appends to LOG what is
// done to it, in order: every write with its bytes, and every flush. For a loop device on it, LOG is what a disk would
// have been told.
//
// A record is three 64-bit integers of this machine's byte order (kind: 1 write, 2 flush; offset; length), and for a
// write `length` bytes. A record is in LOG before the write or flush is answered. Runs in the foreground until it is
// unmounted. One thread, so that the order in LOG is the order in which things were answered.
#define FUSE_USE_VERSION 31
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

constexpr char kName[] = "/disk";
enum Kind : uint64_t { kWrite = 1, kFlush = 2 };

int backing = -1, log_file = -1;

int Append(Kind kind, const char* data, uint64_t offset, uint64_t length) {
  uint64_t header[] = {kind, offset, length};
  iovec parts[] = {{header, sizeof header}, {const_cast<char*>(data), data != nullptr ? length : 0}};
  const ssize_t want = static_cast<ssize_t>(parts[0].iov_len + parts[1].iov_len);
  const ssize_t n = writev(log_file, parts, 2);
  if (n == want) return 0;
  return n < 0 ? -errno : -EIO;  // a log with half a record is of no use, and the disk fails with it
}

int GetAttributes(const char* path, struct stat* out, fuse_file_info*) {
  if (strcmp(path, "/") == 0) {
    *out = {};
    out->st_mode = S_IFDIR | 0700;
    out->st_nlink = 2;
    return 0;
  }
  if (strcmp(path, kName) != 0) return -ENOENT;
  return fstat(backing, out) == 0 ? 0 : -errno;
}

int Open(const char* path, fuse_file_info* info) {
  if (strcmp(path, kName) != 0) return -ENOENT;
  info->direct_io = 1;  // no cache of the kernel stands between the loop device and the log
  return 0;
}

int Read(const char*, char* buffer, size_t size, off_t offset, fuse_file_info*) {
  const ssize_t n = pread(backing, buffer, size, offset);
  return n < 0 ? -errno : static_cast<int>(n);
}

int Write(const char*, const char* data, size_t size, off_t offset, fuse_file_info*) {
  if (int err = Append(kWrite, data, static_cast<uint64_t>(offset), size); err != 0) return err;
  const ssize_t n = pwrite(backing, data, size, offset);
  return n < 0 ? -errno : static_cast<int>(n);
}

int Flush(const char*, int, fuse_file_info*) { return Append(kFlush, nullptr, 0, 0); }

constexpr fuse_operations Operations() {
  fuse_operations operations = {};
  operations.getattr = GetAttributes;
  operations.open = Open;
  operations.read = Read;
  operations.write = Write;
  operations.fsync = Flush;
  return operations;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: write_log BACKING LOG DIRECTORY\n");
    return 2;
  }
  backing = open(argv[1], O_RDWR | O_CLOEXEC);
  log_file = open(argv[2], O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (backing < 0 || log_file < 0) {
    std::fprintf(stderr, "write_log: open '%s', '%s': %s\n", argv[1], argv[2], strerror(errno));
    return 1;
  }
  char foreground[] = "-f", one_thread[] = "-s";
  char* arguments[] = {argv[0], foreground, one_thread, argv[3], nullptr};
  constexpr fuse_operations kOperations = Operations();
  return fuse_main(4, arguments, &kOperations, nullptr);
}
