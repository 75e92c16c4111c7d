/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RecvWQ: buffers from the guest, and the receiving half of streams
 * (docs/specs/vtoe.rst sections 3.3, 3.4 and 6).
 *
 * A descriptor that was copied in is a record until its completion is staged:
 *
 *      free --> pool ----------+--> lent --> completed --> free
 *         \                    |      |
 *          +-> tagged (a SID) -+      +--> back where it came from, unused
 *                 |
 *                 +--> returned (stream gone) --> completed --> free
 *
 * There are at most as many records as the ring has entries; beyond that
 * recv_cons stalls.
 *
 * A stream that gets nothing from rx_get() waits for one of three things, and
 * is woken when it comes: credit (woken by the guest's CREDIT), a buffer, or
 * room in the completion ring.  For the last two the pair has a FIFO each:
 * whoever is woken and finds nothing goes to the end, which is round robin.
 * The pair wakes as long as there is something to get and someone who has not
 * had his turn in this batch, so nobody waits beside a free buffer.  Who comes
 * while others wait for a buffer of the pool goes behind them.
 *
 * Links that post receives before the peer may send keep buffers of streams
 * that get nothing.  They ask vtoe_rx_spare() how many that may be.
 */
#include "vtoe-int.h"

/* --- records ---------------------------------------------------------------------- */

/* A free record, or NULL if the ring's size of them is in use. */
VtoeRecvBuf *vtoe_rx_record(VtoeQueue *q)
{
    GList *link = g_queue_pop_head_link(&q->free);
    unsigned left = q->size[VTOE_RING_RECV] - q->nrecs;

    if (!link && left) {
        unsigned n = MIN(left, VTOE_RECV_CHUNK);
        VtoeRecvBuf *chunk = g_new0(VtoeRecvBuf, n);

        g_ptr_array_add(q->chunks, chunk);
        for (unsigned i = 0; i < n; i++) {
            chunk[i].link.data = &chunk[i];
            g_queue_push_tail_link(&q->free, &chunk[i].link);
        }
        q->nrecs += n;
        link = g_queue_pop_head_link(&q->free);
    }
    return link ? link->data : NULL;
}

void vtoe_rx_release(VtoeQueue *q, VtoeRecvBuf *rec)
{
    g_queue_push_head_link(&q->free, &rec->link);
}

/* Unused, because its stream receives no more or is not there. */
static void give_back(VtoeQueue *q, VtoeRecvBuf *rec, VtoeStream *s)
{
    rec->owner = s;
    if (s) {
        s->nreturned++;     /* its terminal event waits for this one */
    }
    g_queue_push_tail_link(&q->returned, &rec->link);
    vtoe_mark_dirty(q);
}

/* --- copying in --------------------------------------------------------------------- */

static void place(VtoeQueue *q, VtoeRecvBuf *rec)
{
    VtoeDev *d = q->dev;
    VtoeStream *s;

    if (rec->sid == VTOE_SID_ANY || q->index == 0) {
        g_queue_push_tail_link(&q->pool, &rec->link);
        return;
    }
    s = vtoe_stream_find(d, rec->sid);
    if (s && s->vs && s->q && !s->rx_closed) {
        g_queue_push_tail_link(&s->tagged, &rec->link);
        if (s->wait_list == &q->wait_buf) {
            vtoe_rx_unwait(s);
            s->wait_list = &q->ready;
            vtoe_list_add(&q->ready, &s->wait_link, s);
            vtoe_mark_dirty(q);
        }
        return;
    }
    if (!s || !s->q) {
        d->st.rx_unknown_sid++;
    }
    give_back(q, rec, s && s->q ? s : NULL);
}

static bool descriptor(VtoeQueue *q, const struct vtoe_recv_desc *raw)
{
    VtoeDev *d = q->dev;
    uint64_t addr = GUINT64_FROM_LE(raw->addr);
    uint32_t len = GUINT32_FROM_LE(raw->len);
    uint32_t sid = GUINT32_FROM_LE(raw->sid);
    uint32_t id = GUINT32_FROM_LE(raw->id);
    VtoeStream *s = sid == VTOE_SID_ANY ? NULL : vtoe_stream_find(d, sid);
    VtoeRecvBuf *rec;

    if (len < VTOE_RECV_MIN_LEN || len > VTOE_MAX_SEGMENT ||
        addr + len < addr) {
        vtoe_violation(d, VTOE_VIOLATION_BUFFER, "pair %u: receive buffer 0x%"
                       PRIx64 "+%u is out of range", q->index, addr, len);
        return false;
    }
    if (id == VTOE_ID_NONE) {
        vtoe_violation(d, VTOE_VIOLATION_DESCRIPTOR, "pair %u: receive buffer "
                       "has the reserved id 0x%x", q->index, id);
        return false;
    }
    if ((sid == VTOE_SID_FRAME) != (q->index == 0) ||
        (s && s->q && s->q != q)) {
        vtoe_violation(d, VTOE_VIOLATION_STREAM, "receive buffer of SID %u "
                       "does not belong to pair %u", sid, q->index);
        return false;
    }
    rec = vtoe_rx_record(q);
    rec->addr = addr;
    rec->len = len;
    rec->sid = sid;
    rec->id = id;
    rec->owner = NULL;
    place(q, rec);
    return true;
}

void vtoe_rx_refill(VtoeQueue *q)
{
    struct vtoe_recv_desc raw[VTOE_FETCH] VTOE_UNINITIALIZED;
    unsigned budget = VTOE_BUDGET_DESCS;
    int avail = vtoe_queue_recv_avail(q);

    while (avail > 0) {
        unsigned recs = q->free.length + q->size[VTOE_RING_RECV] - q->nrecs;
        unsigned n = MIN(MIN((unsigned)avail, VTOE_FETCH), recs);

        if (!n) {
            return;     /* goes on when a buffer is completed */
        }
        if (!budget) {
            vtoe_kick_later(q);
            return;
        }
        n = MIN(n, budget);
        if (!vtoe_queue_fetch(q, VTOE_RING_RECV, sizeof(raw[0]), q->recv_cons,
                              n, raw)) {
            return;
        }
        for (unsigned i = 0; i < n; i++) {
            if (!descriptor(q, &raw[i])) {
                return;
            }
            q->recv_cons++;
        }
        vtoe_mark_dirty(q);
        budget -= n;
        avail -= n;
    }
}

/* --- waiting ------------------------------------------------------------------------- */

static void wait_on(VtoeStream *s, GQueue *list)
{
    if (!s->wait_link.data) {
        s->wait_list = list;
        vtoe_list_add(list, &s->wait_link, s);
        vtoe_mark_dirty(s->q);      /* arms what it waits for */
    }
}

void vtoe_rx_unwait(VtoeStream *s)
{
    if (s->wait_link.data) {
        vtoe_list_del(s->wait_list, &s->wait_link);
        s->wait_list = NULL;
    }
}

/* Wakes the first of a list; false if there is none. */
static bool wake_one(GQueue *list)
{
    VtoeStream *s = vtoe_list_pop(list);

    if (!s) {
        return false;
    }
    s->wait_list = NULL;
    if (s->vs) {
        s->rx_turn = true;
        vnet_stream_rx_ready(s->vs);
    }
    return true;
}

void vtoe_rx_wake(VtoeQueue *q)
{
    VtoeDev *d = q->dev;
    unsigned n;

    if (!q->enabled) {
        return;
    }
    if (q->wait_buf.length && vtoe_live(d)) {
        vtoe_rx_refill(q);
    }
    for (n = q->ready.length; n && !d->broken && wake_one(&q->ready); n--) {
    }
    for (n = q->wait_room.length;
         n && !d->broken && vtoe_comp_can_lend(q) && wake_one(&q->wait_room);
         n--) {
    }
    for (n = q->wait_buf.length;
         n && !d->broken && q->pool.length && wake_one(&q->wait_buf); n--) {
    }
    if (q->ready.length) {
        vtoe_mark_dirty(q);
    }
}

void vtoe_rx_credit(VtoeStream *s, uint64_t limit)
{
    if (limit <= s->rx_limit) {
        return;
    }
    s->rx_limit = limit;
    if (s->wait_credit) {
        s->wait_credit = false;
        vnet_stream_rx_ready(s->vs);
    }
}

/* --- lending ------------------------------------------------------------------------- */

static bool lend(VtoeStream *s, VtoeRecvBuf *rec, GQueue *from, uint32_t len,
                 VnetRxBuf *buf)
{
    VtoeDev *d = s->dev;

    if (!d->ops->dma_map(d->opaque, rec->addr, len, true, &rec->map)) {
        vtoe_violation(d, VTOE_VIOLATION_BUFFER, "pair %u: receive buffer 0x%"
                       PRIx64 "+%u is not RAM", s->q->index, rec->addr, len);
        return false;
    }
    g_queue_unlink(from, &rec->link);
    g_queue_push_tail_link(&s->lent, &rec->link);
    rec->lent = len;
    s->rx_lent += len;
    s->q->reserved++;
    buf->iov.iov_base = rec->map.host;
    buf->iov.iov_len = len;
    buf->priv = rec;
    return true;
}

unsigned vtoe_rx_get(VtoeStream *s, VnetRxBuf *bufs, unsigned n, size_t max)
{
    VtoeQueue *q = s->q;
    uint64_t used = s->rx_delivered + s->rx_lent;
    uint64_t left = s->rx_limit > used ? s->rx_limit - used : 0;
    bool turn = s->rx_turn;
    unsigned got = 0;

    s->rx_turn = false;
    if (!vtoe_live(s->dev) || s->rx_closed || !max || !n) {
        return 0;
    }
    left = MIN(left, max);
    if (!left) {
        s->wait_credit = true;
        return 0;
    }
    vtoe_rx_refill(q);
    while (got < n && left && vtoe_live(s->dev)) {
        GQueue *from = s->tagged.length ? &s->tagged : &q->pool;
        VtoeRecvBuf *rec = g_queue_peek_head(from);
        uint32_t len;

        if (!rec || (from == &q->pool && q->wait_buf.length && !turn)) {
            if (!got) {
                wait_on(s, &q->wait_buf);
            }
            break;
        }
        if (!vtoe_comp_can_lend(q)) {
            if (!got && vtoe_live(s->dev)) {
                wait_on(s, &q->wait_room);
            }
            break;
        }
        len = MIN(rec->len, left);
        if (!lend(s, rec, from, len, &bufs[got])) {
            break;
        }
        left -= len;
        got++;
    }
    return got;
}

/* Half of the pool, and of the places in the completion ring that lent buffers
 * may reserve, are for streams that receive. */
unsigned vtoe_rx_spare(VtoeStream *s)
{
    VtoeQueue *q = s->q;
    unsigned places, pool, half, n;

    if (!vtoe_live(s->dev) || s->rx_closed) {
        return 0;
    }
    vtoe_rx_refill(q);
    /* Who waits for the pool comes before those that might need it. */
    pool = q->wait_buf.length ? 0 : q->pool.length;
    half = (pool + q->reserved) / 2;
    n = s->tagged.length + (pool > half ? pool - half : 0);
    places = q->max_reserved / 2;
    return MIN(n, places > q->reserved ? places - q->reserved : 0);
}

/* Takes a lent record off its stream. */
static void unlend(VtoeStream *s, VtoeRecvBuf *rec, size_t written)
{
    VtoeDev *d = s->dev;

    g_queue_unlink(&s->lent, &rec->link);
    s->rx_lent -= rec->lent;
    rec->lent = 0;
    s->q->reserved--;
    d->ops->dma_unmap(d->opaque, &rec->map, true, written);
}

void vtoe_rx_done(VtoeStream *s, VnetRxBuf *buf, size_t len)
{
    VtoeDev *d = s->dev;
    VtoeQueue *q = s->q;
    VtoeRecvBuf *rec = g_queue_peek_head(&s->lent);
    struct vtoe_comp *c;

    g_return_if_fail(rec && rec == buf->priv && len && len <= rec->lent);
    unlend(s, rec, len);
    if (!d->broken) {
        c = vtoe_comp_add(q);       /* into the place that was reserved */
        c->type = VTOE_COMP_RECV;
        c->sid = GUINT32_TO_LE(s->sid);
        c->id = GUINT32_TO_LE(rec->id);
        c->len = GUINT32_TO_LE(len);
        c->u.offset = GUINT64_TO_LE(s->rx_delivered);
        s->last_comp = q->comp_fill - 1;
        s->last_comp_valid = true;
        vtoe_comp_commit(q);
    }
    s->rx_delivered += len;
    d->st.rx_stream_bytes += len;
    d->st.rx_stream_bufs++;
    vtoe_rx_release(q, rec);
}

void vtoe_rx_return(VtoeStream *s, VnetRxBuf *bufs, unsigned n)
{
    VtoeQueue *q = s->q;

    for (unsigned i = 0; i < n; i++) {
        VtoeRecvBuf *rec = g_queue_peek_tail(&s->lent);

        g_return_if_fail(rec != NULL);
        unlend(s, rec, 0);
        /* Youngest first, each to the front: the order is as it was. */
        if (rec->sid == VTOE_SID_ANY) {
            g_queue_push_head_link(&q->pool, &rec->link);
        } else if (s->rx_closed || !s->vs) {
            give_back(q, rec, s);
        } else {
            g_queue_push_head_link(&s->tagged, &rec->link);
        }
    }
    vtoe_mark_dirty(q);
}

void vtoe_rx_stop(VtoeStream *s)
{
    GList *link;

    vtoe_rx_unwait(s);
    s->wait_credit = false;
    g_warn_if_fail(s->vs || !s->lent.length);
    while ((link = g_queue_pop_head_link(&s->tagged))) {
        give_back(s->q, link->data, s);
    }
}

/* --- what is told behind the data ------------------------------------------------------- */

static uint16_t mark_reason(const VtoeStream *s, uint8_t mark)
{
    return mark == VTOE_COMP_F_ABORT ? s->reason : VTOE_REASON_NONE;
}

void vtoe_rx_mark(VtoeStream *s, uint8_t mark)
{
    struct vtoe_comp *c;

    if (s->rx_ended || s->dev->broken) {
        return;     /* one mark per stream */
    }
    s->rx_ended = true;
    c = s->last_comp_valid ? vtoe_comp_staged(s->q, s->last_comp) : NULL;
    if (c) {
        c->flags |= mark;
        c->reason = GUINT16_TO_LE(mark_reason(s, mark));
        return;
    }
    s->mark = mark;
    vtoe_list_add(&s->q->marks, &s->mark_link, s);
    vtoe_mark_dirty(s->q);
}

bool vtoe_pair_wants_room(const VtoeQueue *q)
{
    return q->marks.length || q->returned.length || q->send_done.length ||
           q->wait_room.length || q->frames_pending || q->held_room ||
           (q->index != 0 && q->tx_busy);
}

static void flush_mark(VtoeQueue *q)
{
    VtoeStream *s = vtoe_list_pop(&q->marks);
    struct vtoe_comp *c = vtoe_comp_add(q);

    c->type = VTOE_COMP_RECV;
    c->flags = s->mark;
    c->reason = GUINT16_TO_LE(mark_reason(s, s->mark));
    c->sid = GUINT32_TO_LE(s->sid);
    c->id = GUINT32_TO_LE(VTOE_ID_NONE);
    c->u.offset = GUINT64_TO_LE(s->rx_delivered);
    s->mark = 0;
    vtoe_comp_commit(q);
    vtoe_event_check(s);
}

static void flush_returned(VtoeQueue *q)
{
    VtoeRecvBuf *rec = g_queue_pop_head_link(&q->returned)->data;
    VtoeStream *s = rec->owner;
    struct vtoe_comp *c = vtoe_comp_add(q);

    c->type = VTOE_COMP_RECV;
    c->flags = VTOE_COMP_F_RETURNED;
    c->sid = GUINT32_TO_LE(rec->sid);
    c->id = GUINT32_TO_LE(rec->id);
    vtoe_rx_release(q, rec);
    vtoe_comp_commit(q);
    if (s) {
        s->nreturned--;
        vtoe_event_check(s);
    }
}

static void flush_send_done(VtoeQueue *q)
{
    VtoeStream *s = vtoe_list_pop(&q->send_done);
    struct vtoe_comp *c = vtoe_comp_add(q);

    c->type = VTOE_COMP_SEND;
    c->sid = GUINT32_TO_LE(s->sid);
    c->id = GUINT32_TO_LE(VTOE_ID_NONE);
    c->u.offset = GUINT64_TO_LE(s->tx_acked);
    s->tx_told = s->tx_acked;
    vtoe_comp_commit(q);
    vtoe_event_check(s);
}

static void flush_frames(VtoeQueue *q)
{
    struct vtoe_comp *c = vtoe_comp_add(q);

    q->frames_pending = false;
    c->type = VTOE_COMP_SEND;
    c->sid = GUINT32_TO_LE(VTOE_SID_FRAME);
    c->id = GUINT32_TO_LE(VTOE_ID_NONE);
    c->u.offset = GUINT64_TO_LE(q->frames_done);
    vtoe_comp_commit(q);
}

void vtoe_pair_flush(VtoeQueue *q)
{
    unsigned keep;

    while (q->marks.length && vtoe_comp_room(q, 1)) {
        flush_mark(q);
    }
    while (q->returned.length && vtoe_comp_room(q, 1)) {
        flush_returned(q);
    }
    if (q->frames_pending && vtoe_comp_room(q, 1)) {
        flush_frames(q);
    }
    /* In a ring that is nearly full, acknowledgements leave every other time
     * a place for data, so that neither direction starves the other. */
    keep = q->wait_room.length && q->turn++ & 1;
    while (q->send_done.length && vtoe_comp_room(q, keep + 1) > keep) {
        flush_send_done(q);
    }
}
