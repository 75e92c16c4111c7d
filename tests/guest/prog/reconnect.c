/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One socket that a thread connects and disconnects (AF_UNSPEC) all the time, and
 * that others wait for, read, and ask about, whatever they get.
 *
 *   reconnect ADDR PORT SECONDS      prints "connected N"
 *
 * That it ends is all: the kernel must not fall over a socket that changes while
 * it is in use.  In between it looks whether connecting works.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define READERS 4

static int fd;
static double until;

static void *reader(void *opaque __attribute__((unused)))
{
    while (now() < until) {
        struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
        struct sockaddr_storage addr;
        socklen_t len = sizeof(addr);
        int value;
        char byte;

        poll(&p, 1, 1);
        recv(fd, &byte, 1, 0);
        send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        ioctl(fd, FIONREAD, &value);
        getsockname(fd, (struct sockaddr *)&addr, &len);
        len = sizeof(value);
        getsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &value, &len);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const struct sockaddr unspec = { .sa_family = AF_UNSPEC };
    struct sockaddr_storage addr;
    pthread_t threads[READERS];
    unsigned i, connected = 0;
    socklen_t len;

    if (argc != 4) {
        die("usage: reconnect ADDR PORT SECONDS");
    }
    len = parse_address(argv[1], argv[2], &addr);
    until = now() + parse_number(argv[3], 3600);
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket: %s", errno_name(errno));
    }
    for (i = 0; i < READERS; i++) {
        if (pthread_create(&threads[i], NULL, reader, NULL)) {
            die("no thread");
        }
    }
    while (now() < until) {
        connected += connect(fd, (struct sockaddr *)&addr, len) == 0;
        usleep(connected % 8 * 200);
        if (connect(fd, &unspec, sizeof(unspec))) {
            die("disconnect: %s", errno_name(errno));
        }
    }
    for (i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("connected %u\n", connected);
    return 0;
}
