/* pgrep NAME: the ids of the other processes whose command name contains NAME. Debian's busybox has no such applet. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 1 if the process is there and its name contains the wanted one. */
static int matches(int pid, const char *wanted) {
    char path[64], name[64] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    int hit = fgets(name, sizeof name, file) && strstr(name, wanted);
    fclose(file);
    return hit;
}

int main(int argc, char **argv) {
    DIR *processes = opendir("/proc");
    if (argc != 2 || !processes) {
        fprintf(stderr, "usage: pgrep NAME\n");
        return 2;
    }
    int found = 0;
    struct dirent *entry;
    while ((entry = readdir(processes))) {
        int pid = atoi(entry->d_name);
        if (pid <= 0 || pid == getpid() || !matches(pid, argv[1])) continue;
        printf("%d\n", pid);
        found = 1;
    }
    return !found;
}
