/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CIDs of rdma links: the connection that carries one stream.
 *
 * Theory of operation
 *
 * Nothing is copied here.  A message is gathered by the adapter from the pieces
 * of guest memory that the stream gives, and placed by the peer's adapter into
 * a piece of guest memory that was posted for it.  Which messages may be sent
 * is the stream machine's to decide (vnet-stream-credit.c); here is how.
 *
 * A client begins to connect at the end of the dispatch in which cid_open() was
 * called, after the control messages have gone out; a server waits for the
 * request that carries the stream's id, which may be here already ("early").
 *
 * Completions of sends: of a burst of messages every 16th and the last get one;
 * it stands for those before it.  Which is the last is known only when there
 * is no next: so one message is held back until the next was asked for.  The
 * send queue holds VNET_RDMA_DATA_TX messages; a completion makes room, and
 * sending goes on.
 *
 * Streams are resumed from what the receiver has.  It may have received more than
 * it was told of when the link is lost, which the sender knows to be there.  So
 * before the QP is destroyed it is stopped, and completions are taken until each
 * receive that was posted is accounted for, filled or flushed.
 *
 * A call into the stream may end in cid_close().  `busy` keeps the memory until
 * the function that called has seen `closed`.
 */
#include <errno.h>
#include <string.h>
#include "vnet-rdma-conn.h"

/* Receives posted at once. */
#define RX_BATCH    32

struct VnetCid {
    VnetRdma *r;
    VnetStream *s;
    VnetPreamble preamble;
    VnetRdmaConn *c;            /* NULL: none yet */
    GList node;                 /* in r->to_dial, if queued */
    bool queued;
    bool up;                    /* vnet_cid_up() was called */
    bool closed;
    unsigned busy;
    bool tx_full;               /* goes on when a completion comes */
    /* Messages sent and not completed, a ring; negative: without completion. */
    int32_t tx[VNET_RDMA_DATA_TX];
    unsigned tx_first, tx_n;
    unsigned quiet;             /* the youngest of those without completion */
    /* Buffers posted, a ring; NULL before the first. */
    VnetRxBuf *rx;
    unsigned rx_first, rx_n;
    unsigned rx_posted;         /* of these, the first */
    unsigned rx_flushed;        /* of those, completed without a message */
    bool rx_bad;                /* one had no length that it can have */
};

/* --- Life ---------------------------------------------------------------- */

static void cid_enter(VnetCid *cid)
{
    cid->busy++;
}

/* False: it was closed meanwhile, and may be freed. */
static bool cid_leave(VnetCid *cid)
{
    bool closed = cid->closed;

    if (--cid->busy == 0 && closed) {
        g_free(cid);
    }
    return !closed;
}

static void cid_queue(VnetCid *cid)
{
    if (!cid->queued) {
        cid->queued = true;
        g_queue_push_tail_link(&cid->r->to_dial, &cid->node);
    }
    cid->r->host->at_end(cid->r->opaque);
}

static void cid_unqueue(VnetCid *cid)
{
    if (cid->queued) {
        cid->queued = false;
        g_queue_unlink(&cid->r->to_dial, &cid->node);
    }
}

/* The request that waits for this stream, or NULL. */
static VnetRdmaConn *early_of(VnetRdma *r, uint32_t stream_id)
{
    if (!r->nearly) {
        return NULL;
    }
    for (GList *n = r->timed.head; n; n = n->next) {
        VnetRdmaConn *c = n->data;

        if (c->early && c->preamble.stream_id == stream_id) {
            return c;
        }
    }
    return NULL;
}

/* Those there are, control and frame connection included. */
static uint32_t qp_limit(const VnetRdma *r)
{
    uint32_t limit = r->max_qps ? r->max_qps : UINT32_MAX;

    if (r->control && r->control->dev) {
        limit = MIN(limit, r->v->limits(r->control->dev->v)->max_qp);
    }
    return limit;
}

VnetCid *vnet_rdma_cid_open(void *transport, VnetStream *s,
                            const VnetPreamble *p)
{
    VnetRdma *r = transport;
    VnetCid *cid;

    if (g_hash_table_size(r->cids) + 2 >= qp_limit(r)) {
        r->stats.refused_limit++;
        vnet_link_limit(r->l, VNET_CORE_LIMIT_MAX_QPS);
        return NULL;
    }
    cid = g_new0(VnetCid, 1);
    cid->r = r;
    cid->s = s;
    cid->preamble = *p;
    cid->node.data = cid;
    if (!g_hash_table_insert(r->cids, GUINT_TO_POINTER(p->stream_id), cid)) {
        g_assert_not_reached();         /* ids in use are not used again */
    }
    if (!r->server || early_of(r, p->stream_id)) {
        cid_queue(cid);
    }
    return cid;
}

/* All that is posted goes back, in the order posted. */
static void cid_return(VnetCid *cid)
{
    unsigned n = cid->rx_n;
    VnetRxBuf *bufs;

    if (!n) {
        return;
    }
    bufs = g_new(VnetRxBuf, n);
    for (unsigned i = 0; i < n; i++) {
        bufs[i] = cid->rx[(cid->rx_first + i) % VNET_RDMA_DATA_RX];
    }
    cid->rx_n = cid->rx_posted = 0;
    vnet_stream_rx_unused(cid->s, bufs, n);
    g_free(bufs);
}

void vnet_rdma_cid_stop(VnetCid *cid)
{
    if (cid->c && cid->c->qp) {
        vnet_rdma_conn_stop(cid->c);
    }
}

bool vnet_rdma_cid_settle(VnetCid *cid)
{
    bool settled;

    if (!cid->c || !cid->c->qp) {
        return true;            /* nothing was ever posted */
    }
    cid_enter(cid);
    settled = vnet_rdma_conn_settle(cid->c);
    return cid_leave(cid) && settled;
}

bool vnet_rdma_cid_is_settled(const VnetCid *cid)
{
    return cid->rx_flushed == cid->rx_posted;
}

void vnet_rdma_cid_flushed(VnetCid *cid)
{
    cid->rx_flushed++;
}

void vnet_rdma_cid_close(VnetCid *cid, bool abort)
{
    VnetRdmaConn *c = cid->c;

    cid->closed = true;
    cid_unqueue(cid);
    g_hash_table_remove(cid->r->cids,
                        GUINT_TO_POINTER(cid->preamble.stream_id));
    if (c) {
        /* Destroys the QP: from here on the buffers are ours. */
        cid->c = NULL;
        vnet_rdma_conn_close(c);
    }
    cid_return(cid);
    g_free(cid->rx);
    cid->rx = NULL;
    if (!cid->busy) {
        g_free(cid);
    }
}

void vnet_rdma_cid_failed(VnetCid *cid, int err)
{
    /* Calls cid_close(). */
    vnet_cid_down(cid->s, err);
}

/* --- Making the connection ----------------------------------------------- */

bool vnet_rdma_cid_attach(VnetCid *cid, VnetRdmaConn *c)
{
    int ret;

    if (cid->c) {
        return false;
    }
    cid->c = c;
    c->cid = cid;
    ret = vnet_rdma_conn_accept(c);
    if (ret < 0) {
        vnet_rdma_conn_fail(c, -ret, "accepting: %s", g_strerror(-ret));
    }
    return true;
}

static void cid_dial(VnetCid *cid)
{
    VnetRdma *r = cid->r;
    VnetRdmaConn *c;
    int err = 0;

    if (r->server) {
        c = early_of(r, cid->preamble.stream_id);
        if (c) {
            vnet_rdma_cid_attach(cid, c);
        }
        return;
    }
    c = vnet_rdma_dial(r, &cid->preamble, &err);
    if (!c) {
        vnet_cid_down(cid->s, -err);
        return;
    }
    cid->c = c;
    c->cid = cid;
}

bool vnet_rdma_cids_dial(VnetRdma *r)
{
    /* Each call can close any of them, and the link. */
    for (unsigned n = 0; n < VNET_RDMA_DIAL_TURN; n++) {
        GList *node = r->to_dial.head;

        if (!node) {
            return true;
        }
        cid_unqueue(node->data);
        cid_dial(node->data);
    }
    return !r->to_dial.head;
}

void vnet_rdma_cid_up(VnetCid *cid)
{
    cid->up = true;
    vnet_cid_up(cid->s);
}

/* --- Sending ------------------------------------------------------------- */

/* The message held back, to be posted with or without a completion. */
typedef struct Held {
    VnetVSge sge[VNET_RDMA_DATA_SGE];
    unsigned nsge;              /* 0: none */
    uint32_t len;
} Held;

/* Returns 0 or -errno. */
static int held_fill(VnetCid *cid, Held *h, const struct iovec *iov,
                     unsigned niov, size_t len)
{
    const VnetVerbs *v = cid->r->v;

    for (unsigned i = 0; i < niov; i++) {
        VnetVSge *sge = &h->sge[i];
        int ret = v->lkey(cid->c->dev->v, iov[i].iov_base, iov[i].iov_len,
                          &sge->lkey);

        if (ret < 0) {
            return ret;
        }
        sge->addr = iov[i].iov_base;
        sge->len = iov[i].iov_len;
    }
    h->nsge = niov;
    h->len = len;
    return 0;
}

static int held_post(VnetCid *cid, Held *h, bool last)
{
    VnetRdma *r = cid->r;
    unsigned at = (cid->tx_first + cid->tx_n) % VNET_RDMA_DATA_TX;
    unsigned flags = 0;
    int ret;

    if (last || cid->quiet + 1 >= VNET_RDMA_DATA_SIGNAL) {
        flags |= VNET_V_SIGNALED;
    }
    if (h->len <= cid->c->inline_max) {
        flags |= VNET_V_INLINE;
        r->stats.data_sends_inline++;
    }
    ret = r->v->post_send(cid->c->qp, h->sge, h->nsge, flags,
                          cid->c->serial << 1);
    h->nsge = 0;
    if (ret < 0) {
        return ret;
    }
    r->stats.data_sends++;
    if (flags & VNET_V_SIGNALED) {
        r->stats.data_sends_signalled++;
        cid->quiet = 0;
        cid->tx[at] = h->len;
    } else {
        cid->quiet++;
        cid->tx[at] = -(int32_t)h->len;
    }
    cid->tx_n++;
    return 0;
}

/* Returns 0 or -errno.  The caller has entered. */
static int cid_send(VnetCid *cid)
{
    VnetRdma *r = cid->r;
    unsigned max_sge = MIN(VNET_RDMA_DATA_SGE,
                           r->v->limits(cid->c->dev->v)->max_sge);
    Held held[2], *h = &held[0];
    int ret;

    held[0].nsge = held[1].nsge = 0;
    cid->tx_full = false;
    for (;;) {
        Held *next = h == &held[0] ? &held[1] : &held[0];
        struct iovec iov[VNET_RDMA_DATA_SGE];
        unsigned niov = max_sge;
        size_t n;

        if (cid->tx_n + (h->nsge != 0) == VNET_RDMA_DATA_TX) {
            cid->tx_full = true;
            break;
        }
        n = vnet_stream_pull_tx(cid->s, iov, &niov, VNET_RDMA_DATA_MSG);
        if (cid->closed) {
            return 0;
        }
        if (!n) {
            break;
        }
        ret = held_fill(cid, next, iov, niov, n);
        if (ret < 0) {
            return ret;
        }
        if (h->nsge) {
            ret = held_post(cid, h, false);
            if (ret < 0) {
                return ret;
            }
        }
        h = next;
        vnet_stream_tx_sent(cid->s, n);
        if (cid->closed) {
            return 0;
        }
    }
    return h->nsge ? held_post(cid, h, true) : 0;
}

static void cid_send_on(VnetCid *cid)
{
    int ret;

    cid_enter(cid);
    ret = cid_send(cid);
    if (ret < 0 && !cid->closed) {
        vnet_rdma_conn_fail(cid->c, -ret, "sending: %s", g_strerror(-ret));
    }
    cid_leave(cid);
}

static bool cid_works(const VnetCid *cid)
{
    return cid->up && !cid->closed && cid->c->state == VNET_RDMA_UP &&
           !cid->c->stopped;
}

void vnet_rdma_cid_tx(VnetCid *cid)
{
    if (cid_works(cid) && !cid->tx_full) {
        cid_send_on(cid);
    }
}

void vnet_rdma_cid_tx_end(VnetCid *cid)
{
    /* The end is a message of the control connection. */
}

void vnet_rdma_cid_sent(VnetCid *cid)
{
    size_t done = 0;

    while (cid->tx_n) {
        int32_t len = cid->tx[cid->tx_first];

        cid->tx_first = (cid->tx_first + 1) % VNET_RDMA_DATA_TX;
        cid->tx_n--;
        done += len < 0 ? -len : len;
        if (len > 0) {
            break;
        }
    }
    if (!done) {
        return;
    }
    cid_enter(cid);
    vnet_stream_tx_done(cid->s, done);
    if (cid_works(cid) && cid->tx_full) {
        cid_send_on(cid);
    }
    cid_leave(cid);
}

/* --- Receiving ----------------------------------------------------------- */

/* Posts what is lent.  Returns 0 or -errno.  The caller has entered. */
static int cid_post(VnetCid *cid)
{
    VnetRdma *r = cid->r;

    while (cid->rx_n < VNET_RDMA_DATA_RX) {
        VnetRxBuf bufs[RX_BATCH];
        VnetVSge sge[RX_BATCH];
        unsigned n = MIN(RX_BATCH, VNET_RDMA_DATA_RX - cid->rx_n);
        int ret = 0;

        n = vnet_stream_pull_rx(cid->s, bufs, n, VNET_CREDIT_LENGTH_MAX);
        if (cid->closed || !n) {
            return 0;
        }
        if (!cid->rx) {
            cid->rx = g_new(VnetRxBuf, VNET_RDMA_DATA_RX);
        }
        /* From now on they go back when the CID closes. */
        for (unsigned i = 0; i < n; i++) {
            cid->rx[(cid->rx_first + cid->rx_n++) % VNET_RDMA_DATA_RX] =
                bufs[i];
        }
        for (unsigned i = 0; i < n && ret == 0; i++) {
            sge[i].addr = bufs[i].iov.iov_base;
            sge[i].len = bufs[i].iov.iov_len;
            ret = r->v->lkey(cid->c->dev->v, sge[i].addr, sge[i].len,
                             &sge[i].lkey);
        }
        if (ret == 0) {
            cid->rx_posted += n;        /* if it fails: some of them */
            ret = r->v->post_recv(cid->c->qp, sge, n,
                                  cid->c->serial << 1 | 1);
        }
        if (ret < 0) {
            return ret;
        }
        r->stats.data_receives_posted += n;
        vnet_stream_rx_posted(cid->s, bufs, n);
    }
    return 0;
}

void vnet_rdma_cid_rx(VnetCid *cid)
{
    int ret;

    if (!cid_works(cid)) {
        return;
    }
    cid_enter(cid);
    ret = cid_post(cid);
    if (ret < 0 && !cid->closed) {
        vnet_rdma_conn_fail(cid->c, -ret, "posting receives: %s",
                            g_strerror(-ret));
    }
    cid_leave(cid);
}

void vnet_rdma_cid_received(VnetCid *cid, uint32_t len)
{
    VnetRxBuf buf;

    if (!cid->rx_posted) {
        return;
    }
    if (cid->rx_bad) {
        cid->rx_flushed++;
        return;
    }
    if (!len || len > cid->rx[cid->rx_first].iov.iov_len) {
        cid->rx_bad = true;
        cid->rx_flushed++;
        vnet_link_violation(cid->r->l, VNET_WIRE_BAD_LENGTH, "data message");
        return;
    }
    buf = cid->rx[cid->rx_first];
    cid->rx_first = (cid->rx_first + 1) % VNET_RDMA_DATA_RX;
    cid->rx_n--;
    cid->rx_posted--;
    cid->r->stats.data_receives++;
    vnet_stream_rx_filled(cid->s, &buf, len);
}
