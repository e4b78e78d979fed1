#include "runtime/shim/exit_record.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "runtime/sys/file.h"

namespace berth::shim {
namespace {

// A record without its message has less than 200 bytes.
constexpr off_t kRoom = 4096;
constexpr size_t kMostMessage = 3072;

std::string RecordName(absl::string_view id) { return absl::StrCat(id, ".exit"); }
std::string RoomName(absl::string_view id) { return absl::StrCat(".", id, ".exit.new"); }

}  // namespace

absl::Status ReserveExitRecord(int dir, absl::string_view id) {
  const std::string name = RoomName(id);
  auto fd = sys::OpenAt(dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
  RETURN_IF_ERROR(fd, "exit record");
  // Its size stays 0. Without room when the file system reserves none.
  if (fallocate(fd->get(), FALLOC_FL_KEEP_SIZE, 0, kRoom) == 0 || errno == EOPNOTSUPP) return absl::OkStatus();
  const int why = errno;
  unlinkat(dir, name.c_str(), 0);
  return ErrnoError(why, absl::StrCat("exit record: allocate '", name, "'"));
}

absl::Status WriteExitRecord(int dir, v1::ExitRecord record) {
  if (record.error().size() > kMostMessage) record.mutable_error()->resize(kMostMessage);
  const std::string room = RoomName(record.container_id()), name = RecordName(record.container_id());
  {
    // Not truncated: that would give the room away.
    ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(dir, room, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600));
    RETURN_IF_ERROR(sys::WriteAll(fd.get(), record.SerializeAsString(), room));
  }
  if (renameat(dir, room.c_str(), dir, name.c_str()) == 0) return absl::OkStatus();
  return ErrnoError(errno, absl::StrCat("rename '", room, "' to '", name, "'"));
}

void RemoveExitRecord(int dir, absl::string_view id) {
  unlinkat(dir, RoomName(id).c_str(), 0);
  unlinkat(dir, RecordName(id).c_str(), 0);
}

}  // namespace berth::shim
