/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams of fake links with a message transport, as an RC queue pair is one:
 * receives are posted, messages are sent into them, and both complete.
 *
 *   sender                            receiver
 *   posts a send    --(in flight)-->  placed into the oldest receive
 *   told it is done <--(the ack)----  told of its bytes
 *
 * Each arrow is an action of its own, so that chance decides what is seen
 * first.  The transport keeps the promises of vnet-link.h and checks the
 * machine's: a message without a receive, or longer than it, fails the test.
 */
#include <errno.h>
#include <string.h>
#include "vnet-fake-int.h"

struct FakeMsgConn {
    GQueue flight[2];           /* of GBytes; [0]: to the client */
};

typedef struct Receive {
    VnetRxBuf buf;
    size_t len;                 /* bytes placed, not told yet; 0: none */
} Receive;

struct FakeMsgCid {
    GArray *posted;             /* of Receive, oldest first */
    unsigned filled;            /* how many of them have bytes */
    GQueue sends;               /* lengths of sends that were not told */
    unsigned done;              /* how many of them are done */
    bool stopped;
};

static GQueue *flight_to(FakeConn *c, bool server)
{
    return &c->m->flight[server];
}

static FakeConn *msg_conn(FakeConn *c)
{
    if (!c->m) {
        c->m = g_new0(FakeMsgConn, 1);
    }
    return c;
}

void fake_msg_lose(FakeConn *c, bool to_server)
{
    GBytes *b;

    while (c->m && (b = g_queue_pop_head(flight_to(c, to_server)))) {
        g_bytes_unref(b);
    }
}

static void lose_both(FakeConn *c)
{
    fake_msg_lose(c, false);
    fake_msg_lose(c, true);
}

void fake_msg_conn_free(FakeConn *c)
{
    lose_both(c);
    g_free(c->m);
}

void fake_msg_attach(VnetCid *c)
{
    msg_conn(c->c);
    c->m = g_new0(FakeMsgCid, 1);
    c->m->posted = g_array_new(FALSE, FALSE, sizeof(Receive));
}

/* --- Sending ------------------------------------------------------------- */

void fake_msg_send(FakeConn *conn, bool to_server, const void *p, size_t len)
{
    VnetCid *peer = conn->cid[to_server];
    GQueue *q = flight_to(conn, to_server);
    unsigned n = q->length;
    const Receive *r;

    if (conn->dir[to_server].err || !conn->open[to_server]) {
        return;                 /* flushed */
    }
    /* Receiver not ready: there is no receive behind those that the messages
     * in flight will use. */
    g_assert_true(peer && peer->up);
    g_assert_cmpuint(peer->m->filled + n, <, peer->m->posted->len);
    r = &g_array_index(peer->m->posted, Receive, peer->m->filled + n);
    g_assert_cmpuint(len, >, 0);
    g_assert_cmpuint(len, <=, r->buf.iov.iov_len);
    g_queue_push_tail(q, g_bytes_new(p, len));
}

static void pump_tx(VnetCid *c)
{
    FakeLink *l = c->e->l;

    c->busy++;
    c->want_tx = false;
    while (!c->closed && !c->tx_ended) {
        struct iovec iov[16];
        unsigned niov = l->max_sge;
        g_autofree uint8_t *all = NULL;
        size_t n, off = 0;

        if (c->m->sends.length == l->sends_max || fake_coin(l->w)) {
            c->want_tx = true;
            break;
        }
        n = vnet_stream_pull_tx(c->s, iov, &niov, l->ops.max_msg);
        if (!n || c->closed) {
            break;
        }
        g_assert_cmpuint(n, <=, l->ops.max_msg);
        g_assert_cmpuint(niov, <=, l->max_sge);
        all = g_malloc(n);
        for (unsigned i = 0; i < niov; i++) {
            memcpy(all + off, iov[i].iov_base, iov[i].iov_len);
            off += iov[i].iov_len;
        }
        g_assert_cmpuint(off, ==, n);
        fake_msg_send(c->c, !c->e->server, all, n);
        g_queue_push_tail(&c->m->sends, GSIZE_TO_POINTER(n));
        vnet_stream_tx_sent(c->s, n);
    }
    fake_cid_leave(c);
}

/* Some sends are done: one completion may stand for several. */
static void tell_sends(VnetCid *c)
{
    unsigned k = fake_some(c->e->l->w, c->m->done);
    size_t n = 0;

    c->busy++;
    c->m->done -= k;
    while (k--) {
        n += GPOINTER_TO_SIZE(g_queue_pop_head(&c->m->sends));
    }
    vnet_stream_tx_done(c->s, n);
    if (!c->closed && c->want_tx) {
        pump_tx(c);
    }
    fake_cid_leave(c);
}

/* --- Receiving ----------------------------------------------------------- */

static void pump_rx(VnetCid *c)
{
    FakeWorld *w = c->e->l->w;

    c->busy++;
    c->want_rx = false;
    for (;;) {
        VnetRxBuf bufs[16];
        unsigned n, fail;

        if (fake_coin(w)) {
            c->want_rx = true;
            break;
        }
        n = vnet_stream_pull_rx(c->s, bufs, fake_some(w, 16),
                                c->e->l->ops.max_msg);
        if (!n || c->closed) {
            break;
        }
        /* Now and then the last ones cannot be posted. */
        fail = fake_coin(w) && fake_coin(w) ? fake_some(w, n) : 0;
        for (unsigned i = 0; i < n - fail; i++) {
            const Receive r = { bufs[i], 0 };

            g_array_append_val(c->m->posted, r);
        }
        g_assert_cmpuint(c->m->posted->len, <=, c->e->l->ops.max_posted);
        if (fail) {
            vnet_stream_rx_unused(c->s, bufs + n - fail, fail);
        }
        if (n > fail) {
            vnet_stream_rx_posted(c->s, bufs, n - fail);
        }
        if (fail) {
            c->want_rx = true;
            break;
        }
    }
    fake_cid_leave(c);
}

/* A message arrives, and its sender's queue pair gets to know. */
static void place(VnetCid *c)
{
    FakeConn *conn = c->c;
    VnetCid *peer = conn->cid[!c->e->server];
    GBytes *b = g_queue_pop_head(flight_to(conn, c->e->server));
    Receive *r = &g_array_index(c->m->posted, Receive, c->m->filled++);
    gsize len;
    const void *p = g_bytes_get_data(b, &len);

    memcpy(r->buf.iov.iov_base, p, len);
    r->len = len;
    g_bytes_unref(b);
    if (peer && peer->m->done < peer->m->sends.length) {
        peer->m->done++;
    }
}

static void tell_received(VnetCid *c)
{
    c->busy++;
    for (unsigned k = fake_some(c->e->l->w, c->m->filled); k && !c->closed;
         k--) {
        Receive r = g_array_index(c->m->posted, Receive, 0);

        g_array_remove_index(c->m->posted, 0);
        c->m->filled--;
        vnet_stream_rx_filled(c->s, &r.buf, r.len);
    }
    fake_cid_leave(c);
}

/* --- The seam ------------------------------------------------------------ */

static void m_cid_tx(VnetCid *c)
{
    g_assert_true(c->up && !c->closed && !c->busy);
    pump_tx(c);
}

static void m_cid_rx(VnetCid *c)
{
    g_assert_true(c->up && !c->closed && !c->busy);
    pump_rx(c);
}

static void m_cid_tx_end(VnetCid *c)
{
    g_assert_true(c->up && !c->closed && !c->tx_ended);
    c->tx_ended = true;
}

static void m_cid_stop(VnetCid *c)
{
    if (c->m) {
        c->m->stopped = true;
    }
}

static bool m_cid_settle(VnetCid *c)
{
    bool closed = false;

    g_assert_true(!c->closed && !c->busy);
    m_cid_stop(c);
    c->busy++;
    while (!c->closed && c->m && c->m->filled) {
        tell_received(c);
    }
    closed = c->closed;
    fake_cid_leave(c);
    return !closed;
}

static void m_cid_close(VnetCid *c, bool abort)
{
    FakeMsgCid *m = c->m;
    FakeConn *conn = c->c;

    if (m) {
        g_autofree VnetRxBuf *bufs = g_new(VnetRxBuf, m->posted->len);

        for (guint i = 0; i < m->posted->len; i++) {
            bufs[i] = g_array_index(m->posted, Receive, i).buf;
        }
        /* Without an abort both directions are done. */
        g_assert_true(abort || !flight_to(conn, !c->e->server)->length);
        g_assert_true(abort || !m->filled);
        vnet_stream_rx_unused(c->s, bufs, m->posted->len);
        g_array_free(m->posted, TRUE);
        g_queue_clear(&m->sends);
        g_free(m);
        c->m = NULL;
        lose_both(conn);
    }
    fake_cid_close(c, abort);
}

void fake_link_messages(FakeLink *l, uint32_t max_msg, uint32_t max_posted)
{
    l->ops.max_msg = max_msg;
    l->ops.max_posted = max_posted;
    l->ops.cid_tx = m_cid_tx;
    l->ops.cid_rx = m_cid_rx;
    l->ops.cid_tx_end = m_cid_tx_end;
    l->ops.cid_stop = m_cid_stop;
    l->ops.cid_settle = m_cid_settle;
    l->ops.cid_close = m_cid_close;
    l->max_sge = 4;
    l->sends_max = 32;
}

/* --- Actions ------------------------------------------------------------- */

void fake_msg_acts(GArray *a, VnetCid *c)
{
    FakeLink *l = c->e->l;
    FakeMsgCid *m = c->m;
    bool sends_told = l->stall_done || !m->done;

    g_assert_false(m->stopped); /* it is closed before anything else happens */
    if (c->want_tx && m->sends.length < l->sends_max) {
        fake_add(a, ACT_MSG_TX, c);
    }
    if (c->want_rx) {
        fake_add(a, ACT_MSG_RX, c);
    }
    if (flight_to(c->c, c->e->server)->length && !l->stall_data) {
        fake_add(a, ACT_MSG_PLACE, c);
    }
    if (m->filled && !l->stall_data) {
        fake_add(a, ACT_MSG_GOT, c);
    }
    if (!sends_told) {
        fake_add(a, ACT_MSG_SENT, c);
    }
    /* What is complete is told before the loss. */
    if (sends_told && !m->filled &&
        (c->c->dir[c->e->server].err ||
         (!c->c->open[!c->e->server] && !c->c->silent))) {
        fake_add(a, ACT_MSG_DOWN, c);
    }
}

void fake_msg_do(const Act *act)
{
    VnetCid *c = act->p;

    switch (act->kind) {
    case ACT_MSG_TX:
        pump_tx(c);
        break;
    case ACT_MSG_RX:
        pump_rx(c);
        break;
    case ACT_MSG_PLACE:
        place(c);
        break;
    case ACT_MSG_SENT:
        tell_sends(c);
        break;
    case ACT_MSG_GOT:
        tell_received(c);
        break;
    case ACT_MSG_DOWN:
        vnet_cid_down(c->s, ECONNRESET);
        break;
    default:
        g_assert_not_reached();
    }
}

void fake_link_stall_sends(FakeLink *l, bool stall)
{
    l->stall_done = stall;
}
