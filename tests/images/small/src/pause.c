/* pause: does nothing for ever, as a container's first process. Without a C library the whole image is 1 kB (x86-64).
 *
 * It reaps what is orphaned to it, and SIGINT or SIGTERM end it. They are blocked and waited for: a first process
 * without a handler would never be given them otherwise. */
enum { RT_SIGPROCMASK = 14, WAIT4 = 61, RT_SIGTIMEDWAIT = 128, EXIT_GROUP = 231 };
enum { INT = 2, TERM = 15, CHLD = 17, NOHANG = 1 };

static long call(long number, long a, long b, long c, long d) {
    long result;
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}

#define BIT(signal) (1UL << ((signal) - 1))

void _start(void) {
    unsigned long set = BIT(INT) | BIT(TERM) | BIT(CHLD);
    call(RT_SIGPROCMASK, 0, (long)&set, 0, sizeof set);
    for (;;) {
        long signal = call(RT_SIGTIMEDWAIT, (long)&set, 0, 0, sizeof set);
        if (signal == INT || signal == TERM) call(EXIT_GROUP, 0, 0, 0, 0);
        while (signal == CHLD && call(WAIT4, -1, 0, NOHANG, 0) > 0) {
        }
    }
}
