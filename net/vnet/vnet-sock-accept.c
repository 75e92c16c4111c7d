/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server end of a link over sockets: who connects, and what for.
 *
 * Theory of operation
 *
 * A connection begins with a preamble of 32 bytes, read by itself, so that
 * what follows stays in the socket for the part it belongs to.  Usually the
 * preamble is there when the connection is accepted.  If not, the connection
 * is a guest "in setup": at most VNET_SOCK_SETUP_MAX of them, each for
 * setup-timeout-ms, and when one more comes, the oldest has to go.  A peer
 * that opens connections and says nothing thus costs a bounded number of
 * descriptors and cannot keep others out.
 *
 * A control connection is judged by the peer protocol.  Frame and data
 * connections name the peer's epoch and this end's token, which only the peer
 * with the control connection knows.  One that does not belong is closed, and
 * that is all: an outsider cannot disturb the link.
 *
 * Connections race with control messages, which go another way: a data
 * connection can be here before its OPEN.  It then waits as "early".
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "vnet-sock.h"

struct VnetSockGuest {
    VnetSockLink *k;
    VnetPoll poll;              /* in setup only; else fd is in `fd` */
    int fd;
    uint8_t buf[VNET_PREAMBLE_SIZE];
    size_t len;
    uint32_t stream_id;         /* early only */
    int64_t deadline;
    QTAILQ_ENTRY(VnetSockGuest) next;
};

/* Takes a guest out of its list and frees it; its descriptor stays open. */
static int vnet_sock_guest_take(VnetSockLink *k, VnetSockGuest *g, bool early)
{
    int fd = g->fd;

    vnet_poll_del(k->loop, &g->poll);
    if (early) {
        QTAILQ_REMOVE(&k->early, g, next);
        k->nearly--;
    } else {
        QTAILQ_REMOVE(&k->setup, g, next);
        k->nsetup--;
    }
    g_free(g);
    return fd;
}

static void vnet_sock_guest_drop(VnetSockLink *k, VnetSockGuest *g, bool early)
{
    vnet_sock_close_fd(k, vnet_sock_guest_take(k, g, early), true);
}

void vnet_sock_guests_clear(VnetSockLink *k, bool only_early)
{
    VnetSockGuest *g;

    while ((g = QTAILQ_FIRST(&k->early))) {
        vnet_sock_guest_drop(k, g, true);
    }
    while (!only_early && (g = QTAILQ_FIRST(&k->setup))) {
        vnet_sock_guest_drop(k, g, false);
    }
}

int64_t vnet_sock_guests_expire(VnetSockLink *k, int64_t now)
{
    int64_t when = INT64_MAX;
    VnetSockGuest *g;

    while ((g = QTAILQ_FIRST(&k->setup)) && g->deadline <= now) {
        k->stats.setup_timeout++;
        vnet_sock_guest_drop(k, g, false);
    }
    if (g) {
        when = g->deadline;
    }
    while ((g = QTAILQ_FIRST(&k->early)) && g->deadline <= now) {
        k->stats.early_timeout++;
        vnet_sock_guest_drop(k, g, true);
    }
    return g ? MIN(when, g->deadline) : when;
}

int vnet_sock_early_take(VnetSockLink *k, uint32_t stream_id)
{
    VnetSockGuest *g;

    QTAILQ_FOREACH(g, &k->early, next) {
        if (g->stream_id == stream_id) {
            return vnet_sock_guest_take(k, g, true);
        }
    }
    return -1;
}

static void vnet_sock_early_put(VnetSockLink *k, int fd, uint32_t stream_id)
{
    VnetSockGuest *g;

    if (k->nearly == VNET_PENDING_MAX) {
        k->stats.early_full++;
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    g = g_new0(VnetSockGuest, 1);
    g->k = k;
    g->fd = fd;
    g->poll.fd = -1;
    g->stream_id = stream_id;
    g->deadline = vnet_loop_now() + VNET_PENDING_NS;
    QTAILQ_INSERT_TAIL(&k->early, g, next);
    k->nearly++;
    vnet_sock_arm_deadlines(k);
}

/* --- What a connection is for ----------------------------------------- */

static void vnet_sock_refuse(VnetSockLink *k, int fd)
{
    uint8_t bye[VNET_MSG_MAX];
    size_t len = vnet_link_refusal(k->l, bye);
    uint8_t rest[VNET_MSG_MAX];
    ssize_t ret;

    ret = RETRY_ON_EINTR(send(fd, bye, len, MSG_NOSIGNAL | MSG_DONTWAIT));
    if (ret == (ssize_t)len) {
        /*
         * Closing with bytes unread would reset the connection and could take
         * the farewell from the peer: read its hello first, if it is there.
         */
        shutdown(fd, SHUT_WR);
        ret = RETRY_ON_EINTR(recv(fd, rest, sizeof(rest), MSG_DONTWAIT));
    }
    vnet_sock_close_fd(k, fd, false);
}

static void vnet_sock_admit_control(VnetSockLink *k, int fd,
                                    const VnetPreamble *p)
{
    int ret;

    /*
     * A peer that comes again has ended the connection it had: that may be
     * there to be read, but not have had its turn.
     */
    vnet_sock_control_read(k);
    /* May close the connection that is there, if the new one replaces it. */
    if (!vnet_link_up(k->l, p)) {
        vnet_sock_refuse(k, fd);
        return;
    }
    ret = vnet_sock_control_adopt(k, fd);
    if (ret < 0) {
        vnet_sock_close_fd(k, fd, true);
        vnet_sock_lost(k, "cannot watch the control connection: %s",
                       strerror(-ret));
        return;
    }
    k->stage = VNET_SOCK_CONNECTED;
}

static void vnet_sock_admit(VnetSockLink *k, int fd, const VnetPreamble *p)
{
    VnetStream *s = NULL;
    VnetCid *c;
    int ret;

    if (p->kind == VNET_CONN_CONTROL) {
        vnet_sock_admit_control(k, fd, p);
        return;
    }
    /*
     * The peer sent its hello and its OPEN before it made this connection, so
     * they are probably here, too; only their turn has not come yet.
     */
    if (strcmp(vnet_link_state(k->l), "up") ||
        (p->kind == VNET_CONN_DATA &&
         !g_hash_table_contains(k->cids, GUINT_TO_POINTER(p->stream_id)))) {
        vnet_sock_control_read(k);
    }
    if (!vnet_link_admits(k->l, p, &s)) {
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    if (p->kind == VNET_CONN_FRAME) {
        ret = vnet_sock_frame_adopt(k, fd);
        if (ret < 0) {
            vnet_sock_close_fd(k, fd, true);
            vnet_sock_lost(k, "cannot take the frame connection: %s",
                           strerror(-ret));
        }
        return;
    }
    c = g_hash_table_lookup(k->cids, GUINT_TO_POINTER(p->stream_id));
    if (s && c) {
        vnet_sock_cid_attach(c, fd);
    } else {
        vnet_sock_early_put(k, fd, p->stream_id);
    }
}

/*
 * Reads what is missing of a preamble: 1 it is whole, 0 it is not, -1 the
 * connection ended.
 */
static int vnet_sock_read_preamble(int fd, uint8_t *buf, size_t *len)
{
    ssize_t ret;

    while (*len < VNET_PREAMBLE_SIZE) {
        ret = RETRY_ON_EINTR(recv(fd, buf + *len, VNET_PREAMBLE_SIZE - *len,
                                  MSG_DONTWAIT));
        if (ret < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return 0;
        }
        if (ret <= 0) {
            return -1;
        }
        *len += ret;
    }
    return 1;
}

static void vnet_sock_judge(VnetSockLink *k, int fd, const uint8_t *buf)
{
    VnetPreamble p;
    VnetWireError e = vnet_wire_get_preamble(buf, VNET_PREAMBLE_SIZE, &p);

    if (e != VNET_WIRE_OK) {
        vnet_link_count_bad(k->l, e);
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    vnet_sock_admit(k, fd, &p);
}

static void vnet_sock_guest_ready(VnetPoll *p, uint32_t events)
{
    VnetSockGuest *g = container_of(p, VnetSockGuest, poll);
    VnetSockLink *k = g->k;
    uint8_t buf[VNET_PREAMBLE_SIZE];
    int ret = vnet_sock_read_preamble(g->fd, g->buf, &g->len);

    if (ret == 0) {
        return;
    }
    if (ret < 0) {
        k->stats.setup_eof++;
        vnet_sock_guest_drop(k, g, false);
        return;
    }
    memcpy(buf, g->buf, sizeof(buf));
    vnet_sock_judge(k, vnet_sock_guest_take(k, g, false), buf);
}

static void vnet_sock_accepted(VnetSockLink *k, int fd)
{
    uint8_t buf[VNET_PREAMBLE_SIZE];
    size_t len = 0;
    VnetSockGuest *g;
    int ret;

    k->stats.accepted++;
    k->connections++;
    ret = vnet_sock_read_preamble(fd, buf, &len);
    if (ret > 0) {
        vnet_sock_judge(k, fd, buf);
        return;
    }
    if (ret < 0) {
        k->stats.setup_eof++;
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    if (k->nsetup == VNET_SOCK_SETUP_MAX) {
        k->stats.setup_evicted++;
        vnet_sock_guest_drop(k, QTAILQ_FIRST(&k->setup), false);
    }
    g = g_new0(VnetSockGuest, 1);
    g->k = k;
    g->fd = fd;
    memcpy(g->buf, buf, len);
    g->len = len;
    g->deadline = vnet_loop_now() + k->setup_timeout_ns;
    g->poll.ready = vnet_sock_guest_ready;
    ret = vnet_poll_add(k->loop, &g->poll, fd, EPOLLIN | EPOLLRDHUP);
    if (ret < 0) {
        k->stats.accept_no_fd++;
        vnet_sock_close_fd(k, fd, true);
        g_free(g);
        return;
    }
    QTAILQ_INSERT_TAIL(&k->setup, g, next);
    k->nsetup++;
    vnet_sock_arm_deadlines(k);
}

/* --- The listener ----------------------------------------------------- */

/*
 * No descriptor is left.  The one kept for this is given up for a moment, so
 * that the peer learns at once that it is refused, and does not hang.  Returns
 * 0, EAGAIN if nobody was there after all (accept() does not look before it
 * has a descriptor), or what makes this impossible.
 */
static int vnet_sock_accept_refuse(VnetSockLink *k)
{
    int fd, err;

    if (k->spare_fd < 0) {
        return EMFILE;
    }
    close(k->spare_fd);
    fd = accept4(k->listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    err = fd < 0 ? errno : 0;
    if (fd >= 0) {
        k->stats.accept_no_fd++;
        close(fd);
    }
    k->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return err ? err : k->spare_fd < 0 ? EMFILE : 0;
}

void vnet_sock_accept_ready(VnetPoll *p, uint32_t events)
{
    VnetSockLink *k = container_of(p, VnetSockLink, listen);
    unsigned n;
    int err;

    if (k->spare_fd < 0) {
        k->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    for (n = 0; n < VNET_SOCK_ACCEPT_TURN; n++) {
        int fd;

        if (k->paused) {
            return;             /* the timer goes on */
        }
        fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            vnet_sock_accepted(k, fd);
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return;
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case EPERM:
            continue;
        default:
            /* EMFILE, ENFILE, ENOBUFS, ENOMEM. */
            err = vnet_sock_accept_refuse(k);
            if (err == EAGAIN) {
                return;
            }
            if (err) {
                k->paused = true;
                vnet_loop_timer_arm(&k->timer,
                                    vnet_loop_now() + VNET_SOCK_NO_FD_NS);
                return;
            }
        }
    }
    vnet_poll_again(k->loop, p);
}
