/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events of the VNET thread, for the monitor.
 *
 * QAPI events need the BQL, which the VNET thread does not wait for.  So events
 * are queued here and emitted by a BH of the main loop.
 *
 * A peer must not be able to flood the monitor, nor memory: of links, states
 * are told when they changed, and failures when their reason did, together
 * VNET_EVENTS_LINKS per second; of streams, at most one failure per second, with
 * the number of those left out; of limits as much, see vnet-limit.c.  At most
 * VNET_EVENTS_MAX events wait for the main loop, and one of each limit.
 *
 * A link's event that is too many, or finds no room, is owed: of each link the
 * latest, so that who listens always learns how it stands in the end.  A stream's
 * failure and a limit that find no room are counted by the next that is told.
 */

#include "qemu/osdep.h"
#include "qapi/qapi-events-vnet.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "vnet-shape.h"
#include "vnet-shell.h"

/* They are converted by their numbers, and have a name in the core, too. */
QEMU_BUILD_BUG_ON((int)VNET_REASON__MAX != (int)VTOE_REASON_MAX + 1);
QEMU_BUILD_BUG_ON((int)VNET_REASON_POLICY != (int)VTOE_REASON_POLICY);

#define VNET_EVENTS_MAX         256
#define VNET_EVENTS_LINKS       100     /* per second, and at once */
#define VNET_EVENTS_STREAM_NS   NANOSECONDS_PER_SECOND

typedef enum VnetEventKind {
    VNET_EVENT_LINK_UP,
    VNET_EVENT_LINK_DOWN,
    VNET_EVENT_STREAM_FAILED,
    VNET_EVENT_LIMIT,
} VnetEventKind;

typedef struct VnetEvent VnetEvent;
struct VnetEvent {
    VnetEventKind kind;
    char *port, *link;          /* NULL: none */
    char *text;                 /* peer, reason */
    char *local, *remote;
    uint32_t cid;
    VnetReason reason;
    VnetLimit limit;
    uint64_t suppressed;
    bool changed;               /* link up: with another peer than before */
    QSIMPLEQ_ENTRY(VnetEvent) next;
};

/* What is known of a link. */
typedef struct VnetEventLink VnetEventLink;
struct VnetEventLink {
    char *id;
    bool up;                    /* the state that was seen last ... */
    char *reason;               /* ... and why, when it is not up */
    bool told_up;               /* what was queued last said so */
    bool changed;               /* its peer did, and nobody was told */
    bool gone;                  /* the link is; this, when nothing is owed */
    VnetEvent *owed;            /* NULL: nothing */
    QSIMPLEQ_ENTRY(VnetEventLink) next;     /* of those that are owed one */
};

struct VnetEvents {
    VnetNetdev *n;
    /* VNET thread */
    int64_t stream_next;        /* not before this */
    uint32_t suppressed;
    /* both */
    QemuMutex lock;             /* of all that follows */
    QSIMPLEQ_HEAD(, VnetEvent) queue;
    unsigned queued;
    uint32_t limits;            /* bits: of which limits one is queued */
    GHashTable *links;          /* its id -> VnetEventLink */
    QSIMPLEQ_HEAD(, VnetEventLink) owing;
    VnetBucket links_rate;
    unsigned links_up, links_n; /* how many there are by now */
    bool recount;               /* those two have changed */
    QEMUBH *bh;
    /* main loop */
    QEMUTimer *timer;           /* while something is owed */
};

QEMU_BUILD_BUG_ON((int)VNET_REASON__MAX != (int)VTOE_REASON_MAX + 1);
QEMU_BUILD_BUG_ON((int)VNET_REASON_HOST != (int)VTOE_REASON_HOST);
QEMU_BUILD_BUG_ON((int)VNET_REASON_LINK_LOST != (int)VTOE_REASON_LINK_LOST);

QEMU_BUILD_BUG_ON((int)VNET_LIMIT__MAX != (int)VNET_CORE_LIMITS);
QEMU_BUILD_BUG_ON((int)VNET_LIMIT_MAX_MACS != (int)VNET_CORE_LIMIT_MAX_MACS);
QEMU_BUILD_BUG_ON((int)VNET_LIMIT_FLOOD_LIMIT !=
                  (int)VNET_CORE_LIMIT_FLOOD_LIMIT);
QEMU_BUILD_BUG_ON((int)VNET_LIMIT_TX_RATE != (int)VNET_CORE_LIMIT_TX_RATE);
QEMU_BUILD_BUG_ON((int)VNET_LIMIT_RX_RATE != (int)VNET_CORE_LIMIT_RX_RATE);
QEMU_BUILD_BUG_ON((int)VNET_LIMIT_MAX_STREAMS !=
                  (int)VNET_CORE_LIMIT_MAX_STREAMS);
QEMU_BUILD_BUG_ON((int)VNET_LIMIT_PEER_MAX_STREAMS !=
                  (int)VNET_CORE_LIMIT_PEER_MAX_STREAMS);
QEMU_BUILD_BUG_ON((int)VNET_LIMIT_MAX_QPS != (int)VNET_CORE_LIMIT_MAX_QPS);

static void vnet_event_free(VnetEvent *ev)
{
    g_free(ev->port);
    g_free(ev->link);
    g_free(ev->text);
    g_free(ev->local);
    g_free(ev->remote);
    g_free(ev);
}

static void vnet_event_link_free(void *opaque)
{
    VnetEventLink *el = opaque;

    if (el->owed) {
        vnet_event_free(el->owed);
    }
    g_free(el->reason);
    g_free(el->id);
    g_free(el);
}

/* --- Links, with the lock held -------------------------------------------- */

static bool vnet_event_may_tell_link(VnetEvents *e)
{
    return e->queued < VNET_EVENTS_MAX &&
           vnet_bucket_level(&e->links_rate, vnet_loop_now()) > 0;
}

static void vnet_event_queue_link(VnetEvents *e, VnetEventLink *el,
                                  VnetEvent *ev)
{
    vnet_bucket_take(&e->links_rate, 1, vnet_loop_now());
    el->told_up = ev->kind == VNET_EVENT_LINK_UP;
    ev->changed |= el->changed;
    el->changed = !el->told_up && ev->changed;
    e->queued++;
    QSIMPLEQ_INSERT_TAIL(&e->queue, ev, next);
}

static void vnet_event_owe(VnetEvents *e, VnetEventLink *el, VnetEvent *ev)
{
    if (el->owed) {
        ev->suppressed = el->owed->suppressed + 1;
        ev->changed |= el->owed->changed;
        vnet_event_free(el->owed);
    } else {
        QSIMPLEQ_INSERT_TAIL(&e->owing, el, next);
    }
    el->owed = ev;
}

/* In the order in which they came to be owed, so that a link that changes all
 * the time takes no turn from the others. */
static void vnet_events_pay(VnetEvents *e)
{
    VnetEventLink *el;

    while ((el = QSIMPLEQ_FIRST(&e->owing)) && vnet_event_may_tell_link(e)) {
        QSIMPLEQ_REMOVE_HEAD(&e->owing, next);
        vnet_event_queue_link(e, el, g_steal_pointer(&el->owed));
        if (el->gone) {
            g_hash_table_remove(e->links, el->id);
        }
    }
}

/* --- Main loop -------------------------------------------------------- */

static void vnet_event_emit(VnetEvents *e, VnetEvent *ev)
{
    NetClientState *nc = &e->n->nc;

    switch (ev->kind) {
    case VNET_EVENT_LINK_UP:
        qapi_event_send_vnet_link_up(nc->name, ev->link, ev->text,
                                     ev->changed, ev->suppressed);
        break;
    case VNET_EVENT_LINK_DOWN:
        qapi_event_send_vnet_link_down(nc->name, ev->link, ev->text,
                                       ev->suppressed);
        break;
    case VNET_EVENT_STREAM_FAILED:
        qapi_event_send_vnet_stream_failed(nc->name, ev->link, ev->cid,
                                           ev->local, ev->remote, ev->reason,
                                           ev->suppressed);
        break;
    case VNET_EVENT_LIMIT:
        qapi_event_send_vnet_limit(nc->name, ev->limit, ev->port, ev->link,
                                   ev->suppressed);
        break;
    }
}

/* Also of the timer. */
static void vnet_events_bh(void *opaque)
{
    VnetEvents *e = opaque;
    QSIMPLEQ_HEAD(, VnetEvent) queue;
    VnetEvent *ev;

    QSIMPLEQ_INIT(&queue);
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        e->queued = 0;
        e->limits = 0;
        vnet_events_pay(e);
        QSIMPLEQ_CONCAT(&queue, &e->queue);
        e->queued = 0;
        if (e->recount) {
            qemu_set_info_str(&e->n->nc, "vni=%u,links=%u/%u", e->n->vni,
                              e->links_up, e->links_n);
            e->recount = false;
        }
        if (!QSIMPLEQ_EMPTY(&e->owing)) {
            timer_mod(e->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                      vnet_bucket_wait(&e->links_rate, 1, vnet_loop_now()));
        }
    }
    while ((ev = QSIMPLEQ_FIRST(&queue))) {
        QSIMPLEQ_REMOVE_HEAD(&queue, next);
        vnet_event_emit(e, ev);
        vnet_event_free(ev);
    }
}

/* --- VNET thread ------------------------------------------------------ */

static bool vnet_event_post(VnetEvents *e, VnetEvent *ev)
{
    uint32_t limit = ev->kind == VNET_EVENT_LIMIT ? 1u << ev->limit : 0;
    bool room;

    WITH_QEMU_LOCK_GUARD(&e->lock) {
        room = e->queued < VNET_EVENTS_MAX && !(e->limits & limit);
        if (room) {
            e->queued++;
            e->limits |= limit;
            QSIMPLEQ_INSERT_TAIL(&e->queue, ev, next);
        }
    }
    if (room) {
        qemu_bh_schedule(e->bh);
    } else {
        vnet_event_free(ev);
    }
    return room;
}

/* With the lock held. */
static void vnet_events_count(VnetEvents *e)
{
    VnetCoreInfo info;

    vnet_query_core(vnet_loop_core(e->n->ov->loop), &info);
    e->links_up = info.links_up;
    e->links_n = info.links;
    e->recount = true;
    qemu_bh_schedule(e->bh);
}

void vnet_events_recount(VnetEvents *e)
{
    QEMU_LOCK_GUARD(&e->lock);
    vnet_events_count(e);
}

static VnetEventLink *vnet_event_link(VnetEvents *e, const char *id)
{
    VnetEventLink *el = g_hash_table_lookup(e->links, id);

    if (!el) {
        el = g_new0(VnetEventLink, 1);
        el->id = g_strdup(id);
        g_hash_table_insert(e->links, el->id, el);
    }
    el->gone = false;
    return el;
}

void vnet_events_link(VnetEvents *e, VnetLink *l, const char *state,
                      const char *msg)
{
    bool up = g_str_equal(state, "up");
    VnetEventLink *el;
    VnetEvent *ev;

    if (!up && !g_str_equal(state, "down")) {
        return;
    }
    QEMU_LOCK_GUARD(&e->lock);
    el = vnet_event_link(e, vnet_link_id(l));
    if (!up && !el->up && !g_strcmp0(el->reason, msg)) {
        return;
    }
    el->up = up;
    g_free(el->reason);
    el->reason = up ? NULL : g_strdup(msg);

    ev = g_new0(VnetEvent, 1);
    ev->kind = up ? VNET_EVENT_LINK_UP : VNET_EVENT_LINK_DOWN;
    ev->link = g_strdup(el->id);
    ev->text = g_strdup(msg);
    ev->changed = up && vnet_link_peer_changed(l);
    if (QSIMPLEQ_EMPTY(&e->owing) && vnet_event_may_tell_link(e)) {
        vnet_event_queue_link(e, el, ev);
    } else {
        vnet_event_owe(e, el, ev);
    }
    vnet_events_count(e);
}

void vnet_events_forget(VnetEvents *e, const char *link)
{
    VnetEventLink *el;

    QEMU_LOCK_GUARD(&e->lock);
    vnet_events_count(e);
    el = g_hash_table_lookup(e->links, link);
    if (!el) {
        return;
    }
    if (el->owed && el->told_up) {
        el->gone = true;        /* that it is down is still to be told */
        return;
    }
    if (el->owed) {
        QSIMPLEQ_REMOVE(&e->owing, el, VnetEventLink, next);
    }
    g_hash_table_remove(e->links, link);
}

void vnet_events_stream(VnetEvents *e, VnetStream *s, const char *state,
                        enum vtoe_reason reason)
{
    int64_t now;
    VnetStreamInfo info;
    VnetEvent *ev;

    if (!g_str_equal(state, "failed") && !g_str_equal(state, "reset")) {
        return;
    }
    now = vnet_loop_now();
    if (now < e->stream_next) {
        e->suppressed++;
        return;
    }
    vnet_stream_get_info(s, &info);
    ev = g_new0(VnetEvent, 1);
    ev->kind = VNET_EVENT_STREAM_FAILED;
    ev->link = info.link_id[0] ? g_strdup(info.link_id) : NULL;
    ev->local = vnet_flow_end_str(info.flow.family, info.flow.laddr,
                                  info.flow.lport);
    ev->remote = vnet_flow_end_str(info.flow.family, info.flow.raddr,
                                   info.flow.rport);
    ev->cid = info.cid;
    ev->reason = (VnetReason)reason;
    ev->suppressed = e->suppressed;
    if (vnet_event_post(e, ev)) {
        e->suppressed = 0;
        e->stream_next = now + VNET_EVENTS_STREAM_NS;
    } else {
        e->suppressed++;
    }
}

bool vnet_events_limit(VnetEvents *e, VnetCoreLimit limit, const VnetPort *port,
                       const VnetLink *l, uint64_t suppressed)
{
    VnetEvent *ev = g_new0(VnetEvent, 1);

    ev->kind = VNET_EVENT_LIMIT;
    ev->port = port ? g_strdup(vnet_port_id(port)) : NULL;
    ev->link = l ? g_strdup(vnet_link_id(l)) : NULL;
    ev->limit = (VnetLimit)limit;
    ev->suppressed = suppressed;
    return vnet_event_post(e, ev);
}

VnetEvents *vnet_events_new(VnetNetdev *n)
{
    VnetEvents *e = g_new0(VnetEvents, 1);

    e->n = n;
    e->links = g_hash_table_new_full(g_str_hash, g_str_equal, NULL,
                                     vnet_event_link_free);
    qemu_mutex_init(&e->lock);
    QSIMPLEQ_INIT(&e->queue);
    QSIMPLEQ_INIT(&e->owing);
    vnet_bucket_set(&e->links_rate, VNET_EVENTS_LINKS, VNET_EVENTS_LINKS,
                    vnet_loop_now());
    e->timer = timer_new_ns(QEMU_CLOCK_REALTIME, vnet_events_bh, e);
    e->bh = qemu_bh_new(vnet_events_bh, e);
    return e;
}

void vnet_events_free(VnetEvents *e)
{
    qemu_bh_delete(e->bh);
    vnet_bucket_set(&e->links_rate, 0, 0, vnet_loop_now());
    do {
        vnet_events_bh(e);      /* nothing that is owed is kept back now */
    } while (!QSIMPLEQ_EMPTY(&e->owing));
    timer_free(e->timer);
    g_hash_table_unref(e->links);
    qemu_mutex_destroy(&e->lock);
    g_free(e);
}
