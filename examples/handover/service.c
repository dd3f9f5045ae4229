/* Answers "hello" to the clients that a disnix-tcp-proxy hands over: disnix-tcp-proxy-handover(7). A child serves each.
   systemd makes the socket (ListenDatagram=). Exits when idle: after a minute, or the seconds of its argument. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HANDOVER = 3, CHILDREN_MAX = 256 }; /* further clients wait in the socket */
static volatile sig_atomic_t stopping;
static void note(int number) { stopping |= number == SIGTERM; }

static void serve(int client) {
    char line[1024];
    fcntl(client, F_SETFL, 0); /* it was non-blocking */
    for (FILE *lines = fdopen(client, "r"); fgets(line, sizeof line, lines) && strncmp(line, "quit", 4);)
        dprintf(client, "%s\r\n", strncmp(line, "hello", 5) ? "Not understood" : "Hello world!");
    shutdown(client, SHUT_WR); /* closing it sends no end, because the proxy has it too */
    _exit(0); /* closes the socket and its token: the proxy no longer counts the client */
}

static int receive(void) { /* the clients of one datagram; returns the number of new children */
    union { struct cmsghdr header; char bytes[CMSG_SPACE(64 * sizeof(int))]; } control;
    struct iovec piece = { (char[10]){ 0 }, 10 };
    struct msghdr message = { NULL, 0, &piece, 1, &control, sizeof control, 0 };
    ssize_t size = recvmsg(HANDOVER, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights = size < 0 ? NULL : CMSG_FIRSTHDR(&message);
    int *fds = rights ? (int *)CMSG_DATA(rights) : NULL, children = 0;
    int count = rights ? (rights->cmsg_len - CMSG_LEN(0)) / sizeof *fds : 0;
    int is_known = size == 9 && memcmp(piece.iov_base, "clients/1", 9) == 0 && count % 2 == 0;
    for (int next = 0; next < count; next++) { /* the socket of a client, or its token */
        pid_t child = is_known && next % 2 == 0 ? fork() : -1;
        for (int other = next + 2; child == 0 && other < count; other++) close(fds[other]);
        if (child == 0) close(HANDOVER), serve(fds[next]);
        children += child > 0, close(fds[next]); /* the child has it; without one, the client comes again */
    }
    return children;
}

int main(int argc, char **argv) {
    const char *sockets = getenv("LISTEN_FDS"), *process = getenv("LISTEN_PID");
    if (!sockets || atoi(sockets) != 1 || !process || atoi(process) != getpid())
        return fputs("one socket is needed, of a .socket unit with ListenDatagram=\n", stderr), 2;
    struct timespec idle = { argc > 1 ? atoi(argv[1]) : 60, 0 };
    sigset_t blocked, none; /* the signals come only while this process waits, and never to a child */
    sigemptyset(&none), sigemptyset(&blocked), sigaddset(&blocked, SIGTERM), sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, NULL), signal(SIGTERM, note), signal(SIGCHLD, note);
    for (int children = 0, ready;; children += ready > 0 ? receive() : 0) {
        while (waitpid(-1, NULL, WNOHANG) > 0) children--;
        struct pollfd handover = { HANDOVER, stopping || children >= CHILDREN_MAX ? 0 : POLLIN, 0 };
        ready = stopping && children == 0 ? 0 : ppoll(&handover, 1, children > 0 ? NULL : &idle, &none);
        if (ready == 0) return 0; /* a client that comes now stays in the socket, and starts the next process */
    }
}
