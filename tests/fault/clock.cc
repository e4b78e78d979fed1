// Preloaded into a daemon, it shifts the clock that the daemon reads by as much as a file says: a machine whose clock
// is set, for one process. BERTH_CLOCK names the file, 8 bytes with seconds in the machine's byte order, which is
// mapped: a change counts at once.
//
// It shifts what is read (clock_gettime, gettimeofday, time), not the clock by which the kernel ends a wait. A wait
// that goes by the real-time clock (a futex with FUTEX_CLOCK_REALTIME) asks for an end that was computed from the
// shifted clock, and so ends too late, or at once, for as long as the shift lasts: what a clock that is set does to it
// once.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>

namespace {

const volatile int64_t* Mapped() {
  const char* path = getenv("BERTH_CLOCK");
  if (path == nullptr) return nullptr;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) abort();  // a test that shifts nothing would pass
  void* page = mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (page == MAP_FAILED) abort();
  return static_cast<const volatile int64_t*>(page);
}

int64_t Shift() {
  static const volatile int64_t* const shift = Mapped();
  return shift == nullptr ? 0 : *shift;
}

}  // namespace

extern "C" {
int clock_gettime(clockid_t clock, timespec* t) noexcept {
  static auto* const real = reinterpret_cast<int (*)(clockid_t, timespec*)>(dlsym(RTLD_NEXT, "clock_gettime"));
  const int result = real(clock, t);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) t->tv_sec += Shift();
  return result;
}
int gettimeofday(timeval* t, void*) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *t = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}
time_t time(time_t* out) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}
}
