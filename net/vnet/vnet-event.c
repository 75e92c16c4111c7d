/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events of the VNET thread, for the monitor.
 *
 * QAPI events need the BQL, which the VNET thread does not wait for.  So events
 * are queued here and emitted by a BH of the main loop.
 *
 * A peer must not be able to flood the monitor, nor memory: of links, states
 * are told when they changed, and failures when their reason did; of streams, at
 * most one failure per second, with the number of those left out; of limits as
 * much, see vnet-limit.c.  At most VNET_EVENTS_MAX events wait for the main
 * loop, and one of each limit.  One that finds no room is not noted as told
 * either: a link's next change is, a stream's failure and a limit are counted
 * by the next that is told.
 */

#include "qemu/osdep.h"
#include "qapi/qapi-events-vnet.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "vnet-shell.h"

#define VNET_EVENTS_MAX         256
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
    unsigned links_up, links;   /* LINK_*: how many there are by now */
    QSIMPLEQ_ENTRY(VnetEvent) next;
};

/* What was told last of a link. */
typedef struct VnetEventLink {
    bool up;
    char *reason;
} VnetEventLink;

struct VnetEvents {
    VnetNetdev *n;
    /* VNET thread */
    GHashTable *links;          /* id -> VnetEventLink */
    int64_t stream_next;        /* not before this */
    uint32_t suppressed;
    /* both */
    QemuMutex lock;             /* of the queue */
    QSIMPLEQ_HEAD(, VnetEvent) queue;
    unsigned queued;
    uint32_t limits;            /* bits: of which limits one is queued */
    QEMUBH *bh;
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

    g_free(el->reason);
    g_free(el);
}

/* --- Main loop -------------------------------------------------------- */

static void vnet_event_emit(VnetEvents *e, VnetEvent *ev)
{
    NetClientState *nc = &e->n->nc;

    switch (ev->kind) {
    case VNET_EVENT_LINK_UP:
        qapi_event_send_vnet_link_up(nc->name, ev->link, ev->text,
                                     ev->changed);
        break;
    case VNET_EVENT_LINK_DOWN:
        qapi_event_send_vnet_link_down(nc->name, ev->link, ev->text);
        break;
    case VNET_EVENT_STREAM_FAILED:
        qapi_event_send_vnet_stream_failed(nc->name, ev->link, ev->cid,
                                           ev->local, ev->remote, ev->reason,
                                           ev->suppressed);
        return;
    case VNET_EVENT_LIMIT:
        qapi_event_send_vnet_limit(nc->name, ev->limit, ev->port, ev->link,
                                   ev->suppressed);
        return;
    }
    qemu_set_info_str(nc, "vni=%u,links=%u/%u", e->n->vni, ev->links_up,
                      ev->links);
}

static void vnet_events_bh(void *opaque)
{
    VnetEvents *e = opaque;
    QSIMPLEQ_HEAD(, VnetEvent) queue;
    VnetEvent *ev;

    QSIMPLEQ_INIT(&queue);
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        QSIMPLEQ_CONCAT(&queue, &e->queue);
        e->queued = 0;
        e->limits = 0;
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

void vnet_events_link(VnetEvents *e, VnetLink *l, const char *state,
                      const char *msg)
{
    const char *id = vnet_link_id(l);
    VnetEventLink *el = g_hash_table_lookup(e->links, id);
    bool up = g_str_equal(state, "up");
    VnetCoreInfo info;
    VnetEvent *ev;

    if (!el) {
        el = g_new0(VnetEventLink, 1);
        g_hash_table_insert(e->links, g_strdup(id), el);
    }
    if (!up && (!g_str_equal(state, "down") ||
                (!el->up && !g_strcmp0(el->reason, msg)))) {
        return;
    }
    vnet_query_core(vnet_loop_core(e->n->ov->loop), &info);
    ev = g_new0(VnetEvent, 1);
    ev->kind = up ? VNET_EVENT_LINK_UP : VNET_EVENT_LINK_DOWN;
    ev->link = g_strdup(id);
    ev->text = g_strdup(msg);
    ev->links_up = info.links_up;
    ev->links = info.links;
    ev->changed = up && vnet_link_peer_changed(l);
    if (vnet_event_post(e, ev)) {
        el->up = up;
        g_free(el->reason);
        el->reason = up ? NULL : g_strdup(msg);
    }
}

void vnet_events_forget(VnetEvents *e, const char *link)
{
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
    e->links = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                     vnet_event_link_free);
    qemu_mutex_init(&e->lock);
    QSIMPLEQ_INIT(&e->queue);
    e->bh = qemu_bh_new(vnet_events_bh, e);
    return e;
}

void vnet_events_free(VnetEvents *e)
{
    qemu_bh_delete(e->bh);
    vnet_events_bh(e);
    g_hash_table_unref(e->links);
    qemu_mutex_destroy(&e->lock);
    g_free(e);
}
