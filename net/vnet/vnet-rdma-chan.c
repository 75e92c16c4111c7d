/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The message channel of the rdma transport's control and frame connections:
 * messages into receives that the peer has posted, never one more
 * (docs/specs/vnet-wire.rst, "Message channel").
 *
 * Each end has n receives of `size` bytes posted, and both know the numbers.
 * credit: how many of the peer's can be filled.  owed: how many of its own were
 * posted again since the peer was last told; each message tells.
 *
 * The last credit is kept for a message that returns credits.  An end that owes
 * n / 2 or more and has nothing to say sends an empty message.  So two ends,
 * both with more to send than the other can take, never both stand still; the
 * spec has the argument.
 *
 * Buffers are the host's, registered once per connection: n to receive and n to
 * send.  Messages are collected in a send buffer, and go out when it is full or
 * at the end of the dispatch.  Local completions free send buffers, whatever
 * the peer does; on the frame channel one stands for several messages.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vnet-rdma-conn.h"

#define PAGE    4096

/* Header: 0 credits returned u16 | 2 flags u16, zero | 4 length u32, of what
 * follows. */
struct VnetRdmaChan {
    VnetRdmaConn *conn;
    unsigned n;
    size_t size;
    uint8_t *mem;               /* n receive buffers, then n send buffers */
    VnetVMr *mr;
    uint32_t lkey;
    unsigned rx_next;           /* the receive that is filled next */
    unsigned credit, owed;
    unsigned tx_next;           /* send buffer that is filled */
    size_t fill;                /* payload in it; 0: no message is begun */
    unsigned tx_busy;           /* sent, not completed: those before tx_next */
    unsigned quiet;             /* of those the youngest without completion */
    unsigned signal_every;
    /* Of each completion awaited: how many messages it stands for. */
    uint8_t covers[VNET_RDMA_CONTROL_N];
    unsigned covers_first, covers_n;
};

_Static_assert(VNET_RDMA_FRAME_N <= VNET_RDMA_CONTROL_N, "covers[] is enough");
_Static_assert(VNET_RDMA_FRAME_SIZE >= VNET_RDMA_CHAN_HDR +
               VNET_FRAME_HDR_SIZE + VNET_FRAME_MAX, "a frame fits");
_Static_assert(VNET_RDMA_CONTROL_SIZE >= VNET_RDMA_CHAN_HDR + VNET_MSG_MAX,
               "a control message fits");

static uint8_t *rx_buf(VnetRdmaChan *ch, unsigned i)
{
    return ch->mem + i * ch->size;
}

static uint8_t *tx_buf(VnetRdmaChan *ch, unsigned i)
{
    return ch->mem + (ch->n + i) * ch->size;
}

int vnet_rdma_chan_new(VnetRdmaConn *c)
{
    bool control = c->preamble.kind == VNET_CONN_CONTROL;
    VnetRdmaChan *ch = g_new0(VnetRdmaChan, 1);
    size_t len;
    int ret;

    ch->conn = c;
    ch->n = control ? VNET_RDMA_CONTROL_N : VNET_RDMA_FRAME_N;
    ch->size = control ? VNET_RDMA_CONTROL_SIZE : VNET_RDMA_FRAME_SIZE;
    /* Before a control connection closes, all it sent must be known to have
     * gone out. */
    ch->signal_every = control ? 1 : VNET_RDMA_FRAME_N / 4;
    ch->credit = ch->n;
    len = 2 * ch->n * ch->size;
    ret = posix_memalign((void **)&ch->mem, PAGE, len);
    if (ret) {
        g_free(ch);
        return -ret;
    }
    /* What is sent is written first, but the adapter reads whole pages. */
    memset(ch->mem, 0, len);
    ret = c->r->v->reg_mem(c->dev->v, ch->mem, len, &ch->mr, &ch->lkey);
    if (ret < 0) {
        free(ch->mem);
        g_free(ch);
        return ret;
    }
    c->chan = ch;
    return 0;
}

void vnet_rdma_chan_free(VnetRdmaChan *ch)
{
    ch->conn->r->v->unreg_mem(ch->mr);
    free(ch->mem);
    g_free(ch);
}

static int post_rx(VnetRdmaChan *ch, unsigned first, unsigned n)
{
    VnetVSge sge[VNET_RDMA_CONTROL_N];
    VnetRdmaConn *c = ch->conn;

    for (unsigned i = 0; i < n; i++) {
        sge[i] = (VnetVSge) { rx_buf(ch, first + i), ch->size, ch->lkey };
    }
    return c->r->v->post_recv(c->qp, sge, n, c->serial << 1 | 1);
}

int vnet_rdma_chan_start(VnetRdmaChan *ch)
{
    return post_rx(ch, 0, ch->n);
}

/* --- Sending ------------------------------------------------------------- */

static bool may_send(const VnetRdmaChan *ch)
{
    return ch->conn->state == VNET_RDMA_UP && ch->tx_busy < ch->n &&
           (ch->credit > 1 || (ch->credit == 1 && ch->owed));
}

bool vnet_rdma_chan_ready(const VnetRdmaChan *ch)
{
    return ch->conn->state == VNET_RDMA_UP && !ch->fill &&
           ch->tx_busy < ch->n;
}

bool vnet_rdma_chan_idle(const VnetRdmaChan *ch)
{
    return !ch->tx_busy;
}

/* False: it failed. */
static bool chan_send(VnetRdmaChan *ch)
{
    VnetRdmaConn *c = ch->conn;
    VnetRdma *r = c->r;
    bool control = c->preamble.kind == VNET_CONN_CONTROL;
    uint8_t *p = tx_buf(ch, ch->tx_next);
    VnetVSge sge = { p, VNET_RDMA_CHAN_HDR + ch->fill, ch->lkey };
    bool last = ch->tx_busy + 1 == ch->n;
    unsigned flags = 0;
    int ret;

    p[0] = ch->owed >> 8;
    p[1] = ch->owed;
    p[2] = p[3] = 0;
    p[4] = ch->fill >> 24;
    p[5] = ch->fill >> 16;
    p[6] = ch->fill >> 8;
    p[7] = ch->fill;
    if (sge.len <= c->inline_max) {
        flags |= VNET_V_INLINE;
    }
    ch->quiet++;
    if (ch->quiet >= ch->signal_every || last) {
        flags |= VNET_V_SIGNALED;
    }
    ret = r->v->post_send(c->qp, &sge, 1, flags, c->serial << 1);
    if (ret < 0) {
        vnet_rdma_conn_fail(c, -ret, "sending: %s", g_strerror(-ret));
        return false;
    }
    if (flags & VNET_V_SIGNALED) {
        ch->covers[(ch->covers_first + ch->covers_n++) % ch->n] = ch->quiet;
        ch->quiet = 0;
    }
    if (control) {
        r->stats.control_msgs_sent++;
    } else {
        r->stats.frame_msgs_sent++;
    }
    r->stats.credit_msgs_sent += !ch->fill;
    ch->owed = 0;
    ch->credit--;
    ch->tx_busy++;
    ch->tx_next = (ch->tx_next + 1) % ch->n;
    ch->fill = 0;
    return true;
}

uint8_t *vnet_rdma_chan_room(VnetRdmaChan *ch, size_t len)
{
    if (ch->fill && VNET_RDMA_CHAN_HDR + ch->fill + len > ch->size &&
        (!may_send(ch) || !chan_send(ch))) {
        return NULL;
    }
    if (ch->conn->state != VNET_RDMA_UP || ch->tx_busy == ch->n) {
        return NULL;
    }
    return tx_buf(ch, ch->tx_next) + VNET_RDMA_CHAN_HDR + ch->fill;
}

void vnet_rdma_chan_commit(VnetRdmaChan *ch, size_t len)
{
    ch->fill += len;
}

void vnet_rdma_chan_flush(VnetRdmaChan *ch)
{
    if (ch->fill) {
        if (may_send(ch)) {
            chan_send(ch);
        }
    } else if (ch->owed >= ch->n / 2 && may_send(ch)) {
        chan_send(ch);
    }
}

/* --- Completions --------------------------------------------------------- */

void vnet_rdma_chan_sent(VnetRdmaChan *ch)
{
    VnetRdma *r = ch->conn->r;

    if (!ch->covers_n) {
        return;                 /* a device that tells what was not asked for */
    }
    ch->tx_busy -= ch->covers[ch->covers_first];
    ch->covers_first = (ch->covers_first + 1) % ch->n;
    ch->covers_n--;
    r->host->at_end(r->opaque);
}

void vnet_rdma_chan_received(VnetRdmaChan *ch, uint32_t len)
{
    VnetRdmaConn *c = ch->conn;
    VnetRdma *r = c->r;
    uint64_t serial = c->serial;
    unsigned at = ch->rx_next;
    const uint8_t *p = rx_buf(ch, at);
    uint32_t credits, payload;
    int ret;

    if (c->preamble.kind == VNET_CONN_CONTROL) {
        r->stats.control_msgs_received++;
    } else {
        r->stats.frame_msgs_received++;
    }
    ch->rx_next = (at + 1) % ch->n;
    if (len < VNET_RDMA_CHAN_HDR) {
        vnet_link_violation(r->l, VNET_WIRE_BAD_LENGTH, "channel message");
        return;
    }
    credits = p[0] << 8 | p[1];
    payload = (uint32_t)p[4] << 24 | p[5] << 16 | p[6] << 8 | p[7];
    if (payload != len - VNET_RDMA_CHAN_HDR) {
        vnet_link_violation(r->l, VNET_WIRE_BAD_LENGTH, "channel message");
        return;
    }
    if (p[2] || p[3] || credits > ch->n - ch->credit) {
        vnet_link_violation(r->l, VNET_WIRE_BAD_VALUE, "channel message");
        return;
    }
    ch->credit += credits;
    if (payload) {
        vnet_rdma_msg_in(c, p + VNET_RDMA_CHAN_HDR, payload);
        /* It may have closed the connection. */
        if (vnet_rdma_conn_find(r, serial) != c || !c->chan ||
            c->state != VNET_RDMA_UP) {
            return;
        }
    }
    ret = post_rx(ch, at, 1);
    if (ret < 0) {
        vnet_rdma_conn_fail(c, -ret, "posting a receive: %s",
                            g_strerror(-ret));
        return;
    }
    ch->owed++;
    r->host->at_end(r->opaque);
}
