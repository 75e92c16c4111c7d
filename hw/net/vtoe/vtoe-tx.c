/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sending half of streams: SendWQ descriptors of pairs 1 and up
 * (docs/specs/vtoe.rst sections 3.2 and 6).
 *
 * A DATA descriptor becomes a segment of its stream: an offset and a mapping
 * of the guest's buffer.  The overlay reads the segments with tx_peek() as
 * often as it has to, and acked() releases them; nothing is copied.  A stream
 * has at most MAX_INFLIGHT segments, so the memory the host spends on them is
 * bounded by MAX_STREAMS * MAX_INFLIGHT * sizeof(VtoeTxSeg).
 *
 * Acknowledgements come as fast as the peer's ring drains, and a guest that is
 * told of each would take an interrupt for each.  A COMP_SEND is written when
 * it is news: nothing is in flight any more, or half of what was in flight at
 * the last one is done.  VTOE_ACK_DELAY_NS bounds the wait for that news, for
 * a guest that cannot post more before it is told.
 *
 * The overlay is told of new bytes once per stream and fetched batch, before
 * the ring's indices are written: the peer's work starts while this side still
 * does its book-keeping.
 */
#include "vtoe-int.h"

/* --- segments of one stream ------------------------------------------------------ */

static VtoeTxSeg *seg_at(VtoeStream *s, uint32_t i)
{
    return &s->seg[(s->seg_head + i) & (s->seg_cap - 1)];
}

static void seg_resize(VtoeStream *s, uint32_t cap)
{
    VtoeTxSeg *seg = cap ? g_new(VtoeTxSeg, cap) : NULL;

    for (uint32_t i = 0; i < s->seg_count; i++) {
        seg[i] = *seg_at(s, i);
    }
    g_free(s->seg);
    s->seg = seg;
    s->seg_cap = cap;
    s->seg_head = 0;
}

/* The segment that holds the byte at offset, which is in flight. */
static uint32_t seg_find(VtoeStream *s, uint64_t offset)
{
    uint32_t lo = 0, hi = s->seg_count;

    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (seg_at(s, mid)->offset <= offset) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static void seg_unmap(VtoeStream *s, VtoeTxSeg *seg)
{
    VtoeDev *d = s->dev;

    d->ops->dma_unmap(d->opaque, &seg->map, false, 0);
}

void vtoe_tx_drop(VtoeStream *s)
{
    for (uint32_t i = 0; i < s->seg_count; i++) {
        seg_unmap(s, seg_at(s, i));
    }
    s->seg_count = 0;
    seg_resize(s, 0);
}

size_t vtoe_tx_peek(VtoeStream *s, uint64_t offset, struct iovec *iov,
                    unsigned *niov, size_t max)
{
    unsigned room = *niov, n = 0;
    size_t total = 0;
    uint32_t i;

    *niov = 0;
    if (!vtoe_live(s->dev) || offset < s->tx_acked ||
        offset >= s->tx_posted) {
        return 0;
    }
    for (i = seg_find(s, offset);
         i < s->seg_count && n < room && total < max; i++) {
        VtoeTxSeg *seg = seg_at(s, i);
        size_t skip = offset + total - seg->offset;
        size_t len = MIN(seg->map.len - skip, max - total);

        iov[n].iov_base = (uint8_t *)seg->map.host + skip;
        iov[n].iov_len = len;
        n++;
        total += len;
    }
    *niov = n;
    return total;
}

void vtoe_tx_tell_acked(VtoeStream *s)
{
    vtoe_list_del(&s->dev->ack_q, &s->ack_link);
    vtoe_list_add(&s->q->send_done, &s->done_link, s);
    vtoe_mark_dirty(s->q);
    if (!s->dev->cfg.eoc) {
        vtoe_pair_flush(s->q);
    }
}

/* Whether the guest should know now, see the top. */
static bool acked_is_news(const VtoeStream *s)
{
    return s->tx_acked == s->tx_posted || !s->dev->cfg.eoc ||
           s->tx_acked - s->tx_told >= (s->tx_posted - s->tx_told) / 2;
}

void vtoe_tx_acked(VtoeStream *s, uint64_t offset)
{
    VtoeDev *d = s->dev;

    g_return_if_fail(offset <= s->tx_posted);
    if (offset <= s->tx_acked) {
        return;
    }
    d->st.tx_stream_bytes += offset - s->tx_acked;
    s->tx_acked = offset;
    while (s->seg_count) {
        VtoeTxSeg *seg = seg_at(s, 0);

        if (seg->offset + seg->map.len > offset) {
            break;
        }
        seg_unmap(s, seg);
        s->seg_head = (s->seg_head + 1) & (s->seg_cap - 1);
        s->seg_count--;
    }
    if (!s->seg_count && s->seg_cap > VTOE_SEG_IDLE) {
        seg_resize(s, 0);
    }
    if (acked_is_news(s)) {
        vtoe_tx_tell_acked(s);
    } else if (!s->ack_link.data) {
        s->told_by = d->ops->now_ns(d->opaque) + VTOE_ACK_DELAY_NS;
        vtoe_list_add(&d->ack_q, &s->ack_link, s);
    }
}

/* --- descriptors ------------------------------------------------------------------ */

/* A descriptor of a stream that is not there: dropped unread, and said so.
 * False: no room to say it; the descriptor stays in the ring. */
static bool unknown_sid(VtoeQueue *q, uint32_t sid, uint32_t len)
{
    VtoeDev *d = q->dev;
    struct vtoe_comp *c;

    if (!vtoe_comp_room(q, 1)) {
        q->tx_busy = true;
        return false;
    }
    d->st.tx_unknown_sid++;
    c = vtoe_comp_add(q);
    c->type = VTOE_COMP_ERROR;
    c->reason = GUINT16_TO_LE(VTOE_REASON_NONE);
    c->sid = GUINT32_TO_LE(sid);
    c->id = GUINT32_TO_LE(VTOE_ID_NONE);
    c->len = GUINT32_TO_LE(len);
    vtoe_comp_commit(q);
    return true;
}

static bool data(VtoeQueue *q, VtoeStream *s, uint64_t addr, uint32_t len)
{
    VtoeDev *d = q->dev;
    VtoeTxSeg *seg;
    VtoeMap map;

    if (s->seg_count >= d->cfg.max_inflight) {
        vtoe_violation(d, VTOE_VIOLATION_STREAM, "SID %u has more than %u "
                       "descriptors in flight", s->sid, d->cfg.max_inflight);
        return false;
    }
    if (s->tx_ended && len > s->tx_end - s->tx_posted) {
        vtoe_violation(d, VTOE_VIOLATION_STREAM, "SID %u: %u bytes at %" PRIu64
                       " pass the announced end %" PRIu64, s->sid, len,
                       s->tx_posted, s->tx_end);
        return false;
    }
    if (addr + len < addr ||
        !d->ops->dma_map(d->opaque, addr, len, false, &map)) {
        vtoe_violation(d, VTOE_VIOLATION_BUFFER, "send buffer 0x%" PRIx64
                       "+%u is not RAM", addr, len);
        return false;
    }
    if (s->seg_count == s->seg_cap) {
        seg_resize(s, MAX(s->seg_cap * 2, VTOE_SEG_IDLE));
    }
    seg = seg_at(s, s->seg_count++);
    seg->offset = s->tx_posted;
    seg->map = map;
    s->tx_posted += len;
    d->st.tx_stream_descs++;
    vtoe_list_add(&q->tx_dirty, &s->tx_link, s);
    return true;
}

/* False: stop here, after a violation or for lack of room. */
static bool descriptor(VtoeQueue *q, const struct vtoe_send_desc *raw)
{
    VtoeDev *d = q->dev;
    uint64_t addr = GUINT64_FROM_LE(raw->addr);
    uint32_t len = GUINT32_FROM_LE(raw->len);
    uint32_t sid = GUINT32_FROM_LE(raw->sid);
    VtoeStream *s = vtoe_stream_find(d, sid);
    bool there = s && s->vs && s->q;

    if (raw->op > VTOE_SEND_CREDIT || raw->flags) {
        vtoe_violation(d, VTOE_VIOLATION_DESCRIPTOR, "send descriptor of SID "
                       "%u: opcode %u, flags 0x%x", sid, raw->op, raw->flags);
        return false;
    }
    if (raw->op == VTOE_SEND_CREDIT ? len != 0
                                    : len < 1 || len > VTOE_MAX_SEGMENT) {
        vtoe_violation(d, VTOE_VIOLATION_BUFFER, "send descriptor of SID %u: "
                       "length %u", sid, len);
        return false;
    }
    if (sid == VTOE_SID_FRAME || (s && s->q && s->q != q)) {
        vtoe_violation(d, VTOE_VIOLATION_STREAM, "SID %u does not belong to "
                       "pair %u", sid, q->index);
        return false;
    }
    if (raw->op == VTOE_SEND_CREDIT) {
        if (there) {
            vtoe_rx_credit(s, addr);
        } else {
            d->st.tx_unknown_sid++;
        }
        return !d->broken;
    }
    return there ? data(q, s, addr, len) : unknown_sid(q, sid, len);
}

static void tell_overlay(VtoeQueue *q)
{
    VtoeStream *s;

    while ((s = vtoe_list_pop(&q->tx_dirty))) {
        if (s->vs) {
            vnet_stream_tx_ready(s->vs);
        }
    }
}

void vtoe_tx_run(VtoeQueue *q)
{
    VtoeDev *d = q->dev;
    struct vtoe_send_desc raw[VTOE_FETCH] VTOE_UNINITIALIZED;
    unsigned budget = VTOE_BUDGET_DESCS;
    int avail;

    if (q->in_tx) {
        return;
    }
    q->in_tx = true;
    q->tx_busy = false;
    avail = vtoe_queue_send_avail(q);
    while (avail >= 0 && !d->broken) {
        unsigned n, i = 0;

        if (avail == 0) {
            vtoe_queue_tell_send_cons(q);
            if (!vtoe_queue_arm_send(q)) {
                break;
            }
            avail = q->send_prod - q->send_cons;
            continue;
        }
        if (!budget) {
            vtoe_kick_later(q);
            break;
        }
        n = MIN(MIN((unsigned)avail, VTOE_FETCH), budget);
        if (!vtoe_queue_fetch(q, VTOE_RING_SEND, sizeof(raw[0]), q->send_cons,
                              n, raw)) {
            break;
        }
        while (i < n && descriptor(q, &raw[i])) {
            q->send_cons++;
            i++;
        }
        budget -= i;
        avail -= i;
        d->done += i;
        tell_overlay(q);
        if (i < n) {
            break;
        }
    }
    vtoe_queue_tell_send_cons(q);
    q->in_tx = false;
}
