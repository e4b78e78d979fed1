/* webserver PORT NAME PADDING: stands in for a web server called NAME. Answers every request with a small page.
 *
 * Like the real ones it has a master process, which writes /var/run/NAME.pid and shows its role in its title, and a
 * worker that serves. It logs one line with its name when it is ready and one for each request. SIGTERM, SIGINT and
 * SIGQUIT end it. PADDING is not read: it makes room for the longer title. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t worker;

static void quit(int signal) {
    (void)signal;
    if (worker > 0) kill(worker, SIGKILL);
    _exit(0);
}

/* Overwrites the arguments, which is where ps reads a title. */
static void set_title(int argc, char **argv, const char *title) {
    char *end = strchr(argv[argc - 1], '\0');
    size_t room = (size_t)(end - argv[0]);
    memset(argv[0], 0, room);
    snprintf(argv[0], room, "%s", title);
}

static int listen_on(int family, const struct sockaddr *address, socklen_t size) {
    int on = 1, off = 0, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address, size) == 0 && listen(fd, 64) == 0) return fd;
    close(fd);
    return -1;
}

/* One socket for both families where there is IPv6, else IPv4 alone. */
static int listen_anywhere(in_port_t port) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = port};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = port};
    int fd = listen_on(AF_INET6, (struct sockaddr *)&six, sizeof six);
    return fd >= 0 ? fd : listen_on(AF_INET, (struct sockaddr *)&four, sizeof four);
}

static void serve(int listener, const char *name) {
    static const char page[] = "<html><body><h1>It works!</h1></body></html>\n";
    char request[4096];
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        if (read(fd, request, sizeof request) > 0) {
            dprintf(fd,
                    "HTTP/1.1 200 OK\r\nServer: %s\r\nContent-Type: text/html\r\nContent-Length: %zu\r\n"
                    "Connection: close\r\n\r\n%s",
                    name, sizeof page - 1, page);
            dprintf(STDOUT_FILENO, "%s: answered 200\n", name);
        }
        close(fd);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: webserver PORT NAME PADDING\n");
        return 2;
    }
    char name[16], text[64];
    int port = atoi(argv[1]);
    snprintf(name, sizeof name, "%s", argv[2]);
    prctl(PR_SET_NAME, name);
    signal(SIGPIPE, SIG_IGN);

    int listener = listen_anywhere(htons((in_port_t)port));
    if (listener < 0) {
        perror("listen");
        return 1;
    }
    fprintf(stderr, "%s: serving port %d\n", name, port);

    worker = fork();
    if (worker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(text, sizeof text, "%s: worker process", name);
        set_title(argc, argv, text);
        serve(listener, name);
    }
    signal(SIGTERM, quit);
    signal(SIGINT, quit);
    signal(SIGQUIT, quit);
    snprintf(text, sizeof text, "/var/run/%s.pid", name);
    FILE *file = fopen(text, "w");
    if (file) {
        fprintf(file, "%d\n", (int)getpid());
        fclose(file);
    }
    snprintf(text, sizeof text, "%s: master process /usr/sbin/%s", name, name);
    set_title(argc, argv, text);
    while (wait(NULL) != worker) {
    }
    return 1;
}
