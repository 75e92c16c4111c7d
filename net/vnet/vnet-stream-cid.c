/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream machine, seen by the CID: which connection is whose and what became
 * of it; the transport pulls bytes to send and buffers to fill.  See
 * vnet-stream.c for the states.
 */
#include "vnet-stream.h"

bool vnet_stream_admits(VnetLink *l, uint32_t id, VnetStream **out)
{
    VnetStream *s = g_hash_table_lookup(l->by_id, GUINT_TO_POINTER(id));

    *out = s;
    if (s) {
        if (!s->cid || s->cid_taken) {
            l->stats.refused_token++;
            return false;
        }
        s->cid_taken = true;
        return true;
    }
    /* Ids of the client count up: one that is not above the last OPEN was used
     * before; one of this end that is not known is gone as well. */
    if ((id & VNET_STREAM_ID_SERVER) ||
        (l->peer_opened && (int32_t)((id - l->last_peer_id) << 1) <= 0)) {
        l->stats.refused_stream++;
        return false;
    }
    return true;
}

void vnet_cid_up(VnetStream *s)
{
    if (s->state == VNET_STREAM_DEAD || !s->cid) {
        return;
    }
    s->cid_up = true;
    s->cid_taken = true;
    vnet_stream_try_establish(s);
}

void vnet_cid_down(VnetStream *s, int err)
{
    if (s->state == VNET_STREAM_DEAD) {
        return;
    }
    if (err) {
        vnet_resume_settle(s);
        if (s->state == VNET_STREAM_DEAD) {
            return;
        }
        vnet_stream_cid_drop(s, true);
    } else {
        g_assert(!s->credit);
        s->rx_eof = true;
    }
    if (s->state == VNET_STREAM_FAILING) {
        return;
    }
    vnet_stream_check_rx_end(s);
    vnet_stream_check_guard(s);
}

static size_t peek(VnetStream *s, struct iovec *iov, unsigned *niov, size_t max)
{
    size_t n;

    if (s->tx == VNET_TX_ENDING) {
        max = MIN(max, s->tx_end - s->tx_sent);
    }
    if (!max) {
        return 0;
    }
    vnet_upcall_begin(s->port);
    n = s->ops->tx_peek(s->user, s->tx_sent, iov, niov, max);
    vnet_upcall_end(s->port);
    g_assert(n <= max);
    return s->state == VNET_STREAM_DEAD ? 0 : n;
}

/* No receive to send into: the peer must know what there is. */
static void want(VnetStream *s)
{
    struct iovec iov[VNET_WANT_PIECES];
    unsigned niov = VNET_WANT_PIECES;
    size_t n;

    if (vnet_credit_may_want(s)) {
        n = peek(s, iov, &niov, VNET_CREDIT_LENGTH_MAX);
        if (n) {
            vnet_credit_want(s, n);
        }
    }
}

size_t vnet_stream_pull_tx(VnetStream *s, struct iovec *iov, unsigned *niov,
                           size_t max)
{
    unsigned pieces = *niov;
    size_t n;

    if (!vnet_stream_cid_usable(s) || s->tx >= VNET_TX_ENDED) {
        return 0;
    }
    if (s->credit) {
        max = MIN(max, vnet_credit_tx_room(s));
        if (!max) {
            want(s);
            return 0;
        }
    }
    if (!s->port->shape[VNET_TX].on) {
        return peek(s, iov, niov, max);
    }
    /* Only who has bytes waits for its turn. */
    n = peek(s, iov, &pieces, max);
    if (n) {
        max = vnet_shape_stream(s, VNET_TX, n);
        n = max ? peek(s, iov, niov, max) : 0;
    }
    return n;
}

void vnet_stream_tx_sent(VnetStream *s, size_t n)
{
    if (s->state == VNET_STREAM_DEAD) {
        return;
    }
    if (s->credit) {
        vnet_credit_tx_used(s, n);
    }
    vnet_shape_stream_took(s, VNET_TX, n);
    vnet_capture_sent(s, n);
    s->tx_sent += n;
    s->link->stats.tx_stream_bytes += n;
    g_assert(s->tx == VNET_TX_OPEN || s->tx_sent <= s->tx_end);
    vnet_stream_check_tx_end(s);
}

void vnet_stream_acked(VnetStream *s, uint64_t offset)
{
    s->tx_acked = offset;
    vnet_capture_acked(s);
    vnet_upcall_begin(s->port);
    s->ops->acked(s->user, offset);
    vnet_upcall_end(s->port);
}

void vnet_stream_tx_done(VnetStream *s, size_t n)
{
    /* The ACK with END covers all, and may come first. */
    if (s->state == VNET_STREAM_DEAD || s->tx == VNET_TX_DONE) {
        return;
    }
    g_assert(n && n <= s->tx_sent - s->tx_acked);
    vnet_stream_acked(s, s->tx_acked + n);
}

unsigned vnet_stream_pull_rx(VnetStream *s, VnetRxBuf *bufs, unsigned n,
                             size_t max)
{
    unsigned got;

    if (!vnet_stream_cid_usable(s) || s->rx == VNET_RX_DONE || !n || !max) {
        return 0;
    }
    if (!s->rx_closed && s->port->shape[VNET_RX].on) {
        max = vnet_shape_stream(s, VNET_RX, max);
        if (!max) {
            return 0;
        }
    }
    if (s->credit) {
        return vnet_credit_pull_rx(s, bufs, n, max);
    }
    if (s->rx_closed) {
        /* To see whether a byte comes; it resets the stream. */
        bufs[0].iov.iov_base = &s->core->unread_byte;
        bufs[0].iov.iov_len = 1;
        bufs[0].priv = NULL;
        return 1;
    }
    if (s->rx == VNET_RX_ENDING) {
        uint64_t left = s->rx_end - s->rx_got;

        if (left <= s->rx_lent_bytes) {
            return 0;
        }
        max = MIN(max, left - s->rx_lent_bytes);
    }
    vnet_upcall_begin(s->port);
    got = s->ops->rx_get(s->user, bufs, n, max);
    vnet_upcall_end(s->port);
    if (s->state == VNET_STREAM_DEAD) {
        return 0;
    }
    for (unsigned i = 0; i < got; i++) {
        s->rx_lent_bytes += bufs[i].iov.iov_len;
    }
    s->rx_lent += got;
    return got;
}

void vnet_stream_rx_filled(VnetStream *s, VnetRxBuf *buf, size_t len)
{
    if (buf->iov.iov_base == &s->core->unread_byte) {
        if (s->state == VNET_STREAM_OPEN) {
            vnet_stream_reset_soon(s, VTOE_REASON_UNREAD);
        }
        return;
    }
    if (s->state == VNET_STREAM_DEAD) {
        return;                 /* the buffer went back when it died */
    }
    g_assert(len && len <= buf->iov.iov_len && s->rx_lent);
    if (s->credit && vnet_credit_is_stray(s, len)) {
        vnet_credit_stray(s, buf, len);
        return;
    }
    s->rx_lent--;
    s->rx_lent_bytes -= buf->iov.iov_len;
    vnet_shape_stream_took(s, VNET_RX, len);
    vnet_capture_received(s, buf->iov.iov_base, len);
    s->rx_got += len;
    s->link->stats.rx_stream_bytes += len;
    if (s->rx_closed) {
        /* Lent before the guest closed. */
        vnet_stream_reset_soon(s, VTOE_REASON_UNREAD);
    }
    vnet_upcall_begin(s->port);
    s->ops->rx_done(s->user, buf, len);
    vnet_upcall_end(s->port);
    if (s->state == VNET_STREAM_DEAD) {
        return;
    }
    if (s->rx == VNET_RX_ENDING && s->rx_got == s->rx_end) {
        vnet_stream_check_rx_end(s);
        if (s->state == VNET_STREAM_OPEN) {
            vnet_stream_check_guard(s);
        }
    } else if (s->credit) {
        s->rx_acked = s->rx_got;        /* the sender's completion told it */
        vnet_credit_rx_got(s);
    } else if (s->rx_got - s->rx_acked >= VNET_ACK_BYTES) {
        vnet_stream_owe(s, VNET_WORK_ACK);
    } else if (!s->ack_timer.in) {
        vnet_timer_start(s->core, &s->ack_timer, &s->core->ack_q,
                         vnet_now(s->core));
    }
}

void vnet_stream_rx_unused(VnetStream *s, VnetRxBuf *bufs, unsigned n)
{
    if (!n || bufs[0].iov.iov_base == &s->core->unread_byte) {
        return;
    }
    g_assert(n <= s->rx_lent);
    for (unsigned i = 0; i < n; i++) {
        s->rx_lent_bytes -= bufs[i].iov.iov_len;
    }
    s->rx_lent -= n;
    vnet_upcall_begin(s->port);
    s->ops->rx_return(s->user, bufs, n);
    vnet_upcall_end(s->port);
}
