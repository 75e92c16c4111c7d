/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings in guest memory: fetching descriptors, publishing completions, and
 * deciding who has to be woken (docs/specs/vtoe.rst sections 3.5 and 3.6).
 *
 * All of this serves pairs and the control queue alike; there, "send" are
 * commands and completions are events.
 *
 * Producer side of the device.  A completion is first staged in host memory;
 * a full stage is written to the ring without moving comp_prod, so a batch of
 * any size stays invisible until it is published at once.
 *
 *      comp_cons        comp_prod            comp_fill - nstage   comp_fill
 *      |  published     |  written           |  staged            |  reserved
 *
 * Room is kept in the device's view: reserved places belong to lent receive
 * buffers, so their completions always fit.  A quarter of the ring (at least
 * one place) is never reserved, so acknowledgements and marks get through
 * however many buffers are lent.
 *
 * Waiting side.  To wait, the device writes an event index, issues a full
 * barrier and looks again: either the guest sees the event index and kicks, or
 * the device sees the new producer (or consumer) index.
 *
 * Looking instead (quiet).  What the device waits for stays in its watches, but
 * the event index in guest memory lies behind the index, so that the guest never
 * kicks.  Each look compares the index with that of the look before, and decides
 * as the guest would have.  Not being quiet any more is waiting as above, for all
 * that is waited for: write the events, one barrier, look.
 */
#include "vtoe-int.h"

#define CTRL_OFF(field) offsetof(struct vtoe_queue_ctrl, field)

static bool ctrl_load(VtoeQueue *q, size_t off, uint32_t *val)
{
    VtoeDev *d = q->dev;

    if (!vtoe_live(d)) {
        return false;
    }
    if (!d->ops->dma_load32(d->opaque, q->addr[VTOE_RING_CTRL] + off, val)) {
        vtoe_violation(d, VTOE_VIOLATION_RING_DMA,
                       "queue %u: control block at 0x%" PRIx64 " is not RAM",
                       q->index, q->addr[VTOE_RING_CTRL]);
        return false;
    }
    return true;
}

static bool ctrl_store(VtoeQueue *q, size_t off, uint32_t val)
{
    VtoeDev *d = q->dev;

    if (!vtoe_live(d)) {
        return false;
    }
    if (!d->ops->dma_store32(d->opaque, q->addr[VTOE_RING_CTRL] + off, val)) {
        vtoe_violation(d, VTOE_VIOLATION_RING_DMA,
                       "queue %u: control block at 0x%" PRIx64 " is not RAM",
                       q->index, q->addr[VTOE_RING_CTRL]);
        return false;
    }
    return true;
}

static unsigned entry_size(uint32_t index, unsigned ring)
{
    if (index != VTOE_QUEUE_CONTROL) {
        return 32;      /* all of a pair's entries */
    }
    return ring == VTOE_RING_SEND ? sizeof(struct vtoe_cmd)
                                  : sizeof(struct vtoe_event);
}

/* --- configuration ---------------------------------------------------------- */

static bool range_ok(uint64_t addr, uint64_t len)
{
    return addr % VTOE_RING_ALIGN == 0 && addr + len > addr;
}

bool vtoe_queue_check(const VtoeDev *d, uint32_t index, const uint32_t size[3],
                      const uint64_t addr[4], uint32_t vector,
                      const char **err)
{
    bool control = index == VTOE_QUEUE_CONTROL;

    if (index != 0 && !control && !vtoe_has(d, VTOE_F_STREAM)) {
        *err = "stream pair without the STREAM feature";
        return false;
    }
    for (unsigned r = 0; r < 3; r++) {
        if (control && r == VTOE_RING_RECV) {
            if (size[r]) {
                *err = "the control queue has no receive ring";
                return false;
            }
            continue;
        }
        if (size[r] < VTOE_RING_MIN || size[r] > d->cfg.max_ring ||
            (size[r] & (size[r] - 1))) {
            *err = "ring size is not a power of two from 2 to MAX_RING";
            return false;
        }
        if (!range_ok(addr[r], (uint64_t)size[r] * entry_size(index, r))) {
            *err = "ring is not aligned or wraps around";
            return false;
        }
    }
    if (!range_ok(addr[VTOE_RING_CTRL], sizeof(struct vtoe_queue_ctrl))) {
        *err = "control block is not aligned or wraps around";
        return false;
    }
    if (vector != VTOE_NO_VECTOR && vector >= d->cfg.vectors) {
        *err = "interrupt vector does not exist";
        return false;
    }
    return true;
}

bool vtoe_queue_probe(VtoeQueue *q)
{
    VtoeDev *d = q->dev;

    for (unsigned r = 0; r < 4; r++) {
        uint64_t len = r == VTOE_RING_CTRL ? sizeof(struct vtoe_queue_ctrl)
            : (uint64_t)q->size[r] * entry_size(q->index, r);
        uint8_t byte;

        if (!len) {
            continue;
        }
        for (uint64_t off = 0; off < len; off += 4096) {
            if (!d->ops->dma_read(d->opaque, q->addr[r] + off, &byte, 1)) {
                return false;
            }
        }
        if (!d->ops->dma_read(d->opaque, q->addr[r] + len - 1, &byte, 1)) {
            return false;
        }
    }
    return true;
}

void vtoe_queue_start(VtoeQueue *q)
{
    uint32_t comps = q->size[VTOE_RING_COMP];
    unsigned want = q->index == VTOE_QUEUE_CONTROL ? VTOE_STAGE_EVENTS
                                                   : VTOE_STAGE_COMPS;

    q->esize = entry_size(q->index, VTOE_RING_COMP);
    q->stage_cap = MIN(want, comps);
    q->stage = g_malloc0((size_t)q->stage_cap * q->esize);
    q->max_reserved = comps - MAX(comps / 4, 1);
    q->chunks = g_ptr_array_new_with_free_func(g_free);
    q->enabled = 1;
}

void vtoe_queue_write_ctrl(VtoeQueue *q)
{
    VtoeDev *d = q->dev;
    size_t half = CTRL_OFF(send_cons);
    uint8_t buf[sizeof(struct vtoe_queue_ctrl) - CTRL_OFF(send_cons)] = { 0 };
    const struct { size_t off; uint32_t val; } words[] = {
        { CTRL_OFF(send_cons), q->send_cons },
        { CTRL_OFF(recv_cons), q->recv_cons },
        { CTRL_OFF(comp_prod), q->comp_prod },
        { CTRL_OFF(send_event), q->send_cons - q->quiet },
        /* Behind the index: no kick is wanted. */
        { CTRL_OFF(recv_event), q->recv_cons - 1 },
        { CTRL_OFF(comp_room_event), q->comp_cons - 1 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        uint32_t le = GUINT32_TO_LE(words[i].val);

        memcpy(buf + (words[i].off - half), &le, sizeof(le));
    }
    memset(q->watch, 0, sizeof(q->watch));
    if (!d->ops->dma_write(d->opaque, q->addr[VTOE_RING_CTRL] + half, buf,
                           sizeof(buf))) {
        vtoe_violation(d, VTOE_VIOLATION_RING_DMA,
                       "queue %u: control block at 0x%" PRIx64 " is not RAM",
                       q->index, q->addr[VTOE_RING_CTRL]);
    }
}

void vtoe_queue_reset(VtoeQueue *q)
{
    VtoeDev *d = q->dev;
    uint32_t index = q->index;
    bool polled = q->polled, quiet = q->quiet;

    if (q->chunks) {
        g_ptr_array_free(q->chunks, true);
    }
    g_free(q->stage);
    memset(q, 0, sizeof(*q));
    q->dev = d;
    q->index = index;
    q->polled = polled;
    q->quiet = quiet;
    q->vector = VTOE_NO_VECTOR;
}

/* --- consuming --------------------------------------------------------------- */

int vtoe_queue_send_avail(VtoeQueue *q)
{
    uint32_t prod;

    if (!ctrl_load(q, CTRL_OFF(send_prod), &prod)) {
        return -1;
    }
    if (prod - q->send_cons > q->size[VTOE_RING_SEND]) {
        vtoe_violation(q->dev, VTOE_VIOLATION_INDEX,
                       "queue %u: send_prod %u is out of range, send_cons %u",
                       q->index, prod, q->send_cons);
        return -1;
    }
    q->send_prod = prod;
    return prod - q->send_cons;
}

int vtoe_queue_recv_avail(VtoeQueue *q)
{
    uint32_t prod;

    if (!ctrl_load(q, CTRL_OFF(recv_prod), &prod)) {
        return -1;
    }
    if (prod - q->recv_cons > q->size[VTOE_RING_RECV]) {
        vtoe_violation(q->dev, VTOE_VIOLATION_INDEX,
                       "queue %u: recv_prod %u is out of range, recv_cons %u",
                       q->index, prod, q->recv_cons);
        return -1;
    }
    q->recv_prod = prod;
    return prod - q->recv_cons;
}

bool vtoe_queue_fetch(VtoeQueue *q, unsigned ring, unsigned esize, uint32_t idx,
                      unsigned n, void *buf)
{
    VtoeDev *d = q->dev;
    uint32_t slot = idx & (q->size[ring] - 1);
    unsigned first = MIN(n, q->size[ring] - slot);
    uint64_t base = q->addr[ring];

    if (d->ops->dma_read(d->opaque, base + (uint64_t)slot * esize, buf,
                         (size_t)first * esize) &&
        (first == n ||
         d->ops->dma_read(d->opaque, base, (uint8_t *)buf + first * esize,
                          (size_t)(n - first) * esize))) {
        return true;
    }
    vtoe_violation(d, VTOE_VIOLATION_RING_DMA,
                   "queue %u: ring at 0x%" PRIx64 " is not RAM", q->index,
                   base);
    return false;
}

void vtoe_queue_tell_send_cons(VtoeQueue *q)
{
    if (q->send_cons != q->send_cons_told &&
        ctrl_store(q, CTRL_OFF(send_cons), q->send_cons)) {
        q->send_cons_told = q->send_cons;
    }
}

void vtoe_queue_tell_recv_cons(VtoeQueue *q)
{
    if (q->recv_cons != q->recv_cons_told &&
        ctrl_store(q, CTRL_OFF(recv_cons), q->recv_cons)) {
        q->recv_cons_told = q->recv_cons;
    }
}

/* --- waiting ------------------------------------------------------------------ */

static const struct {
    size_t index, event;    /* in the control block */
} watched[VTOE_WATCHES] = {
    [VTOE_WATCH_SEND] = { CTRL_OFF(send_prod), CTRL_OFF(send_event) },
    [VTOE_WATCH_RECV] = { CTRL_OFF(recv_prod), CTRL_OFF(recv_event) },
    [VTOE_WATCH_ROOM] = { CTRL_OFF(comp_cons), CTRL_OFF(comp_room_event) },
};

/* Has an index that was at idx not passed the event yet? */
static bool ahead(const VtoeWatch *w, uint32_t idx)
{
    return w->armed && (int32_t)(w->event - idx) >= 0;
}

/*
 * Waits for an index, last seen at seen, to pass event: writes the event, unless
 * the queue is quiet, and puts it before every load that follows.  True: look
 * again.
 */
static bool arm(VtoeQueue *q, unsigned i, uint32_t event, uint32_t seen)
{
    VtoeWatch *w = &q->watch[i];

    if (w->armed && w->event == event && (w->told || q->quiet)) {
        return false;   /* armed before, and looked again then */
    }
    if (!q->quiet) {
        if (!ctrl_store(q, watched[i].event, event)) {
            return false;
        }
        q->dev->ops->barrier(q->dev->opaque);
    }
    *w = (VtoeWatch) {
        .event = event, .looked = seen, .armed = true, .told = !q->quiet,
    };
    return true;
}

bool vtoe_queue_arm_send(VtoeQueue *q)
{
    uint32_t seen = q->send_prod;

    return arm(q, VTOE_WATCH_SEND, seen, seen) &&
           vtoe_queue_send_avail(q) >= 0 && q->send_prod != seen;
}

bool vtoe_queue_arm_recv(VtoeQueue *q)
{
    uint32_t seen = q->recv_prod;

    return arm(q, VTOE_WATCH_RECV, seen, seen) &&
           vtoe_queue_recv_avail(q) >= 0 && q->recv_prod != seen;
}

void vtoe_queue_set_quiet(VtoeQueue *q, bool quiet)
{
    const uint32_t seen[] = { q->send_prod, q->recv_prod, q->comp_cons };
    bool asked = false;

    if (quiet == q->quiet) {
        return;
    }
    q->quiet = quiet;
    if (!q->enabled || !vtoe_live(q->dev)) {
        return;     /* before rings are touched again, everything is armed */
    }
    for (unsigned i = 0; i < VTOE_WATCHES; i++) {
        VtoeWatch *w = &q->watch[i];

        if (quiet) {
            w->looked = seen[i];
        }
        if (!ahead(w, w->looked) || w->told == !quiet) {
            continue;
        }
        if (!ctrl_store(q, watched[i].event, quiet ? seen[i] - 1 : w->event)) {
            return;
        }
        w->told = !quiet;
        asked |= !quiet;
    }
    if (asked) {
        q->dev->ops->barrier(q->dev->opaque);
    }
}

bool vtoe_queue_look(VtoeQueue *q)
{
    if (!q->enabled || !vtoe_live(q->dev)) {
        return false;
    }
    for (unsigned i = 0; i < VTOE_WATCHES && !q->seen; i++) {
        VtoeWatch *w = &q->watch[i];
        uint32_t now;

        if (!ahead(w, w->looked)) {
            continue;
        }
        if (!ctrl_load(q, watched[i].index, &now)) {
            return q->dev->broken;
        }
        q->seen = now != w->looked && vtoe_need_kick(w->event, now, w->looked);
        w->looked = now;
    }
    return q->seen;
}

/* --- producing ---------------------------------------------------------------- */

static bool load_comp_cons(VtoeQueue *q)
{
    uint32_t cons;

    if (!ctrl_load(q, CTRL_OFF(comp_cons), &cons)) {
        return false;
    }
    if (q->comp_prod - cons > q->comp_prod - q->comp_cons) {
        vtoe_violation(q->dev, VTOE_VIOLATION_INDEX,
                       "queue %u: comp_cons %u is out of range, comp_prod %u",
                       q->index, cons, q->comp_prod);
        return false;
    }
    q->comp_cons = cons;
    return true;
}

bool vtoe_queue_arm_room(VtoeQueue *q)
{
    uint32_t seen = q->comp_cons;
    /* Half of what is there to consume: a kick per entry would be many. */
    uint32_t event = seen + (q->comp_prod - seen) / 2;

    return arm(q, VTOE_WATCH_ROOM, event, seen) && load_comp_cons(q) &&
           q->comp_cons != seen;
}

static unsigned known_room(const VtoeQueue *q)
{
    return q->size[VTOE_RING_COMP] - (q->comp_fill - q->comp_cons) -
           q->reserved;
}

unsigned vtoe_comp_room(VtoeQueue *q, unsigned want)
{
    if (!q->enabled || !vtoe_live(q->dev)) {
        return 0;
    }
    if (known_room(q) < want && !load_comp_cons(q)) {
        return 0;
    }
    return known_room(q);
}

bool vtoe_comp_can_lend(VtoeQueue *q)
{
    return q->reserved < q->max_reserved && vtoe_comp_room(q, 1) > 0;
}

/* Moves the stage into the ring, where it is still unpublished. */
static void stage_out(VtoeQueue *q)
{
    VtoeDev *d = q->dev;
    uint32_t size = q->size[VTOE_RING_COMP];
    uint32_t slot = (q->comp_fill - q->nstage) & (size - 1);
    unsigned first = MIN(q->nstage, size - slot);
    uint64_t base = q->addr[VTOE_RING_COMP];

    if (q->nstage && !d->broken) {
        bool ok = d->ops->dma_write(d->opaque, base + (uint64_t)slot * q->esize,
                                    q->stage, (size_t)first * q->esize);

        if (ok && first < q->nstage) {
            ok = d->ops->dma_write(d->opaque, base, q->stage + first * q->esize,
                                   (size_t)(q->nstage - first) * q->esize);
        }
        if (!ok) {
            vtoe_violation(d, VTOE_VIOLATION_RING_DMA,
                           "queue %u: completion ring at 0x%" PRIx64
                           " is not RAM", q->index, base);
        }
    }
    q->nstage = 0;
}

void *vtoe_comp_add(VtoeQueue *q)
{
    void *entry;

    if (q->nstage == q->stage_cap) {
        stage_out(q);
    }
    entry = q->stage + (size_t)q->nstage * q->esize;
    memset(entry, 0, q->esize);
    q->nstage++;
    q->comp_fill++;
    return entry;
}

void vtoe_comp_commit(VtoeQueue *q)
{
    const VtoeConfig *cfg = &q->dev->cfg;

    if (q->index != VTOE_QUEUE_CONTROL) {
        vtoe_mark_dirty(q);
    }
    if (!cfg->eoc || (cfg->evi && !q->batch_open)) {
        vtoe_comp_publish(q);
    }
}

struct vtoe_comp *vtoe_comp_staged(VtoeQueue *q, uint32_t idx)
{
    uint32_t back = q->comp_fill - idx;     /* 1: the newest */

    if (back == 0 || back > q->nstage) {
        return NULL;
    }
    return (struct vtoe_comp *)(q->stage +
                                (size_t)(q->nstage - back) * q->esize);
}

void vtoe_comp_publish(VtoeQueue *q)
{
    VtoeDev *d = q->dev;
    uint32_t old = q->comp_prod, event;

    if (q->comp_fill == old || !vtoe_live(d)) {
        return;
    }
    stage_out(q);
    if (!ctrl_store(q, CTRL_OFF(comp_prod), q->comp_fill)) {
        return;
    }
    q->comp_prod = q->comp_fill;
    q->batch_open = true;
    if (q->vector == VTOE_NO_VECTOR) {
        return;
    }
    d->ops->barrier(d->opaque);
    if (!ctrl_load(q, CTRL_OFF(comp_event), &event)) {
        return;
    }
    if (vtoe_need_kick(event, q->comp_prod, old)) {
        d->st.interrupts++;
        d->ops->raise_vector(d->opaque, q->vector);
    } else {
        d->st.interrupts_suppressed++;
    }
}
