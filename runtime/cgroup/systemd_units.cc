#include "runtime/cgroup/systemd_units.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>

#include "runtime/base/deadline.h"

namespace berth::cgroup {
namespace {

constexpr char kPrivateSocket[] = "unix:path=/run/systemd/private";
constexpr char kService[] = "org.freedesktop.systemd1";
constexpr char kManagerPath[] = "/org/freedesktop/systemd1";
constexpr char kManager[] = "org.freedesktop.systemd1.Manager";
// How long systemd waits between SIGTERM and SIGKILL when it stops a scope that is not empty: at shutdown, or because
// an administrator told it to.
constexpr uint64_t kStopMicroseconds = 10'000'000;

struct CloseBus {
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
struct UnrefMessage {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using BusPtr = std::unique_ptr<sd_bus, CloseBus>;
using MessagePtr = std::unique_ptr<sd_bus_message, UnrefMessage>;

struct BusError {
  sd_bus_error error = SD_BUS_ERROR_NULL;
  BusError() = default;
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;
  ~BusError() { sd_bus_error_free(&error); }
  bool Is(const char* name) const { return sd_bus_error_has_name(&error, name) > 0; }
};

absl::Status Unreachable(int err, absl::string_view what) {
  return absl::UnavailableError(ErrnoError(-err, absl::StrCat("systemd: ", what)).message());
}

absl::StatusOr<BusPtr> Connect() {
  sd_bus* raw = nullptr;
  if (int r = sd_bus_new(&raw); r < 0) return Unreachable(r, "sd_bus_new");
  BusPtr direct(raw);
  int r = sd_bus_set_address(raw, kPrivateSocket);
  if (r >= 0) r = sd_bus_start(raw);
  if (r >= 0) return direct;
  if (r = sd_bus_open_system(&raw); r < 0) return Unreachable(r, "connect");
  return BusPtr(raw);
}

// The jobs that ended while we listened, and with which result.
class Jobs {
 public:
  absl::Status Listen(sd_bus* bus) {
    const int r = sd_bus_match_signal(bus, nullptr, nullptr, kManagerPath, kManager, "JobRemoved", OnRemoved, this);
    return r < 0 ? Unreachable(r, "listen to JobRemoved") : absl::OkStatus();
  }

  absl::StatusOr<std::string> Await(sd_bus* bus, const std::string& job, const Deadline& deadline) {
    for (;;) {
      if (auto it = ended_.find(job); it != ended_.end()) return it->second;
      int r = sd_bus_process(bus, nullptr);
      if (r < 0) return Unreachable(r, "wait for a job");
      if (r > 0) continue;
      if (deadline.Passed()) return absl::DeadlineExceededError("systemd: the job does not end");
      if (r = sd_bus_wait(bus, static_cast<uint64_t>(deadline.Milliseconds()) * 1000); r < 0)
        return Unreachable(r, "wait for a job");
    }
  }

 private:
  static int OnRemoved(sd_bus_message* message, void* self, sd_bus_error*) {
    uint32_t id = 0;
    const char *job = nullptr, *unit = nullptr, *result = nullptr;
    if (sd_bus_message_read(message, "uoss", &id, &job, &unit, &result) >= 0) {
      static_cast<Jobs*>(self)->ended_[job] = result;
    }
    return 0;
  }
  std::map<std::string, std::string> ended_;
};

absl::Status CallError(int r, const BusError& error, absl::string_view what) {
  const std::string text = absl::StrCat("systemd: ", what, ": ",
                                        error.error.message ? error.error.message : ErrnoError(-r, "call").message());
  if (error.Is("org.freedesktop.systemd1.UnitExists")) return absl::AlreadyExistsError(text);
  if (error.Is("org.freedesktop.DBus.Error.AccessDenied")) return absl::PermissionDeniedError(text);
  if (error.Is("org.freedesktop.DBus.Error.InvalidArgs")) return absl::InvalidArgumentError(text);
  if (r == -ETIMEDOUT) return absl::DeadlineExceededError(text);
  return absl::UnavailableError(text);
}

// Sends the call, whose answer is a job, and waits for that job. The answer's own error goes to `error`.
absl::Status RunJob(sd_bus* bus, sd_bus_message* call, absl::string_view what, absl::Duration timeout,
                    BusError& error) {
  const Deadline deadline = Deadline::In(timeout);
  Jobs jobs;
  RETURN_IF_ERROR(jobs.Listen(bus));
  sd_bus_message* raw = nullptr;
  int r = sd_bus_call(bus, call, static_cast<uint64_t>(absl::ToInt64Microseconds(timeout)), &error.error, &raw);
  if (r < 0) return CallError(r, error, what);
  const MessagePtr reply(raw);
  const char* job = nullptr;
  if (r = sd_bus_message_read(raw, "o", &job); r < 0) return Unreachable(r, what);
  ASSIGN_OR_RETURN(const std::string result, jobs.Await(bus, job, deadline), what);
  if (result == "done") return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("systemd: ", what, ": the job's result is '", result, "'"));
}

absl::StatusOr<MessagePtr> NewCall(sd_bus* bus, const char* method) {
  sd_bus_message* raw = nullptr;
  const int r = sd_bus_message_new_method_call(bus, &raw, kService, kManagerPath, kManager, method);
  if (r < 0) return Unreachable(r, method);
  return MessagePtr(raw);
}

int AppendScope(sd_bus_message* m, const Scope& scope, pid_t pid) {
  // No Append after one that failed: the first error is the one that counts.
  int r = sd_bus_message_append(m, "ss", scope.unit.c_str(), "fail");
  const auto add = [&](auto... arguments) {
    if (r >= 0) r = sd_bus_message_append(m, "(sv)", arguments...);
  };
  if (r >= 0) r = sd_bus_message_open_container(m, 'a', "(sv)");
  add("Description", "s", "Pod of berth");
  add("Slice", "s", scope.slice.c_str());
  add("PIDs", "au", 1, static_cast<uint32_t>(pid));
  add("Delegate", "b", 1);
  add("DefaultDependencies", "b", 0);
  add("CollectMode", "s", "inactive-or-failed");
  add("TasksMax", "t", UINT64_MAX);
  add("TimeoutStopUSec", "t", kStopMicroseconds);
  for (const char* kind : {"CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"}) add(kind, "b", 1);
  if (r >= 0) r = sd_bus_message_close_container(m);
  if (r >= 0) r = sd_bus_message_append(m, "a(sa(sv))", 0);  // auxiliary units: none
  return r;
}

}  // namespace

bool SystemdIsInit() { return sd_booted() > 0; }

absl::Status StartScope(const Scope& scope, pid_t pid, absl::Duration timeout) {
  const std::string what = absl::StrCat("start scope '", scope.unit, "' in '", scope.slice, "'");
  ASSIGN_OR_RETURN(const BusPtr bus, Connect(), what);
  ASSIGN_OR_RETURN(const MessagePtr call, NewCall(bus.get(), "StartTransientUnit"), what);
  if (int r = AppendScope(call.get(), scope, pid); r < 0) return Unreachable(r, what);
  BusError error;
  return RunJob(bus.get(), call.get(), what, timeout, error);
}

absl::Status StopUnit(const std::string& unit, absl::Duration timeout) {
  const std::string what = absl::StrCat("stop '", unit, "'");
  ASSIGN_OR_RETURN(const BusPtr bus, Connect(), what);
  ASSIGN_OR_RETURN(const MessagePtr call, NewCall(bus.get(), "StopUnit"), what);
  if (int r = sd_bus_message_append(call.get(), "ss", unit.c_str(), "replace"); r < 0) return Unreachable(r, what);
  BusError error;
  absl::Status status = RunJob(bus.get(), call.get(), what, timeout, error);
  return error.Is("org.freedesktop.systemd1.NoSuchUnit") ? absl::OkStatus() : status;
}

}  // namespace berth::cgroup
