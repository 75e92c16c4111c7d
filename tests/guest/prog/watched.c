/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connects without waiting, one connection after the other, and watches each
 * until it is there, without pause: whatever the socket says meanwhile must be
 * what a socket says whose connection is on its way.
 *
 *   watched ADDR PORT COUNT        prints "watched N looks M"
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define PATIENCE_S 20

/* Returns how often it has looked. */
static unsigned long watch(int fd, unsigned number)
{
    struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };
    double until = now() + PATIENCE_S;
    unsigned long looks = 0;
    uint8_t byte;

    while (!poll(&p, 1, 0)) {
        looks++;
        if (now() > until) {
            die("connection %u: not there after %d s", number, PATIENCE_S);
        }
        /* It may be there by now, and nothing was sent. */
        if (recv(fd, &byte, 1, MSG_PEEK) >= 0 || errno != EAGAIN) {
            die("connection %u: recv() after %lu looks: %s", number, looks,
                errno_name(errno));
        }
    }
    if (p.revents != POLLOUT) {
        die("connection %u: poll() after %lu looks: events 0x%x", number,
            looks, p.revents);
    }
    return looks;
}

int main(int argc, char **argv)
{
    struct sockaddr_storage addr;
    unsigned long looks = 0;
    unsigned count;
    socklen_t len;

    if (argc != 4) {
        die("usage: watched ADDR PORT COUNT");
    }
    len = parse_address(argv[1], argv[2], &addr);
    count = parse_number(argv[3], 1000000);
    for (unsigned number = 0; number < count; number++) {
        int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, len) == 0 ||
            errno != EINPROGRESS) {
            die("connection %u: connect: %s", number, errno_name(errno));
        }
        looks += watch(fd, number);
        if (send(fd, "x", 1, MSG_NOSIGNAL) != 1) {
            die("connection %u: send: %s", number, errno_name(errno));
        }
        close(fd);
    }
    printf("watched %u looks %lu\n", count, looks);
    return 0;
}
