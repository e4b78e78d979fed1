#include "runtime/sys/terminal.h"

#include <termios.h>
#include <unistd.h>

namespace berth::sys {

void TypeEndOfFile(int master) {
  termios settings;
  if (tcgetattr(master, &settings) != 0) return;
  const char key = static_cast<char>(settings.c_cc[VEOF]);
  if (key != _POSIX_VDISABLE) (void)!write(master, &key, 1);
}

}  // namespace berth::sys
