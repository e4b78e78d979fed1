// What a process is waiting for, in words: for messages about one that does not end.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace berth::sys {

// "process 12 (dd) in state D (uninterruptible) in percpu_rwsem_wait, system call 257", a few of them and the number of
// the rest, separated by "; ". Those that nothing can end come first, those that are gone are left out; "" when all
// are. What the kernel does not tell (wchan and syscall of proc(5) take the right to trace) is left out too.
std::string DescribeProcesses(const std::vector<pid_t>& pids);

}  // namespace berth::sys
