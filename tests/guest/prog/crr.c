/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connect, exchange one byte each way, close: how often in a second.
 *
 *   crr server PORT                  until it is ended
 *   crr client ADDR PORT SECONDS     prints "rate N per second, errors N"
 *
 * One connection at a time, so that the rate is the inverse of what a whole
 * short connection takes.  The client closes first.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void server(const char *port)
{
    int listener = listen_on(port, 128);
    char byte;

    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0) {
            die("accept: %s", errno_name(errno));
        }
        if (recv(fd, &byte, 1, 0) == 1) {
            send(fd, &byte, 1, MSG_NOSIGNAL);
            /* The client's end: it closes first. */
            recv(fd, &byte, 1, 0);
        }
        close(fd);
    }
}

/* One connection; whether all of it went well. */
static bool once(const struct sockaddr_storage *addr, socklen_t len,
                 uint8_t byte)
{
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint8_t back = ~byte;
    bool good = fd >= 0 && connect(fd, (const void *)addr, len) == 0 &&
                send(fd, &byte, 1, MSG_NOSIGNAL) == 1 &&
                recv(fd, &back, 1, 0) == 1 && back == byte;

    if (!good) {
        fprintf(stderr, "%s\n", errno_name(errno));
    }
    close(fd);
    return good;
}

static void client(const char *host, const char *port, double seconds)
{
    struct sockaddr_storage addr;
    socklen_t len = parse_address(host, port, &addr);
    unsigned count = 0, errors = 0;
    double began = now(), took = 0;

    do {
        if (once(&addr, len, count)) {
            count++;
        } else if (++errors == 10) {
            break;
        }
        took = now() - began;
    } while (took < seconds);
    printf("rate %.1f per second, errors %u\n", count / took, errors);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "server")) {
        server(argv[2]);
    } else if (argc == 5 && !strcmp(argv[1], "client")) {
        client(argv[2], argv[3], parse_number(argv[4], 3600));
        return 0;
    }
    die("usage: crr server PORT | crr client ADDR PORT SECONDS");
}
