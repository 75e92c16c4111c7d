/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many streams at once that echo.
 *
 *   echoes server PORT                       until it is ended
 *   echoes client ADDR PORT STREAMS BYTES [hold]
 *
 * The client connects all streams before it sends a byte, and prints
 * "connected N".  With "hold" it then waits for a line on stdin.  Then each
 * stream sends a pattern of its own and holds what comes back against it,
 * ends its direction, and expects the server's end.  At last it prints
 *
 *   streams N bytes TOTAL wrong N failed N
 *
 * wrong: streams that got another byte than they sent, or too few or too many;
 * failed: streams with an error of a call.  Each such stream has a line of its
 * own before.  The server prints "ready", and "open N" whenever the number of
 * connections has come back to 0.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define CHUNK 16384
#define MAX_EVENTS 256
#define MAX_FILES 16384

struct conn {
    int fd;
    uint32_t watched;       /* what epoll watches now */
    /* server: bytes read and not yet sent back */
    size_t have, done;
    bool eof;
    uint8_t *buf;
    /* client */
    unsigned index;
    uint64_t sent, received;
    bool finished;
};

static int ep;
static uint8_t scratch[CHUNK];

static void watch(struct conn *c, uint32_t events, int op)
{
    struct epoll_event ev = { .events = events, .data.ptr = c };

    if (op == EPOLL_CTL_MOD && events == c->watched) {
        return;
    }
    c->watched = events;
    if (epoll_ctl(ep, op, c->fd, &ev) < 0) {
        die("epoll_ctl: %s", errno_name(errno));
    }
}

static void allow_many_files(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < MAX_FILES) {
        limit.rlim_max = MAX_FILES;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        die("setrlimit: %s", errno_name(errno));
    }
}

/* The server. */

static unsigned open_conns;

static void server_close(struct conn *c)
{
    close(c->fd);
    free(c->buf);
    free(c);
    if (--open_conns == 0) {
        printf("open 0\n");
        fflush(stdout);
    }
}

/* Read, send back, until one of them would wait. */
static void server_turn(struct conn *c)
{
    for (;;) {
        ssize_t n;

        if (c->done < c->have) {
            n = send(c->fd, c->buf + c->done, c->have - c->done,
                     MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                watch(c, EPOLLOUT, EPOLL_CTL_MOD);
                return;
            }
            if (n < 0) {
                server_close(c);
                return;
            }
            c->done += n;
            continue;
        }
        n = recv(c->fd, c->buf, CHUNK, 0);
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLLIN, EPOLL_CTL_MOD);
            return;
        }
        if (n <= 0) {
            server_close(c);
            return;
        }
        c->have = n;
        c->done = 0;
    }
}

static void server_accept(int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL,
                         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof(*c));

        if (!c || !(c->buf = malloc(CHUNK))) {
            die("out of memory with %u connections", open_conns);
        }
        c->fd = fd;
        open_conns++;
        watch(c, EPOLLIN, EPOLL_CTL_ADD);
    }
    if (errno != EAGAIN && errno != ECONNABORTED) {
        die("accept: %s", errno_name(errno));
    }
}

static void server(const char *port)
{
    struct epoll_event ev[MAX_EVENTS] = { { .events = EPOLLIN } };
    int listener = listen_on(port, 4096);

    fcntl(listener, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, ev) < 0) {
        die("epoll_ctl: %s", errno_name(errno));
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, ev, MAX_EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr) {
                server_turn(ev[i].data.ptr);
            } else {
                server_accept(listener);
            }
        }
    }
}

/* The client. */

static unsigned wrong, failed, left;
static uint64_t total, bytes;

static void client_end(struct conn *c, unsigned *kind, const char *what,
                       uint64_t offset)
{
    if (kind) {
        (*kind)++;
        printf("stream %u: %s at %llu\n", c->index, what,
               (unsigned long long)offset);
    }
    close(c->fd);
    c->finished = true;
    left--;
}

static void client_send(struct conn *c)
{
    while (c->sent < bytes) {
        size_t len = bytes - c->sent < CHUNK ? bytes - c->sent : CHUNK;
        ssize_t n;

        pattern_fill(scratch, len, c->index, c->sent);
        n = send(c->fd, scratch, len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) {
                client_end(c, &failed, errno_name(errno), c->sent);
            }
            return;
        }
        c->sent += n;
    }
    if (c->watched & EPOLLOUT) {
        if (shutdown(c->fd, SHUT_WR) < 0) {
            client_end(c, &failed, errno_name(errno), c->sent);
            return;
        }
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
    }
}

static void client_receive(struct conn *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, scratch, CHUNK, 0);
        size_t good;

        if (n < 0) {
            if (errno != EAGAIN) {
                client_end(c, &failed, errno_name(errno), c->received);
            }
            return;
        }
        if (n == 0) {
            client_end(c, c->received == bytes ? NULL : &wrong,
                       "ended", c->received);
            return;
        }
        good = pattern_check(scratch, n, c->index, c->received);
        if (good < (size_t)n || c->received + n > bytes) {
            client_end(c, &wrong, "another byte", c->received + good);
            return;
        }
        c->received += n;
        total += n;
    }
}

static void client_connect(struct conn *c, const char *addr, const char *port)
{
    c->fd = connect_to(addr, port);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void client(const char *addr, const char *port, unsigned streams,
                   bool hold)
{
    struct conn *conns = calloc(streams, sizeof(*conns));
    struct epoll_event ev[MAX_EVENTS];

    if (!conns) {
        die("out of memory for %u streams", streams);
    }
    for (unsigned i = 0; i < streams; i++) {
        conns[i].index = i;
        client_connect(&conns[i], addr, port);
    }
    printf("connected %u\n", streams);
    fflush(stdout);
    if (hold && getchar() == EOF) {
        die("stdin ended while holding");
    }
    left = streams;
    for (unsigned i = 0; i < streams; i++) {
        watch(&conns[i], EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
    }
    while (left > 0) {
        int n = epoll_wait(ep, ev, MAX_EVENTS, -1);

        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;

            if (!c->finished && ev[i].events & EPOLLOUT) {
                client_send(c);
            }
            if (!c->finished && ev[i].events & ~EPOLLOUT) {
                client_receive(c);
            }
        }
    }
    printf("streams %u bytes %llu wrong %u failed %u\n", streams,
           (unsigned long long)total, wrong, failed);
    free(conns);
    exit(wrong || failed);
}

int main(int argc, char **argv)
{
    allow_many_files();
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (argc == 3 && !strcmp(argv[1], "server")) {
        server(argv[2]);
    } else if (argc >= 6 && !strcmp(argv[1], "client")) {
        bytes = parse_number(argv[5], UINT64_MAX / 2);
        client(argv[2], argv[3], parse_number(argv[4], 1000000),
               argc == 7 && !strcmp(argv[6], "hold"));
    }
    die("usage: echoes server PORT\n"
        "       echoes client ADDR PORT STREAMS BYTES [hold]");
}
