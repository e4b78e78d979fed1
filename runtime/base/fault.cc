#include "runtime/base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "runtime/base/status.h"

namespace berth::fault {
namespace {

size_t room = 0;  // for how many Passed
Program program = kAnyProgram;

Control* Map() {
  const char* path = getenv("BERTH_FAULTS");
  if (path == nullptr) return nullptr;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  struct stat st = {};
  void* map = MAP_FAILED;
  if (fd >= 0 && fstat(fd, &st) == 0 && static_cast<size_t>(st.st_size) >= sizeof(Control)) {
    map = mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (fd >= 0) close(fd);
  auto* found = static_cast<Control*>(map);
  // A test that asks for faults and gets none would prove nothing.
  if (map == MAP_FAILED || memcmp(found->magic, "BFAULTS1", sizeof found->magic) != 0) _exit(125);
  room = (static_cast<size_t>(st.st_size) - sizeof(Control)) / sizeof(Passed);
  program = strcmp(program_invocation_short_name, "berth-shim") == 0 ? kShim : kBerthd;
  return found;
}

void Trace(const Site& site) {
  const uint32_t at = control->passed.fetch_add(1, std::memory_order_relaxed);
  if (at >= room) return;
  Passed& entry = reinterpret_cast<Passed*>(control + 1)[at];
  entry.line = site.line;
  strncpy(entry.file, site.file, sizeof entry.file);
  strncpy(entry.step, site.step, sizeof entry.step);
  entry.pid = getpid();
}

bool IsHere(const Site& site) {
  if (control->armed.load(std::memory_order_acquire) == 0 || control->line != site.line) return false;
  if (control->program != kAnyProgram && control->program != program) return false;
  if (strncmp(control->file, site.file, sizeof control->file) != 0) return false;
  if (control->skip.fetch_sub(1) > 0) return false;
  return control->repeat != 0 || control->armed.exchange(0) != 0;
}

}  // namespace

Control* control = Map();

absl::Status Pass(const Site& site) {
  if (control->tracing.load(std::memory_order_relaxed) != 0) Trace(site);
  if (!IsHere(site)) return absl::OkStatus();
  control->fired_pid = getpid();
  ++control->fired;
  switch (control->action) {
    case kKill:
      kill(getpid(), SIGKILL);
      _exit(128 + SIGKILL);  // the first process of a PID namespace, which its own signals do not end
    case kStop:
      kill(getpid(), SIGSTOP);
      break;
    default:
      return ErrnoError(control->error_number, "fault on demand");
  }
  return absl::OkStatus();
}

}  // namespace berth::fault
