/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event ring (docs/specs/vtoe.rst section 5).
 *
 * An event that is not the answer to a command is never stored as an event: it
 * is a bit, of the device or of a stream, and a stream with such bits is on a
 * FIFO.  So a full ring loses nothing and costs no memory.  A bit is ready to
 * be written when what must precede it has been published:
 *
 *  - PEER_SHUTDOWN comes behind the stream's END mark;
 *  - the terminal event comes behind the mark, all returned buffers and the
 *    last acknowledgement of the stream.
 *
 * Completions are published before events in each batch, and the stores are
 * ordered, so a guest that sees the event sees the completions.
 */
#include "vtoe-int.h"

unsigned vtoe_event_room(VtoeDev *d, unsigned want)
{
    return vtoe_comp_room(&d->ctl, want);
}

struct vtoe_event *vtoe_event_add(VtoeDev *d, enum vtoe_event_type type,
                                  enum vtoe_reason reason, uint32_t sid)
{
    struct vtoe_event *ev = vtoe_comp_add(&d->ctl);

    ev->type = type;
    ev->reason = GUINT16_TO_LE(reason);
    ev->sid = GUINT32_TO_LE(sid);
    ev->generation = GUINT32_TO_LE(d->generation);
    d->st.events++;
    return ev;
}

/* The bits that may be written now, given what precedes them. */
static uint8_t ready_bits(const VtoeStream *s)
{
    uint8_t ready = s->pend & (VTOE_PEND_REQUEST | VTOE_PEND_ESTABLISHED);

    if (!s->mark) {
        ready |= s->pend & VTOE_PEND_SHUTDOWN;
        if (!s->nreturned && !s->done_link.data) {
            ready |= s->pend & VTOE_PEND_TERMINAL;
        }
    }
    return ready;
}

void vtoe_event_check(VtoeStream *s)
{
    if (ready_bits(s)) {
        vtoe_list_add(&s->dev->event_q, &s->event_link, s);
    }
}

void vtoe_event_peer(VtoeDev *d, const uint8_t *mac, bool streams)
{
    static const uint8_t any[6];

    if (!(d->status & VTOE_STATUS_DRIVER_OK) || !d->ctl.enabled ||
        !vtoe_has(d, VTOE_F_STREAM)) {
        return;
    }
    mac = mac ? mac : any;
    if (d->pend_peer && memcmp(d->peer_mac, mac, 6) != 0) {
        mac = any;      /* two changes are one: ask about any */
    }
    memcpy(d->peer_mac, mac, 6);
    d->peer_streams = streams && memcmp(mac, any, 6) != 0;
    d->pend_peer = true;
}

bool vtoe_event_pending(const VtoeDev *d)
{
    return d->pend_link || d->pend_removed || d->pend_peer ||
           d->event_q.length;
}

static void flush_device(VtoeDev *d)
{
    struct vtoe_event *ev;

    if (d->pend_removed && vtoe_event_room(d, 1)) {
        d->pend_removed = false;
        vtoe_event_add(d, VTOE_EVENT_DEVICE_REMOVED, VTOE_REASON_NONE, 0);
        vtoe_comp_commit(&d->ctl);
    }
    if (d->pend_link && vtoe_event_room(d, 1)) {
        d->pend_link = false;
        ev = vtoe_event_add(d, VTOE_EVENT_LINK_STATE, VTOE_REASON_NONE, 0);
        ev->value = GUINT64_TO_LE(d->link);
        vtoe_comp_commit(&d->ctl);
    }
    if (d->pend_peer && vtoe_event_room(d, 1)) {
        d->pend_peer = false;
        ev = vtoe_event_add(d, VTOE_EVENT_PEER_CAPABILITY, VTOE_REASON_NONE,
                            0);
        memcpy(ev->u.flow.rmac, d->peer_mac, 6);
        ev->value = GUINT64_TO_LE(d->peer_streams);
        vtoe_comp_commit(&d->ctl);
    }
}

static void write_one(VtoeStream *s, uint8_t bit)
{
    VtoeDev *d = s->dev;
    struct vtoe_event *ev;

    s->pend &= ~bit;
    switch (bit) {
    case VTOE_PEND_REQUEST:
        ev = vtoe_event_add(d, VTOE_EVENT_CONNECT_REQUEST, VTOE_REASON_NONE,
                            s->sid);
        ev->tag = GUINT32_TO_LE(s->listener->id);
        vtoe_flow_to_abi(&s->flow, &ev->u.flow);
        s->told = true;
        break;
    case VTOE_PEND_ESTABLISHED:
        vtoe_event_add(d, VTOE_EVENT_CONNECT_ESTABLISHED, VTOE_REASON_NONE,
                       s->sid);
        break;
    case VTOE_PEND_SHUTDOWN:
        vtoe_event_add(d, VTOE_EVENT_PEER_SHUTDOWN, VTOE_REASON_NONE, s->sid);
        break;
    default:
        ev = vtoe_event_add(d, s->terminal, s->reason, s->sid);
        ev->value = GUINT64_TO_LE(s->rx_delivered);
        break;
    }
    vtoe_comp_commit(&d->ctl);
}

/* Writes what is ready of one stream; false if the ring is full. */
static bool flush_stream(VtoeStream *s)
{
    uint8_t ready;

    while ((ready = ready_bits(s))) {
        uint8_t bit = ready & -ready;   /* lowest first: order of happening */

        if (!vtoe_event_room(s->dev, 1)) {
            return false;
        }
        write_one(s, bit);
        if (bit == VTOE_PEND_TERMINAL) {
            vtoe_stream_free(s);
            return true;
        }
    }
    return true;
}

void vtoe_event_flush(VtoeDev *d)
{
    VtoeStream *s;

    if (!d->ctl.enabled || !vtoe_live(d)) {
        return;
    }
    for (uint64_t dirty = d->dirty; dirty; dirty &= dirty - 1) {
        vtoe_comp_publish(&d->q[__builtin_ctzll(dirty)]);
    }
    flush_device(d);
    while ((s = vtoe_list_pop(&d->event_q))) {
        if (!flush_stream(s)) {
            s->event_link.data = s;
            g_queue_push_head_link(&d->event_q, &s->event_link);
            return;
        }
    }
}
