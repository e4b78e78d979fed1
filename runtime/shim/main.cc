// berth-shim: the zygote, and by forking itself the shim of each pod. Started by the daemon, never by people:
//   berth-shim zygote      with a SEQPACKET socket as descriptor 3
//   berth-shim hold        waits for the end of its input: the process that systemd wants to see in a new scope
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "runtime/shim/zygote.h"

namespace {

int Hold() {
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "hold") == 0) return Hold();
  int type = 0;
  socklen_t size = sizeof type;
  if (argc != 2 || strcmp(argv[1], "zygote") != 0 || getsockopt(3, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_SEQPACKET) {
    constexpr char kUsage[] = "berth-shim is started by berthd\n";
    return write(2, kUsage, sizeof kUsage - 1) > 0 ? 2 : 3;
  }
  return berth::shim::RunZygote(3);
}
