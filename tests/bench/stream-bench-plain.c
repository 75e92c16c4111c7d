/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-bench: plain sockets, as a program without the overlay would use them.
 * What the overlay is measured against.
 *
 * Bulk goes through blocking calls.  In a ping-pong an end waits with poll(),
 * as every program does that has more than one thing to wait for, the overlay
 * among them; or, to compare, in recv() itself, which the kernel wakes faster.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "qapi/error.h"
#include "qemu/sockets.h"
#include "stream-bench.h"

static void plain_fail(BenchResult *res, const char *what)
{
    snprintf(res->error, sizeof(res->error), "%s: %s", what, strerror(errno));
}

static bool plain_send(int fd, const uint8_t *buf, size_t len)
{
    while (len) {
        ssize_t ret = send(fd, buf, len, MSG_NOSIGNAL);

        if (ret < 0) {
            return false;
        }
        buf += ret;
        len -= ret;
    }
    return true;
}

static void plain_send_all(int fd, const BenchJob *job, uint8_t *ring,
                           BenchResult *res)
{
    double end = bench_now() + job->seconds;
    unsigned i = 0;

    while (bench_now() < end) {
        if (!plain_send(fd, ring + i * BENCH_BUFFER, BENCH_BUFFER)) {
            plain_fail(res, "send");
            return;
        }
        i = (i + 1) % BENCH_BUFFERS;
    }
    shutdown(fd, SHUT_WR);
    /* The peer's end: all has arrived. */
    res->ok = recv(fd, ring, 1, 0) == 0;
}

static void plain_receive_all(int fd, uint8_t *ring, BenchResult *res)
{
    double begin = 0, end;
    unsigned i = 0;
    ssize_t ret;

    while ((ret = recv(fd, ring + i * BENCH_BUFFER, BENCH_BUFFER, 0)) > 0) {
        if (!begin) {
            begin = bench_now();
        }
        res->bytes += ret;
        i = (i + 1) % BENCH_BUFFERS;
    }
    end = bench_now();
    if (ret < 0) {
        plain_fail(res, "recv");
        return;
    }
    res->gbit = res->bytes * 8 / (end - begin) / 1e9;
    res->ok = true;
}

/* A whole message. */
static bool plain_message(int fd, const BenchJob *job, uint8_t *buf)
{
    size_t len = job->message;

    while (len) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t ret;

        if (!job->blocking && poll(&p, 1, -1) < 0) {
            return false;
        }
        ret = recv(fd, buf, len, job->blocking ? 0 : MSG_DONTWAIT);
        if (ret <= 0) {
            return false;
        }
        buf += ret;
        len -= ret;
    }
    return true;
}

static void plain_ping(int fd, const BenchJob *job, uint8_t *ring,
                       BenchResult *res)
{
    double end = bench_now() + job->seconds;
    GArray *times = g_array_new(false, false, sizeof(double));

    for (;;) {
        double begin = bench_now(), t;

        if (begin >= end) {
            break;
        }
        if (!plain_send(fd, ring, job->message) ||
            !plain_message(fd, job, ring)) {
            plain_fail(res, "ping-pong");
            return;
        }
        t = bench_now() - begin;
        g_array_append_val(times, t);
    }
    res->messages = times->len;
    res->latency_us = bench_median((double *)times->data, times->len) * 1e6 / 2;
    g_array_unref(times);
    res->ok = true;
}

static void plain_pong(int fd, const BenchJob *job, uint8_t *ring,
                       BenchResult *res)
{
    while (plain_message(fd, job, ring)) {
        if (!plain_send(fd, ring, job->message)) {
            plain_fail(res, "send");
            return;
        }
    }
    res->ok = true;
}

void bench_plain_end(const BenchJob *job, const SocketAddress *addr,
                     bool server, int listen_fd, BenchResult *res)
{
    g_autofree uint8_t *ring = g_malloc0(BENCH_BUFFERS * BENCH_BUFFER);
    Error *err = NULL;
    int fd;

    if (server) {
        qemu_socket_set_block(listen_fd);
        fd = accept(listen_fd, NULL, NULL);
        if (fd < 0) {
            plain_fail(res, "accept");
            return;
        }
    } else {
        fd = socket_connect((SocketAddress *)addr, &err);
        if (fd < 0) {
            snprintf(res->error, sizeof(res->error), "%s",
                     error_get_pretty(err));
            return;
        }
    }
    socket_set_nodelay(fd);
    if (job->kind == BENCH_THROUGHPUT && !server) {
        plain_send_all(fd, job, ring, res);
    } else if (job->kind == BENCH_THROUGHPUT) {
        plain_receive_all(fd, ring, res);
    } else if (!server) {
        plain_ping(fd, job, ring, res);
    } else {
        plain_pong(fd, job, ring, res);
    }
    close(fd);
}
