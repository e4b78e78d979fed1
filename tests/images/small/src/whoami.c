/* Installed setuid root, it tells which user it runs as: no_new_privs makes the setuid bit mean nothing. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("Effective uid: %u\n", (unsigned)geteuid());
    return 0;
}
