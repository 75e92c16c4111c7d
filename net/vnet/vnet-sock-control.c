/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control connection of a link over sockets.
 *
 * Messages to send are collected and go out together at the end of the
 * dispatch.  What the peer does not read waits, up to VNET_SOCK_CONTROL_MAX
 * bytes; more is an error that the behaviour answers by closing the link.
 *
 * Almost any call into the behaviour can close the connection, and even make
 * another.  `generation` counts the closes: a function that has called out
 * compares it before it goes on.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "vnet-sock.h"

/* Room for many messages per read; a partial one is far smaller. */
#define VNET_SOCK_CONTROL_IN (16 * KiB)

static void vnet_sock_control_at_end(VnetAtEnd *e)
{
    VnetSockLink *k = container_of(e, VnetSockLink, control.flush);

    vnet_sock_control_flush(k);
}

bool vnet_sock_control_put(VnetSockLink *k, const void *buf, size_t len)
{
    VnetSockControl *c = &k->control;

    if (c->out->len - c->out_off + len > VNET_SOCK_CONTROL_MAX) {
        return false;
    }
    g_byte_array_append(c->out, buf, len);
    vnet_loop_at_end(k->loop, &c->flush);
    return true;
}

/* Returns 0, or the errno that ended the connection. */
static int vnet_sock_control_send(VnetSockLink *k)
{
    VnetSockControl *c = &k->control;

    while (c->out_off < c->out->len) {
        ssize_t ret = vnet_sock_send_buf(k, c->poll.fd,
                                         c->out->data + c->out_off,
                                         c->out->len - c->out_off);

        k->stats.control_writes++;
        if (ret < 0) {
            return errno;
        }
        c->out_off += ret;
    }
    c->out_off = 0;
    g_byte_array_set_size(c->out, 0);
    return vnet_sock_flush(k, c->poll.fd);
}

void vnet_sock_control_flush(VnetSockLink *k)
{
    VnetSockControl *c = &k->control;
    int err;

    vnet_loop_at_end_cancel(k->loop, &c->flush);
    if (c->poll.fd < 0 || (c->poll.interest & EPOLLOUT)) {
        return;
    }
    err = vnet_sock_control_send(k);
    if (err == EAGAIN) {
        if (c->out_off > VNET_SOCK_CONTROL_MAX / 2) {
            g_byte_array_remove_range(c->out, 0, c->out_off);
            c->out_off = 0;
        }
        vnet_poll_mod(k->loop, &c->poll, c->poll.interest | EPOLLOUT);
    } else if (err) {
        vnet_sock_lost(k, "control connection: %s", strerror(err));
    }
}

void vnet_sock_control_read(VnetSockLink *k)
{
    VnetSockControl *c = &k->control;
    unsigned generation = c->generation;
    size_t budget = VNET_SOCK_TURN;

    if (c->poll.fd < 0) {
        return;
    }
    for (;;) {
        size_t room = VNET_SOCK_CONTROL_IN - c->in_len;
        ssize_t ret = vnet_sock_recv_buf(k, c->poll.fd, c->in + c->in_len,
                                         room);
        ssize_t used;
        bool drained;

        k->stats.control_reads++;
        if (ret < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (ret < 0) {
            vnet_sock_lost(k, "control connection: %s", strerror(errno));
            return;
        }
        if (ret == 0) {
            vnet_sock_lost(k, "the peer closed the control connection");
            return;
        }
        drained = ret < (ssize_t)room;
        c->in_len += ret;
        used = vnet_link_control(k->l, c->in, c->in_len);
        if (used < 0 || generation != c->generation) {
            return;
        }
        c->in_len -= used;
        memmove(c->in, c->in + used, c->in_len);
        /* A partial message is shorter than the buffer: there is progress. */
        assert(c->in_len < VNET_SOCK_CONTROL_IN);
        if (drained && !c->ending) {
            return;             /* what comes now is a new event */
        }
        if (budget <= (size_t)ret) {
            vnet_poll_again(k->loop, &c->poll);
            return;
        }
        budget -= ret;
    }
}

static void vnet_sock_control_ready(VnetPoll *p, uint32_t events)
{
    VnetSockLink *k = container_of(p, VnetSockLink, control.poll);
    VnetSockControl *c = &k->control;
    unsigned generation = c->generation;

    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        c->ending = true;
    }
    if (events & EPOLLOUT && c->poll.interest & EPOLLOUT) {
        vnet_poll_mod(k->loop, p, c->poll.interest & ~EPOLLOUT);
        vnet_sock_control_flush(k);
    }
    if (generation == c->generation) {
        vnet_sock_control_read(k);
    }
}

int vnet_sock_control_adopt(VnetSockLink *k, int fd)
{
    VnetSockControl *c = &k->control;
    int ret;

    assert(c->poll.fd < 0);
    c->in_len = 0;
    c->ending = false;
    ret = vnet_poll_add(k->loop, &c->poll, fd, EPOLLIN | EPOLLRDHUP);
    if (ret == 0) {
        vnet_sock_look(k, &c->poll);
    }
    return ret;
}

void vnet_sock_control_close(VnetSockLink *k)
{
    VnetSockControl *c = &k->control;
    int fd = c->poll.fd;
    unsigned i;

    if (fd >= 0) {
        vnet_sock_control_send(k);
        vnet_poll_del(k->loop, &c->poll);
        /*
         * If the peer's messages were not all read, close() would reset the
         * connection, and a BYE just sent could be lost.
         */
        vnet_sock_shutdown(k, fd);
        for (i = 0; i < VNET_SOCK_CONTROL_MAX / VNET_SOCK_CONTROL_IN; i++) {
            if (vnet_sock_recv_buf(k, fd, c->in, VNET_SOCK_CONTROL_IN) <= 0) {
                break;
            }
        }
        vnet_sock_close_fd(k, fd, false);
    }
    c->generation++;
    c->in_len = 0;
    c->out_off = 0;
    g_byte_array_set_size(c->out, 0);
    vnet_loop_at_end_cancel(k->loop, &c->flush);
}

void vnet_sock_control_init(VnetSockLink *k)
{
    VnetSockControl *c = &k->control;

    c->poll.fd = -1;
    c->poll.ready = vnet_sock_control_ready;
    c->in = g_malloc(VNET_SOCK_CONTROL_IN);
    c->out = g_byte_array_new();
    c->flush.fn = vnet_sock_control_at_end;
}

void vnet_sock_control_free(VnetSockLink *k)
{
    VnetSockControl *c = &k->control;

    vnet_loop_at_end_cancel(k->loop, &c->flush);
    g_byte_array_unref(c->out);
    g_free(c->in);
}
