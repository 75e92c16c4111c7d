/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of program sock (see sock.c) about the memory that a call names:
 *
 *   badsend N COUNT | badrecv N COUNT      at address 0
 *   holesend N | holerecv N [FIRST]        three pages, the second is missing;
 *                                          from the last FIRST bytes of the
 *                                          first page on
 *   zcsend N COUNT                         with MSG_ZEROCOPY
 *   zcwait N CALLS MS                      until so many of them completed
 *   errqueue N                             what MSG_ERRQUEUE gives
 */
#define _GNU_SOURCE
#include "sock.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef SO_EE_ORIGIN_ZEROCOPY
#define SO_EE_ORIGIN_ZEROCOPY 5
#endif

/* Three pages without the second; *page is the size of one. */
static uint8_t *pages_with_hole(size_t *page)
{
    uint8_t *map;

    *page = sysconf(_SC_PAGESIZE);
    map = mmap(NULL, 3 * *page, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || munmap(map + *page, *page) < 0) {
        die("a hole in memory: %s", errno_name(errno));
    }
    return map;
}

static void do_hole(struct sock *s, bool out)
{
    size_t page, first;
    uint8_t *map = pages_with_hole(&page);
    ssize_t n;

    first = count > 2 ? parse_number(word(2), page) : page;
    if (out) {
        pattern_fill(map + page - first, first, 0, s->sent);
        pattern_fill(map + 2 * page, page, 0, s->sent + first + page);
        sent(s, send(s->fd, map + page - first, 2 * page + first, 0));
    } else {
        n = recv(s->fd, map + page - first, 2 * page + first, 0);
        received(s, n, n > (ssize_t)first ? NULL : map + page - first, true);
    }
    munmap(map, page);
    munmap(map + 2 * page, page);
}

/* One notification: -1 and errno, or the number of calls it is about. */
static int zerocopy_done(struct sock *s, uint32_t *low, uint32_t *high)
{
    union {
        struct cmsghdr align;
        uint8_t space[CMSG_SPACE(sizeof(struct sock_extended_err) +
                                 sizeof(struct sockaddr_in6))];
    } control;
    struct msghdr msg = {
        .msg_control = &control, .msg_controllen = sizeof(control),
    };
    const struct sock_extended_err *err;
    const struct cmsghdr *cmsg;

    if (recvmsg(s->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
        return -1;
    }
    cmsg = CMSG_FIRSTHDR(&msg);
    if (!cmsg || !(msg.msg_flags & MSG_ERRQUEUE)) {
        die("a message of the error queue without the error");
    }
    err = (const struct sock_extended_err *)CMSG_DATA(cmsg);
    if (err->ee_origin != SO_EE_ORIGIN_ZEROCOPY || err->ee_errno) {
        die("an error of origin %u, errno %u", err->ee_origin, err->ee_errno);
    }
    *low = err->ee_info;
    *high = err->ee_data;
    return *high - *low + 1;
}

static void do_zcwait(struct sock *s)
{
    uint32_t calls = parse_number(word(2), 1000), done = 0, low, high;
    double limit = now() + parse_number(word(3), 600000) / 1e3;

    while (done < calls) {
        struct pollfd pfd = { s->fd, 0, 0 };
        int n = zerocopy_done(s, &low, &high);

        if (n > 0) {
            if (low != done) {
                printf("call %u completed before call %u\n", low, done);
                return;
            }
            done += n;
        } else if (errno != EAGAIN || now() > limit) {
            printf("%u of %u then %s\n", done, calls, errno_name(errno));
            return;
        } else {
            poll(&pfd, 1, 1000);
        }
    }
    printf("%u completed\n", done);
}

static void do_errqueue(struct sock *s)
{
    uint32_t low, high;
    int n = zerocopy_done(s, &low, &high);

    if (n < 0) {
        result(n);
    } else {
        printf("calls %u to %u\n", low, high);
    }
}

bool memory_command(void)
{
    static const char *const names[] = {
        "badsend", "badrecv", "holesend", "holerecv", "zcsend", "zcwait",
        "errqueue", NULL,
    };
    struct sock *s;
    int i = 0;

    while (names[i] && !is(names[i])) {
        i++;
    }
    if (!names[i]) {
        return false;
    }
    s = find(word(1));
    if (is("badsend")) {
        result(send(s->fd, NULL, parse_number(word(2), MAX_IO), 0));
    } else if (is("badrecv")) {
        result(recv(s->fd, NULL, parse_number(word(2), MAX_IO), 0));
    } else if (is("holesend") || is("holerecv")) {
        do_hole(s, is("holesend"));
    } else if (is("zcsend")) {
        size_t len = fill(s, word(2));

        sent(s, send(s->fd, buffer, len, MSG_ZEROCOPY));
    } else if (is("zcwait")) {
        do_zcwait(s);
    } else {
        do_errqueue(s);
    }
    return true;
}
