/* ipcs -m: the shared memory segments of this IPC namespace. Debian's busybox has no such applet. */
#include <stdio.h>

int main(void) {
    FILE *table = fopen("/proc/sysvipc/shm", "r");
    if (!table) {
        perror("/proc/sysvipc/shm");
        return 1;
    }
    puts("------ Shared Memory Segments --------");
    puts("key        shmid      owner      perms      bytes      nattch");
    char line[512];
    while (fgets(line, sizeof line, table)) {
        int key, id;
        unsigned mode, creator, last, attached, uid;
        unsigned long bytes;
        if (sscanf(line, "%d %d %o %lu %u %u %u %u", &key, &id, &mode, &bytes, &creator, &last, &attached, &uid) != 8)
            continue; /* the heading */
        printf("0x%08x %-10d %-10u %-10o %-10lu %-10u\n", (unsigned)key, id, uid, mode & 0777, bytes, attached);
    }
    fclose(table);
    return 0;
}
