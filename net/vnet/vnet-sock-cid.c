/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CIDs of links over sockets: the connection that carries one stream.
 *
 * Theory of operation
 *
 * Nothing is copied here, but for what TLS encrypts: sendmsg() reads from the pieces of guest memory that
 * the stream lends, recvmsg() fills them.  The kernel's socket buffers hold
 * what is on its way, its flow control stops a sender whose peer's guest does
 * not read, and that one alone.
 *
 *   client: TO_DIAL -> DIALING -> UP        (TO_DIAL again if put off)
 *   server: AWAITED -> UP
 *   any -> FAILED -> freed by cid_close()
 *
 * A client connects at the end of the dispatch in which cid_open() was called,
 * after the control messages have gone out: so the peer normally has the OPEN
 * when it sees the connection.  A unix socket whose peer's queue is full says
 * EAGAIN and never when to try again; such CIDs wait VNET_SOCK_PUT_OFF_NS.
 *
 * Readiness: events are edge-triggered.  `readable` and `tx_blocked` are what
 * is known; a short read or write tells as much as EAGAIN would, and saves the
 * call.  EPOLLOUT is only asked for while blocked, because a unix socket would
 * wake the sender each time its peer reads.
 *
 * A call into the stream may end in cid_close().  `busy` keeps the memory
 * until the function that called has seen `closed`.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "vnet-sock.h"

/* Pieces in one sendmsg() and one recvmsg(). */
#define VNET_SOCK_CID_TX_IOV    64
#define VNET_SOCK_CID_RX_IOV    64
/*
 * Bytes in one sendmsg().  The kernel copies all that its buffer has room for
 * before the receiver gets a turn: with more, they fall out of the cache
 * between the two copies; with less, calls cost.  See docs/performance.rst.
 */
#define VNET_SOCK_CID_TX_BYTES  (256 * KiB)
/* Calls in one turn, however little each of them moves. */
#define VNET_SOCK_CID_CALLS     64

typedef enum VnetCidState {
    VNET_CID_TO_DIAL,
    VNET_CID_DIALING,
    VNET_CID_AWAITED,
    VNET_CID_UP,
    VNET_CID_FAILED,
} VnetCidState;

struct VnetCid {
    VnetSockLink *k;
    VnetStream *s;
    VnetPoll poll;
    VnetSockSent sent;
    VnetPreamble preamble;
    VnetCidState state;
    bool announce;      /* vnet_cid_up() is owed */
    int error;          /* to be reported: why it failed */
    bool readable;      /* there may be bytes or the end */
    bool ending;        /* the peer's end is there, behind what is unread */
    bool ended;         /* ... and was reported */
    bool tx_blocked;    /* until EPOLLOUT */
    bool closed;
    unsigned busy;
    unsigned rx_batch;  /* buffers to ask for */
    VnetRxBuf *lent;    /* buffers that go back if it is closed now ... */
    unsigned nlent;     /* ... and how many */
    int64_t deadline;   /* TO_DIAL, DIALING */
    QTAILQ_ENTRY(VnetCid) next; /* to_dial, dialing */
};

static void vnet_cid_ready(VnetPoll *p, uint32_t events);

/* --- Lifetime --------------------------------------------------------- */

static void vnet_cid_enter(VnetCid *c)
{
    c->busy++;
}

/* False: it was closed meanwhile, and may be freed. */
static bool vnet_cid_leave(VnetCid *c)
{
    bool closed = c->closed;

    if (--c->busy == 0 && closed) {
        g_free(c);
    }
    return !closed;
}

static void vnet_cid_unlist(VnetCid *c)
{
    VnetSockLink *k = c->k;

    if (c->state == VNET_CID_TO_DIAL) {
        QTAILQ_REMOVE(&k->to_dial, c, next);
    } else if (c->state == VNET_CID_DIALING) {
        QTAILQ_REMOVE(&k->dialing, c, next);
    }
}

static void vnet_cid_hang_up(VnetCid *c, bool abort)
{
    int fd = c->poll.fd;

    if (fd >= 0) {
        vnet_sock_alive_forget(c->k, &c->sent);
        vnet_poll_del(c->k->loop, &c->poll);
        vnet_sock_close_fd(c->k, fd, abort);
    }
}

/* Reports a failure.  Not from inside a call of the behaviour. */
static void vnet_cid_fail(VnetCid *c, int err)
{
    vnet_cid_unlist(c);
    c->state = VNET_CID_FAILED;
    vnet_cid_hang_up(c, true);
    /* Calls cid_close(). */
    vnet_cid_down(c->s, err);
}

/* The same, at the end of the dispatch. */
static void vnet_cid_fail_later(VnetCid *c, int err)
{
    VnetSockLink *k = c->k;

    vnet_cid_unlist(c);
    vnet_cid_hang_up(c, true);
    c->error = err;
    c->state = VNET_CID_TO_DIAL;
    QTAILQ_INSERT_TAIL(&k->to_dial, c, next);
    vnet_loop_at_end(k->loop, &k->dial_cids);
}

void vnet_sock_cid_silent(VnetSockSent *sent)
{
    vnet_cid_fail_later(container_of(sent, VnetCid, sent), ETIMEDOUT);
}

void vnet_sock_cid_close(VnetCid *c, bool abort)
{
    VnetSockLink *k = c->k;

    vnet_cid_unlist(c);
    vnet_cid_hang_up(c, abort);
    vnet_stream_rx_unused(c->s, c->lent, c->nlent);
    g_hash_table_remove(k->cids, GUINT_TO_POINTER(c->preamble.stream_id));
    c->state = VNET_CID_FAILED;
    c->closed = true;
    if (!c->busy) {
        g_free(c);
    }
}

/* --- Making the connection -------------------------------------------- */

VnetCid *vnet_sock_cid_open(void *transport, VnetStream *s,
                            const VnetPreamble *p)
{
    VnetSockLink *k = transport;
    VnetCid *c = g_new0(VnetCid, 1);
    int fd;

    c->k = k;
    c->s = s;
    c->preamble = *p;
    c->poll.fd = -1;
    c->sent.fd = -1;
    c->poll.ready = vnet_cid_ready;
    c->rx_batch = 1;
    if (!g_hash_table_insert(k->cids, GUINT_TO_POINTER(p->stream_id), c)) {
        g_assert_not_reached();         /* ids in use are not used again */
    }
    if (!k->server) {
        c->state = VNET_CID_TO_DIAL;
        c->deadline = vnet_loop_now() + k->setup_timeout_ns;
        QTAILQ_INSERT_TAIL(&k->to_dial, c, next);
        vnet_loop_at_end(k->loop, &k->dial_cids);
        return c;
    }
    c->state = VNET_CID_AWAITED;
    fd = vnet_sock_early_take(k, p->stream_id);
    if (fd >= 0) {
        /* Whose turn at the end of the dispatch is to be attached. */
        c->state = VNET_CID_TO_DIAL;
        c->poll.fd = fd;
        QTAILQ_INSERT_TAIL(&k->to_dial, c, next);
        vnet_loop_at_end(k->loop, &k->dial_cids);
    }
    return c;
}

/* The connection is made: from now on bytes flow. */
static void vnet_cid_start(VnetCid *c)
{
    vnet_cid_unlist(c);
    c->state = VNET_CID_UP;
    vnet_cid_up(c->s);
}

void vnet_sock_cid_attach(VnetCid *c, int fd)
{
    VnetSockLink *k = c->k;
    int ret;

    if (c->state != VNET_CID_AWAITED) {
        /* A second one for the same stream; the peer is confused. */
        vnet_link_stats(k->l)->refused_stream++;
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    vnet_sock_tune(k, fd, true);
    ret = vnet_poll_add(k->loop, &c->poll, fd, EPOLLIN | EPOLLRDHUP);
    if (ret < 0) {
        vnet_sock_close_fd(k, fd, true);
        vnet_cid_fail(c, -ret);
        return;
    }
    c->readable = k->creds;
    vnet_sock_look(k, &c->poll);
    vnet_cid_start(c);
}

/* The client's connection exists: tell the peer what it is for. */
static void vnet_cid_connected(VnetCid *c)
{
    if (!vnet_sock_send_preamble(c->k, c->poll.fd, &c->preamble)) {
        vnet_cid_fail(c, errno);
        return;
    }
    vnet_poll_mod(c->k->loop, &c->poll, EPOLLIN | EPOLLRDHUP);
    vnet_cid_start(c);
}

/* One CID of to_dial; false: it stays there. */
static bool vnet_cid_dial(VnetCid *c)
{
    VnetSockLink *k = c->k;
    bool done = false;
    int fd, ret;

    if (c->error) {
        vnet_cid_fail(c, c->error);
        return true;
    }
    if (k->server) {
        fd = c->poll.fd;                /* an early one */
        c->poll.fd = -1;
        vnet_cid_unlist(c);
        c->state = VNET_CID_AWAITED;
        vnet_sock_cid_attach(c, fd);
        return true;
    }
    fd = vnet_sock_dial(k, true, &done);
    if (fd == -EAGAIN) {
        return false;
    }
    if (fd < 0) {
        vnet_cid_fail(c, -fd);
        return true;
    }
    ret = vnet_poll_add(k->loop, &c->poll, fd,
                        done ? EPOLLIN | EPOLLRDHUP : EPOLLOUT);
    if (ret < 0) {
        vnet_sock_close_fd(k, fd, true);
        vnet_cid_fail(c, -ret);
        return true;
    }
    if (done) {
        vnet_cid_connected(c);
        return true;
    }
    vnet_cid_unlist(c);
    c->state = VNET_CID_DIALING;
    QTAILQ_INSERT_TAIL(&k->dialing, c, next);
    vnet_sock_arm_deadlines(k);
    return true;
}

void vnet_sock_cids_dial(VnetAtEnd *e)
{
    VnetSockLink *k = container_of(e, VnetSockLink, dial_cids);
    int64_t pause = 0;
    unsigned n;
    VnetCid *c;

    vnet_sock_control_flush(k);
    /* Each call can close any of them, and the link. */
    for (n = 0; n < VNET_SOCK_DIAL_TURN; n++) {
        c = QTAILQ_FIRST(&k->to_dial);
        if (!c) {
            return;
        }
        if (!vnet_cid_dial(c)) {
            pause = VNET_SOCK_PUT_OFF_NS;
            break;
        }
    }
    vnet_loop_timer_arm(&k->put_off, vnet_loop_now() + pause);
    vnet_sock_arm_deadlines(k);
}

void vnet_sock_cids_put_off(VnetLoopTimer *t)
{
    VnetSockLink *k = container_of(t, VnetSockLink, put_off);

    vnet_loop_at_end(k->loop, &k->dial_cids);
}

int64_t vnet_sock_cids_expire(VnetSockLink *k, int64_t now)
{
    int64_t when = INT64_MAX;
    VnetCid *c;

    while ((c = QTAILQ_FIRST(&k->dialing)) && c->deadline <= now) {
        k->stats.dial_failed++;
        vnet_cid_fail_later(c, ETIMEDOUT);
    }
    if (c) {
        when = c->deadline;
    }
    QTAILQ_FOREACH(c, &k->to_dial, next) {
        if (c->error || k->server) {
            continue;
        }
        if (c->deadline > now) {
            when = MIN(when, c->deadline);
            break;
        }
        k->stats.dial_failed++;
        c->error = ETIMEDOUT;
        vnet_loop_at_end(k->loop, &k->dial_cids);
    }
    return when;
}

/* --- Sending ---------------------------------------------------------- */

/* The socket is full: EPOLLOUT tells when there is room. */
static void vnet_cid_blocked(VnetCid *c)
{
    c->tx_blocked = true;
    vnet_poll_mod(c->k->loop, &c->poll, c->poll.interest | EPOLLOUT);
}

/* Returns 0 or the errno that ended the connection.  The caller has entered. */
static int vnet_cid_send(VnetCid *c)
{
    VnetSockLink *k = c->k;
    size_t budget = VNET_SOCK_TURN;
    unsigned calls = 0;

    while (!c->tx_blocked) {
        struct iovec iov[VNET_SOCK_CID_TX_IOV] VTOE_UNINITIALIZED;
        unsigned niov = ARRAY_SIZE(iov);
        size_t want = vnet_stream_pull_tx(c->s, iov, &niov,
                                          MIN(budget, VNET_SOCK_CID_TX_BYTES));
        ssize_t ret;

        if (!want || c->closed) {
            break;
        }
        ret = vnet_sock_send(k, c->poll.fd, iov, niov);
        k->stats.data_writes++;
        if (ret < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                return errno;
            }
            vnet_cid_blocked(c);
            break;
        }
        vnet_sock_alive_sent(k, &c->sent, c->poll.fd);
        vnet_stream_tx_sent(c->s, ret);
        if (c->closed) {
            break;
        }
        if (ret < (ssize_t)want || vnet_sock_pending(k, c->poll.fd)) {
            vnet_cid_blocked(c);
            break;
        }
        if (budget <= (size_t)ret || ++calls == VNET_SOCK_CID_CALLS) {
            vnet_poll_again(k->loop, &c->poll);
            break;
        }
        budget -= ret;
    }
    return 0;
}

void vnet_sock_cid_tx(VnetCid *c)
{
    int err;

    if (c->state != VNET_CID_UP || c->tx_blocked) {
        return;
    }
    vnet_cid_enter(c);
    err = vnet_cid_send(c);
    if (err && !c->closed) {
        vnet_cid_fail_later(c, err);
    }
    vnet_cid_leave(c);
}

void vnet_sock_cid_tx_end(VnetCid *c)
{
    /* All that was pulled goes out before the end. */
    if (c->state == VNET_CID_UP) {
        vnet_sock_shutdown(c->k, c->poll.fd);
        if (vnet_sock_pending(c->k, c->poll.fd)) {
            vnet_cid_blocked(c);
        }
    }
}

/* --- Receiving -------------------------------------------------------- */

/* Gives ret bytes to the n buffers that were lent. False: it was closed. */
static bool vnet_cid_fill(VnetCid *c, VnetRxBuf *bufs, unsigned n, size_t ret)
{
    unsigned i = 0;

    while (i < n && ret > 0) {
        size_t len = MIN(bufs[i].iov.iov_len, ret);

        ret -= len;
        if (!ret && i + 1 < n) {
            /* The rest first: they are the youngest. */
            vnet_stream_rx_unused(c->s, bufs + i + 1, n - i - 1);
            n = i + 1;
        }
        c->lent = bufs + i + 1;
        c->nlent = n - i - 1;
        vnet_stream_rx_filled(c->s, &bufs[i], len);
        if (c->closed) {
            return false;
        }
        i++;
    }
    c->nlent = 0;
    return true;
}

/* Returns 0 or the errno that ended the connection.  The caller has entered. */
static int vnet_cid_receive(VnetCid *c)
{
    VnetSockLink *k = c->k;
    size_t budget = VNET_SOCK_TURN;
    unsigned calls = 0;

    if (c->ended) {
        /* The end stays there to be read: it is no news. */
        vnet_poll_rest(k->loop, &c->poll);
        return 0;
    }
    while (c->readable && !c->ended) {
        VnetRxBuf bufs[VNET_SOCK_CID_RX_IOV] VTOE_UNINITIALIZED;
        struct iovec iov[VNET_SOCK_CID_RX_IOV] VTOE_UNINITIALIZED;
        unsigned i, n = vnet_stream_pull_rx(c->s, bufs, c->rx_batch, budget);
        size_t want = 0;
        ssize_t ret;

        if (c->closed) {
            break;
        }
        if (!n) {
            vnet_poll_rest(k->loop, &c->poll);
            break;                      /* cid_rx() follows */
        }
        for (i = 0; i < n; i++) {
            iov[i] = bufs[i].iov;
            want += iov[i].iov_len;
        }
        ret = vnet_sock_recv(k, c->poll.fd, iov, n);
        k->stats.data_reads++;
        if (ret <= 0) {
            int err = ret < 0 ? errno : 0;

            vnet_stream_rx_unused(c->s, bufs, n);
            if (err == EAGAIN || err == EWOULDBLOCK) {
                c->readable = false;
                break;
            }
            if (err) {
                return err;
            }
            c->ended = true;
            vnet_poll_rest(k->loop, &c->poll);
            vnet_cid_down(c->s, 0);
            break;
        }
        if (!vnet_cid_fill(c, bufs, n, ret)) {
            break;
        }
        if (ret == (ssize_t)want) {
            c->rx_batch = MIN(c->rx_batch * 2, VNET_SOCK_CID_RX_IOV);
        } else {
            c->rx_batch = MAX(c->rx_batch / 2, 1);
            /* With TLS what came may be all before a record that is wrong. */
            if (!c->ending && !k->creds) {
                /* What comes now is a new event. */
                c->readable = false;
                break;
            }
        }
        if (budget <= (size_t)ret || ++calls == VNET_SOCK_CID_CALLS) {
            vnet_poll_again(k->loop, &c->poll);
            break;
        }
        budget -= ret;
    }
    return 0;
}

void vnet_sock_cid_rx(VnetCid *c)
{
    int err;

    if (c->state != VNET_CID_UP || !c->readable) {
        return;
    }
    vnet_cid_enter(c);
    err = vnet_cid_receive(c);
    if (err && !c->closed) {
        vnet_cid_fail_later(c, err);
    }
    vnet_cid_leave(c);
}

/* --- Events ----------------------------------------------------------- */

static void vnet_cid_ready(VnetPoll *p, uint32_t events)
{
    VnetCid *c = container_of(p, VnetCid, poll);
    int err;

    if (c->state == VNET_CID_DIALING) {
        int ret = vnet_sock_made(c->k, p, NULL);

        if (ret < 0) {
            c->k->stats.dial_failed++;
            vnet_cid_fail(c, -ret);
        } else if (ret > 0) {
            vnet_cid_connected(c);
        }
        return;
    }
    if (c->state != VNET_CID_UP) {
        return;
    }
    if (events & EPOLLERR) {
        err = vnet_sock_error(p->fd);
        if (err) {
            vnet_cid_fail(c, err);
            return;
        }
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) {
        c->readable = true;
        c->ending |= (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    }
    vnet_cid_enter(c);
    err = vnet_cid_receive(c);
    if (!err && !c->closed && c->state == VNET_CID_UP) {
        if (events & EPOLLOUT) {
            err = vnet_sock_flush(c->k, p->fd);
            c->tx_blocked = err == EAGAIN;
            err = c->tx_blocked ? 0 : err;
        }
        /* In a turn of its own, too: more than a turn's worth was there. */
        err = err ?: vnet_cid_send(c);
        if (!err && !c->closed && !c->tx_blocked &&
            p->interest & EPOLLOUT) {
            vnet_poll_mod(c->k->loop, p, p->interest & ~EPOLLOUT);
        }
    }
    if (err && !c->closed) {
        vnet_cid_fail(c, err);
    }
    vnet_cid_leave(c);
}
