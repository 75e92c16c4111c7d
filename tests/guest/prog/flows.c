/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams that never stop sending, to a reader that can stop reading one.
 *
 *   flows server PORT STREAMS
 *   flows client ADDR PORT STREAMS      sends on all until it is ended
 *
 * The server accepts that many streams, prints "running", and reads whatever
 * comes, but for the streams it was told not to read.  Lines on its stdin:
 *
 *   pause N | resume N     do not read stream N; read it again
 *   mark                   prints "mark SECONDS BYTES..." , a count for each
 *
 * Streams are numbered as they were accepted.  What arrives is held against
 * the pattern of stream 0: a wrong byte ends the server with an error.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MAX_STREAMS 1024
#define CHUNK 65536
#define STDIN_INDEX UINT32_MAX

static struct { int fd; uint64_t bytes; } streams[MAX_STREAMS];
static uint8_t buffer[CHUNK];
static int ep;

static void watch(int op, int fd, uint32_t events, uint32_t index)
{
    struct epoll_event ev = { .events = events, .data.u32 = index };

    if (epoll_ctl(ep, op, fd, &ev) < 0) {
        die("epoll_ctl: %s", errno_name(errno));
    }
}

static void read_some(unsigned i)
{
    ssize_t n = recv(streams[i].fd, buffer, CHUNK, 0);

    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        die("stream %u: %s after %llu bytes", i,
            n ? errno_name(errno) : "ended",
            (unsigned long long)streams[i].bytes);
    }
    if (pattern_check(buffer, n, 0, streams[i].bytes) < (size_t)n) {
        die("stream %u: another byte near %llu", i,
            (unsigned long long)streams[i].bytes);
    }
    streams[i].bytes += n;
}

static void obey(unsigned count)
{
    char line[64];
    unsigned i;

    if (!fgets(line, sizeof(line), stdin)) {
        exit(0);
    }
    if (!strcmp(line, "mark\n")) {
        printf("mark %.6f", now());
        for (i = 0; i < count; i++) {
            printf(" %llu", (unsigned long long)streams[i].bytes);
        }
        printf("\n");
        fflush(stdout);
    } else if (sscanf(line, "pause %u", &i) == 1 && i < count) {
        watch(EPOLL_CTL_MOD, streams[i].fd, 0, i);
    } else if (sscanf(line, "resume %u", &i) == 1 && i < count) {
        watch(EPOLL_CTL_MOD, streams[i].fd, EPOLLIN, i);
    } else {
        die("not a command: %s", line);
    }
}

static void server(const char *port, unsigned count)
{
    int listener = listen_on(port, MAX_STREAMS);
    struct epoll_event ev[64];

    /* One line for each wake-up: stdio must not hold more back. */
    setvbuf(stdin, NULL, _IONBF, 0);
    printf("ready\n");
    fflush(stdout);
    for (unsigned i = 0; i < count; i++) {
        streams[i].fd = accept4(listener, NULL, NULL,
                                SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (streams[i].fd < 0) {
            die("accept: %s", errno_name(errno));
        }
        watch(EPOLL_CTL_ADD, streams[i].fd, EPOLLIN, i);
    }
    watch(EPOLL_CTL_ADD, 0, EPOLLIN, STDIN_INDEX);
    printf("running\n");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, ev, 64, -1);

        for (int i = 0; i < n; i++) {
            if (ev[i].data.u32 == STDIN_INDEX) {
                obey(count);
            } else {
                read_some(ev[i].data.u32);
            }
        }
    }
}

static void client(const char *addr, const char *port, unsigned count)
{
    struct epoll_event ev[64];

    for (unsigned i = 0; i < count; i++) {
        streams[i].fd = connect_to(addr, port);
        fcntl(streams[i].fd, F_SETFL, O_NONBLOCK);
        watch(EPOLL_CTL_ADD, streams[i].fd, EPOLLOUT, i);
    }
    for (;;) {
        int n = epoll_wait(ep, ev, 64, -1);

        for (int e = 0; e < n; e++) {
            unsigned i = ev[e].data.u32;
            ssize_t sent;

            pattern_fill(buffer, CHUNK, 0, streams[i].bytes);
            sent = send(streams[i].fd, buffer, CHUNK, MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN) {
                die("stream %u: %s", i, errno_name(errno));
            }
            streams[i].bytes += sent > 0 ? sent : 0;
        }
    }
}

int main(int argc, char **argv)
{
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (argc == 4 && !strcmp(argv[1], "server")) {
        server(argv[2], parse_number(argv[3], MAX_STREAMS));
    } else if (argc == 5 && !strcmp(argv[1], "client")) {
        client(argv[2], argv[3], parse_number(argv[4], MAX_STREAMS));
    }
    die("usage: flows server PORT STREAMS\n"
        "       flows client ADDR PORT STREAMS");
}
