/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Short bulk transfers, both ways at once, one connection after the other.
 *
 *   bursts server PORT                     until it is ended
 *   bursts client ADDR PORT COUNT BYTES    prints "bursts N"
 *
 * Each side sends 100 bytes, pauses for up to 20 ms, then sends the rest; it
 * waits in poll() only.  So a connection goes from idle to bulk and to its end
 * within milliseconds, and nothing else moves meanwhile: what is not told then
 * is told never.  Who waits for longer than 20 s says so and exits with 1.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST       100
#define PAUSE_US    20000
#define PATIENCE_MS 20000
#define PIECE       8192

/* Sends total bytes of the pattern and receives as many. */
static void burst(int fd, unsigned number, uint64_t total, const char *who)
{
    struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
    uint64_t sent = 0, got = 0;
    uint8_t buf[PIECE];

    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        die("%s: fcntl: %s", who, errno_name(errno));
    }
    while (p.events) {
        if (poll(&p, 1, PATIENCE_MS) <= 0) {
            die("%s %u: nothing moves: sent %llu and received %llu of %llu",
                who, number, (unsigned long long)sent,
                (unsigned long long)got, (unsigned long long)total);
        }
        if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = recv(fd, buf, 1 + rand() % PIECE, 0);

            if (n < 0) {
                die("%s %u: recv after %llu bytes: %s", who, number,
                    (unsigned long long)got, errno_name(errno));
            }
            if (n == 0) {
                p.events &= ~POLLIN;
            }
            if (pattern_check(buf, n, number, got) != (size_t)n) {
                die("%s %u: wrong bytes behind %llu", who, number,
                    (unsigned long long)got);
            }
            got += n;
        }
        if (p.revents & POLLOUT) {
            uint64_t most = sent ? 1 + rand() % PIECE : FIRST;
            size_t len = most < total - sent ? most : total - sent;
            ssize_t n;

            if (!len) {
                p.events &= ~POLLOUT;
                shutdown(fd, SHUT_WR);
                continue;
            }
            pattern_fill(buf, len, number, sent);
            n = send(fd, buf, len, MSG_NOSIGNAL);
            if (n < 0) {
                die("%s %u: send after %llu bytes: %s", who, number,
                    (unsigned long long)sent, errno_name(errno));
            }
            if (!sent) {
                usleep(rand() % PAUSE_US);
            }
            sent += n;
        }
    }
    if (got != total) {
        die("%s %u: the end came after %llu of %llu bytes", who, number,
            (unsigned long long)got, (unsigned long long)total);
    }
    close(fd);
}

/* The client says first how much it will be. */
static void server(const char *port)
{
    int listener = listen_on(port, 8);

    printf("ready\n");
    fflush(stdout);
    for (unsigned number = 0;; number++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        uint64_t total;

        if (fd < 0 || recv(fd, &total, sizeof(total), MSG_WAITALL) !=
                      sizeof(total)) {
            die("server %u: %s", number, errno_name(errno));
        }
        burst(fd, number, total, "server");
    }
}

static void client(const char *host, const char *port, unsigned count,
                   uint64_t total)
{
    for (unsigned number = 0; number < count; number++) {
        int fd = connect_to(host, port);

        if (send(fd, &total, sizeof(total), MSG_NOSIGNAL) != sizeof(total)) {
            die("client %u: %s", number, errno_name(errno));
        }
        burst(fd, number, total, "client");
    }
    printf("bursts %u\n", count);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "server")) {
        server(argv[2]);
    } else if (argc == 6 && !strcmp(argv[1], "client")) {
        client(argv[2], argv[3], parse_number(argv[4], 1000000),
               parse_number(argv[5], 1 << 30));
    } else {
        die("usage: bursts server PORT | bursts client ADDR PORT COUNT BYTES");
    }
    return 0;
}
