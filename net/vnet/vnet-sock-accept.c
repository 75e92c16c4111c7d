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
 * A registrar reads a control connection's hello, too, and then gives each
 * connection to the link that it belongs to: vnet-sock-register.c.
 *
 * With TLS the handshake comes before all of that, within the same time, and who
 * is at the other end is known: an authz object may be asked about it, and the
 * other connections of a link have to be of the same peer as its first.
 *
 * Connections race with control messages, which go another way: a data
 * connection can be here before its OPEN.  It then waits as "early".
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/units.h"
#include "vnet-sock.h"

/* What a connection has said so far. */
typedef struct VnetSockGreeting {
    bool secure;                /* its handshake is over, or none is needed */
    /* Its preamble; on a control connection of a registrar also its hello. */
    uint8_t buf[VNET_PREAMBLE_SIZE + VNET_MSG_MAX];
    size_t len;
} VnetSockGreeting;

struct VnetSockGuest {
    VnetSockLink *k;
    VnetPoll poll;              /* while it has to speak */
    int fd;
    VnetSockGreeting hi;
    VnetSockAsk *ask;           /* has spoken, and is asked about */
    uint32_t stream_id;         /* early only */
    int64_t deadline;
    QTAILQ_ENTRY(VnetSockGuest) next;
};

/* Takes a guest out of its list and frees it; its descriptor stays open. */
static int vnet_sock_guest_take(VnetSockLink *k, VnetSockGuest *g, bool early)
{
    int fd = g->fd;

    vnet_poll_del(k->loop, &g->poll);
    if (g->ask) {
        vnet_sock_ask_cancel(g->ask);
    }
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

/* One more that has not said yet what it is, or may not be it yet. */
static VnetSockGuest *vnet_sock_setup_put(VnetSockLink *k, int fd,
                                          const VnetSockGreeting *hi)
{
    VnetSockGuest *g = g_new0(VnetSockGuest, 1);

    if (k->nsetup == VNET_SOCK_SETUP_MAX) {
        k->stats.setup_evicted++;
        vnet_sock_guest_drop(k, QTAILQ_FIRST(&k->setup), false);
    }
    g->k = k;
    g->fd = fd;
    g->poll.fd = -1;
    g->hi = *hi;
    g->deadline = vnet_loop_now() + k->setup_timeout_ns;
    QTAILQ_INSERT_TAIL(&k->setup, g, next);
    k->nsetup++;
    vnet_sock_arm_deadlines(k);
    return g;
}

/* --- What a connection is for ----------------------------------------- */

void vnet_sock_note_refusal(VnetSockLink *k, int fd, const char *why)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    g_autofree char *from = NULL;

    if (getpeername(fd, (struct sockaddr *)&ss, &len) == 0) {
        from = vnet_sock_addr_str(&ss, len);
    }
    g_free(k->refused);
    k->refused = g_strdup_printf("%s: %s", from ?: "(gone)", why);
}

void vnet_sock_refuse(VnetSockLink *k, int fd, const uint8_t *bye, size_t len)
{
    uint8_t rest[VNET_MSG_MAX];
    ssize_t ret = vnet_sock_send_buf(k, fd, bye, len);

    if (ret == (ssize_t)len) {
        /*
         * Closing with bytes unread would reset the connection and could take
         * the farewell from the peer: read its hello first, if it is there.
         */
        vnet_sock_shutdown(k, fd);
        vnet_sock_recv_buf(k, fd, rest, sizeof(rest));
    }
    vnet_sock_close_fd(k, fd, false);
}

/* Whether who is at the end of fd is the link's peer.  If not, it is closed. */
static bool vnet_sock_is_peer(VnetSockLink *k, int fd)
{
    if (!g_strcmp0(vnet_sock_identity(k, fd), k->identity)) {
        return true;
    }
    k->stats.tls_denied++;
    vnet_sock_note_refusal(k, fd, "it is not the peer of this link");
    vnet_sock_close_fd(k, fd, true);
    return false;
}

void vnet_sock_admit_control(VnetSockLink *k, int fd, const VnetPreamble *p)
{
    uint8_t bye[VNET_MSG_MAX];
    int ret;

    /*
     * A peer that comes again has ended the connection it had: that may be
     * there to be read, but not have had its turn.
     */
    vnet_sock_control_read(k);
    /* Its epoch is known to others that it is linked to: they are not it. */
    if (k->stage == VNET_SOCK_CONNECTED && !vnet_sock_is_peer(k, fd)) {
        return;
    }
    /* May close the connection that is there, if the new one replaces it. */
    if (!vnet_link_up(k->l, p)) {
        vnet_sock_refuse(k, fd, bye, vnet_link_refusal(k->l, bye));
        return;
    }
    vnet_sock_identify(k, fd);
    ret = vnet_sock_control_adopt(k, fd);
    if (ret < 0) {
        vnet_sock_close_fd(k, fd, true);
        vnet_sock_lost(k, "cannot watch the control connection: %s",
                       strerror(-ret));
        return;
    }
    k->stage = VNET_SOCK_CONNECTED;
    if (k->registrar) {
        vnet_loop_timer_disarm(&k->timer);
    }
}

/* A control connection of a peer that may connect. */
static void vnet_sock_authorized(VnetSockLink *k, int fd,
                                 const VnetSockGreeting *hi)
{
    VnetPreamble p;

    /* It was read before. */
    vnet_wire_get_preamble(hi->buf, VNET_PREAMBLE_SIZE, &p);
    if (vnet_sock_is_registrar(k)) {
        vnet_sock_register(k, fd, &p, hi->buf + VNET_PREAMBLE_SIZE,
                           hi->len - VNET_PREAMBLE_SIZE);
    } else {
        vnet_sock_admit_control(k, fd, &p);
    }
}

/* What the authz object says of the peer of a control connection. */
static void vnet_sock_answered(void *opaque, const char *err)
{
    VnetSockGuest *g = opaque;
    VnetSockLink *k = g->k;
    const VnetSockGreeting hi = g->hi;
    uint8_t bye[VNET_MSG_MAX];
    VnetMsg m = {
        .type = VNET_MSG_BYE,
        .u.bye = { .reason = VTOE_REASON_POLICY,
                   .text = "this end does not authorize the peer" },
    };
    int fd;

    g->ask = NULL;
    fd = vnet_sock_guest_take(k, g, false);
    if (!err) {
        vnet_sock_authorized(k, fd, &hi);
        return;
    }
    k->stats.tls_denied++;
    vnet_sock_note_refusal(k, fd, err);
    vnet_sock_refuse(k, fd, bye, vnet_wire_put_msg(bye, &m));
}

static void vnet_sock_ask_about(VnetSockLink *k, int fd,
                                const VnetSockGreeting *hi)
{
    VnetSockGuest *g = vnet_sock_setup_put(k, fd, hi);

    g->ask = vnet_sock_ask(k->loop, k->authz, vnet_sock_identity(k, fd),
                           vnet_sock_answered, g);
    if (!g->ask) {
        k->stats.accept_no_fd++;
        vnet_sock_guest_drop(k, g, false);
    }
}

static void vnet_sock_admit(VnetSockLink *k, int fd, const VnetPreamble *p,
                            const VnetSockGreeting *hi)
{
    VnetStream *s = NULL;
    VnetCid *c;
    int ret;

    if (p->kind == VNET_CONN_CONTROL) {
        if (k->authz) {
            vnet_sock_ask_about(k, fd, hi);
        } else {
            vnet_sock_authorized(k, fd, hi);
        }
        return;
    }
    if (vnet_sock_is_registrar(k)) {
        k = vnet_sock_registered(k, fd, p);
        if (!k) {
            return;
        }
    }
    if (!vnet_sock_is_peer(k, fd)) {
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

/* How many bytes of a connection have to be read, by what was read of it. */
static size_t vnet_sock_greeting_size(VnetSockLink *k,
                                      const VnetSockGreeting *hi)
{
    VnetPreamble p;
    size_t len;

    if (hi->len < VNET_PREAMBLE_SIZE || !vnet_sock_is_registrar(k) ||
        vnet_wire_get_preamble(hi->buf, VNET_PREAMBLE_SIZE, &p) !=
        VNET_WIRE_OK || p.kind != VNET_CONN_CONTROL) {
        return VNET_PREAMBLE_SIZE;
    }
    if (hi->len < VNET_PREAMBLE_SIZE + VNET_MSG_HDR_SIZE) {
        return VNET_PREAMBLE_SIZE + VNET_MSG_HDR_SIZE;
    }
    len = lduw_be_p(hi->buf + VNET_PREAMBLE_SIZE + 2);
    return len < VNET_MSG_HDR_SIZE || len > VNET_MSG_MAX ? hi->len :
           VNET_PREAMBLE_SIZE + len;
}

/*
 * Goes on with what comes first on a connection, TLS and its preamble: 1 it is
 * whole, 0 it is not, -1 the connection has to be closed, and that is counted.
 */
static int vnet_sock_greet(VnetSockLink *k, int fd, VnetSockGreeting *hi)
{
    ssize_t ret;
    size_t size;

    if (!hi->secure) {
        Error *err = NULL;

        ret = vnet_sock_handshake(k, fd, &err);
        if (ret < 0) {
            vnet_sock_note_refusal(k, fd, error_get_pretty(err));
            error_free(err);
        }
        if (ret <= 0) {
            return ret;
        }
        hi->secure = true;
    }
    while (hi->len < (size = vnet_sock_greeting_size(k, hi))) {
        ret = vnet_sock_recv_buf(k, fd, hi->buf + hi->len, size - hi->len);
        if (ret < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return 0;
        }
        if (ret <= 0) {
            k->stats.setup_eof++;
            return -1;
        }
        hi->len += ret;
    }
    return 1;
}

static void vnet_sock_judge(VnetSockLink *k, int fd, const VnetSockGreeting *hi)
{
    VnetPreamble p;
    VnetWireError e = vnet_wire_get_preamble(hi->buf, VNET_PREAMBLE_SIZE, &p);

    if (e != VNET_WIRE_OK) {
        vnet_link_count_bad(k->l, e);
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    vnet_sock_admit(k, fd, &p, hi);
}

static void vnet_sock_guest_ready(VnetPoll *p, uint32_t events)
{
    VnetSockGuest *g = container_of(p, VnetSockGuest, poll);
    VnetSockLink *k = g->k;
    VnetSockGreeting hi;
    int ret = vnet_sock_greet(k, g->fd, &g->hi);

    if (ret == 0) {
        return;
    }
    if (ret < 0) {
        vnet_sock_guest_drop(k, g, false);
        return;
    }
    hi = g->hi;
    vnet_sock_judge(k, vnet_sock_guest_take(k, g, false), &hi);
}

static void vnet_sock_accepted(VnetSockLink *k, int fd)
{
    VnetSockGreeting hi = { .secure = !k->creds };
    Error *err = NULL;
    VnetSockGuest *g;
    int ret;

    k->stats.accepted++;
    k->connections++;
    if (k->creds && !vnet_sock_begin(k, fd, &err)) {
        k->stats.tls_failed++;
        vnet_sock_note_refusal(k, fd, error_get_pretty(err));
        error_free(err);
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    ret = vnet_sock_greet(k, fd, &hi);
    if (ret > 0) {
        vnet_sock_judge(k, fd, &hi);
        return;
    }
    if (ret < 0) {
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    g = vnet_sock_setup_put(k, fd, &hi);
    g->poll.ready = vnet_sock_guest_ready;
    /* What is left of a handshake's answer is sent when there is room. */
    ret = vnet_poll_add(k->loop, &g->poll, fd, EPOLLIN | EPOLLRDHUP |
                        (k->creds ? EPOLLOUT : 0));
    if (ret < 0) {
        k->stats.accept_no_fd++;
        vnet_sock_guest_drop(k, g, false);
    }
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
            vnet_poll_rest(k->loop, p);
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
                vnet_poll_rest(k->loop, p);
                vnet_loop_timer_arm(&k->timer,
                                    vnet_loop_now() + VNET_SOCK_NO_FD_NS);
                return;
            }
        }
    }
    vnet_poll_again(k->loop, p);
}
