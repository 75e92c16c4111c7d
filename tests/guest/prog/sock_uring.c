/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of program sock (see sock.c) for io_uring.  Each request has a name
 * by which its completion is asked for:
 *
 *   uring                          make the ring
 *   usend R N COUNT                urecv R N COUNT
 *   uaccept R N NEW                uconnect R N ADDR PORT
 *   upoll R N EVENTS               ucancel R OTHER
 *   usocket R NEW tcp|tcp6         (6.1 and later)
 *   ureap R MS                     wait for its completion; the result
 */
#define _GNU_SOURCE
#include "sock.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REQUESTS 64

struct request {
    char name[16];      /* empty: free */
    char verb[16];
    char made[16];      /* name of the socket that it makes */
    struct sock *sock;
    struct sockaddr_storage addr;
    uint8_t *data;
    bool done;
    int res;
};

static struct io_uring ring;
static bool have_ring;
static struct request requests[MAX_REQUESTS];

static struct request *find_request(const char *name)
{
    for (int i = 0; i < MAX_REQUESTS; i++) {
        if (!strcmp(requests[i].name, name)) {
            return &requests[i];
        }
    }
    die("there is no request \"%s\"", name);
}

/* A free one, for "" is the name of such. */
static struct request *new_request(void)
{
    struct request *r = find_request("");

    memset(r, 0, sizeof(*r));
    snprintf(r->name, sizeof(r->name), "%s", word(1));
    snprintf(r->verb, sizeof(r->verb), "%s", words[0]);
    return r;
}

static void prepare(struct io_uring_sqe *sqe, struct request *r)
{
    if (is("ucancel")) {
        io_uring_prep_cancel(sqe, find_request(word(2)), 0);
        return;
    }
    if (is("usocket")) {
        snprintf(r->made, sizeof(r->made), "%s", word(2));
        io_uring_prep_socket(sqe, strcmp(word(3), "tcp6") ? AF_INET
                                                          : AF_INET6,
                             SOCK_STREAM, 0, 0);
        return;
    }
    r->sock = find(word(2));
    if (is("usend")) {
        size_t len = fill(r->sock, word(3));

        r->data = malloc(len);
        memcpy(r->data, buffer, len);
        /* What follows is the next piece, in whatever order they end. */
        r->sock->sent += len;
        io_uring_prep_send(sqe, r->sock->fd, r->data, len, MSG_WAITALL);
    } else if (is("urecv")) {
        size_t len = parse_number(word(3), MAX_IO);

        r->data = malloc(len);
        io_uring_prep_recv(sqe, r->sock->fd, r->data, len, 0);
    } else if (is("uaccept")) {
        snprintf(r->made, sizeof(r->made), "%s", word(3));
        io_uring_prep_accept(sqe, r->sock->fd, NULL, NULL, SOCK_CLOEXEC);
    } else if (is("uconnect")) {
        socklen_t len = parse_address(word(3), word(4), &r->addr);

        io_uring_prep_connect(sqe, r->sock->fd, (struct sockaddr *)&r->addr,
                              len);
    } else {
        io_uring_prep_poll_add(sqe, r->sock->fd, parse_events(word(3)));
    }
}

static void do_request(void)
{
    struct io_uring_sqe *sqe = have_ring ? io_uring_get_sqe(&ring) : NULL;
    struct request *r = new_request();
    int n;

    if (!sqe) {
        die("no ring, or it is full");
    }
    prepare(sqe, r);
    io_uring_sqe_set_data(sqe, r);
    n = io_uring_submit(&ring);
    printf("%s\n", n == 1 ? "submitted" : errno_name(-n));
}

static void show(struct request *r)
{
    if (r->res < 0) {
        printf("%s\n", errno_name(-r->res));
    } else if (!strcmp(r->verb, "urecv")) {
        received(r->sock, r->res, r->data, true);
    } else if (!strcmp(r->verb, "upoll")) {
        print_events(r->res);
        printf("\n");
    } else if (r->made[0]) {
        add(r->made, r->res);
    } else {
        printf("%d\n", r->res);
    }
}

static void do_reap(void)
{
    struct request *r = find_request(word(1));
    double limit = now() + parse_number(word(2), 600000) / 1e3;

    while (!r->done) {
        struct __kernel_timespec ts = { .tv_nsec = 100000000 };
        struct io_uring_cqe *cqe;
        int n = io_uring_wait_cqe_timeout(&ring, &cqe, &ts);

        if (!n) {
            struct request *other = io_uring_cqe_get_data(cqe);

            /* The time-out of the wait is a request, too. */
            if (other) {
                other->done = true;
                other->res = cqe->res;
            }
            io_uring_cqe_seen(&ring, cqe);
        } else if (now() > limit) {
            printf("nothing\n");
            return;
        }
    }
    show(r);
    free(r->data);
    r->name[0] = '\0';
}

bool uring_command(void)
{
    static const char *const names[] = {
        "usend", "urecv", "uaccept", "uconnect", "upoll", "ucancel", "usocket",
        NULL,
    };

    if (is("uring")) {
        int n = io_uring_queue_init(32, &ring, 0);

        have_ring = n == 0;
        printf("%s\n", n ? errno_name(-n) : "ok");
        return true;
    }
    if (is("ureap")) {
        do_reap();
        return true;
    }
    for (int i = 0; names[i]; i++) {
        if (is(names[i])) {
            do_request();
            return true;
        }
    }
    return false;
}
