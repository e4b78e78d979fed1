// Pseudoterminals, seen from the master. See pty(7), termios(3).
#pragma once

namespace berth::sys {

// Types the terminal's end-of-file character, if it has one: a program that reads lines reads its end, one that reads
// keys gets Ctrl-D. What does not go into a non-blocking master at once is not typed.
void TypeEndOfFile(int master);

}  // namespace berth::sys
