// berth-shim: the zygote, and by forking itself the shim of each pod. Started by the daemon, never by people:
//   berth-shim zygote      with a SEQPACKET socket as descriptor 3
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "runtime/shim/zygote.h"

int main(int argc, char** argv) {
  int type = 0;
  socklen_t size = sizeof type;
  if (argc != 2 || strcmp(argv[1], "zygote") != 0 || getsockopt(3, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_SEQPACKET) {
    constexpr char kUsage[] = "berth-shim is started by berthd\n";
    return write(2, kUsage, sizeof kUsage - 1) > 0 ? 2 : 3;
  }
  return berth::shim::RunZygote(3);
}
