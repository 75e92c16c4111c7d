/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The core of an overlay: what holds networks, ports, links and streams together.
 *
 * Work that must not happen where it was found (inside a NIC's callback, inside
 * a transport's pull) is put into queues and done by vnet_core_run_deferred(),
 * which the shell calls at the end of every dispatch.  There, too, every port
 * that was called gets its batch_end, and what died is freed: until then the
 * memory of streams and ports stays valid, so that a caller up the stack may
 * still look at their state.
 *
 * Time: streams wait in one FIFO per duration, so that starting and stopping a
 * timer is O(1) and the earliest is a queue's head; links are few and are all
 * looked at.  The host's timer may fire early, never needs to be moved back,
 * and is set anew after each tick.
 */
#include <string.h>
#include "vnet-stream.h"

/* Work can make work.  More rounds than this in one go would let the peers and
 * guests keep the thread from its events. */
#define DEFERRED_ROUNDS     4

/* --- Deferred work and time ---------------------------------------------- */

void vnet_core_defer(VnetCore *core)
{
    if (!core->defer_asked && !core->in_deferred) {
        core->defer_asked = true;
        core->ops.defer(core->opaque);
    }
}

void vnet_core_wake_at(VnetCore *core, int64_t when_ns)
{
    if (when_ns < core->armed_ns) {
        core->armed_ns = when_ns;
        if (!core->in_tick) {
            core->ops.arm_timer(core->opaque, when_ns);
        }
    }
}

void vnet_timer_start(VnetCore *core, VnetTimer *t, VnetTimerQueue *q,
                      int64_t now_ns)
{
    vnet_timer_stop(t);
    t->in = q;
    t->when_ns = now_ns + q->duration_ns;
    g_queue_push_tail_link(&q->q, &t->node);
    vnet_core_wake_at(core, t->when_ns);
}

void vnet_timer_stop(VnetTimer *t)
{
    if (t->in) {
        g_queue_unlink(&t->in->q, &t->node);
        t->in = NULL;
    }
}

/* A timer's node is linked by data to its stream, which has two of them. */
static VnetTimer *timer_of(GList *node)
{
    return (VnetTimer *)((char *)node - offsetof(VnetTimer, node));
}

static void run_timers(VnetTimerQueue *q, int64_t now_ns)
{
    GList *head;

    while ((head = q->q.head) && timer_of(head)->when_ns <= now_ns) {
        vnet_stream_timeout(head->data, timer_of(head));
    }
}

static int64_t timers_next(const VnetTimerQueue *q)
{
    return q->q.head ? timer_of(q->q.head)->when_ns : INT64_MAX;
}

static void ports_done(VnetCore *core)
{
    if (--core->ports_busy == 0) {
        while (g_ptr_array_remove(core->ports, NULL)) {
            /* all that left meanwhile */
        }
    }
}

void vnet_core_tick(VnetCore *core)
{
    int64_t now = vnet_now(core), next;

    core->in_tick = true;
    core->armed_ns = INT64_MAX;
    run_timers(&core->ack_q, now);
    run_timers(&core->connect_q, now);
    run_timers(&core->ask_q, now);
    run_timers(&core->guard_q, now);
    run_timers(&core->resume_q, now);
    for (guint i = 0; i < core->links->len; i++) {
        vnet_link_tick(core->links->pdata[i], now);
    }
    core->ports_busy++;
    for (guint i = 0; i < core->ports->len; i++) {
        if (core->ports->pdata[i]) {
            vnet_shape_tick(core->ports->pdata[i], now);
        }
    }
    ports_done(core);
    if (now >= core->next_age_ns) {
        core->next_age_ns = INT64_MAX;
        for (guint i = 0; i < core->nets->len; i++) {
            const VnetNet *net = core->nets->pdata[i];

            core->next_age_ns = MIN(core->next_age_ns,
                                    vnet_switch_age(net->sw, now));
        }
    }
    core->in_tick = false;

    next = MIN(core->armed_ns, core->next_age_ns);
    next = MIN(next, timers_next(&core->ack_q));
    next = MIN(next, timers_next(&core->connect_q));
    next = MIN(next, timers_next(&core->ask_q));
    next = MIN(next, timers_next(&core->guard_q));
    next = MIN(next, timers_next(&core->resume_q));
    core->armed_ns = next;
    core->ops.arm_timer(core->opaque, next);
}

static void run_link_work(VnetCore *core)
{
    core->link_work = false;
    for (guint i = 0; i < core->links->len; i++) {
        vnet_link_run_closing(core->links->pdata[i]);
    }
}

static void run_stream_work(VnetCore *core)
{
    /* What is added meanwhile waits for the next round. */
    for (guint n = core->stream_work.length; n; n--) {
        GList *node = g_queue_pop_head_link(&core->stream_work);

        if (!node) {
            break;              /* ended by the work of others */
        }
        vnet_stream_run_work(node->data);
    }
}

static void run_port_work(VnetCore *core)
{
    core->port_work = false;
    core->ports_busy++;
    for (guint i = 0; i < core->ports->len; i++) {
        VnetPort *port = core->ports->pdata[i];

        if (port && (port->carrier != port->carrier_known ||
                     !port->carrier_told)) {
            port->carrier_told = true;
            port->carrier_known = port->carrier;
            vnet_upcall_begin(port);
            port->ops->link_state(port->opaque, port->carrier);
            vnet_upcall_end(port);
        }
    }
    ports_done(core);
}

static bool has_work(const VnetCore *core)
{
    return core->link_work || core->port_work || core->stream_work.length;
}

static void run_batch_ends(VnetCore *core)
{
    for (guint n = core->called_ports.length; n; n--) {
        GList *node = g_queue_pop_head_link(&core->called_ports);
        VnetPort *port;

        if (!node) {
            break;
        }
        port = node->data;
        port->called = false;
        core->upcalls++;
        port->ops->batch_end(port->opaque);
        core->upcalls--;
    }
}

static void free_dead(VnetCore *core)
{
    GList *node;

    while ((node = g_queue_pop_head_link(&core->dead_streams))) {
        vnet_stream_free(node->data);
    }
    while (core->dead_ports) {
        VnetPort *port = core->dead_ports->data;

        core->dead_ports = g_slist_delete_link(core->dead_ports,
                                               core->dead_ports);
        g_free(port->id);
        g_free(port);
    }
    g_slist_free_full(g_steal_pointer(&core->dead_nets),
                      (GDestroyNotify)vnet_net_dispose);
}

void vnet_core_run_deferred(VnetCore *core)
{
    if (core->in_deferred || core->upcalls) {
        return;                 /* the outer one goes on */
    }
    core->defer_asked = false;
    core->in_deferred = true;
    for (int i = 0; i < DEFERRED_ROUNDS && has_work(core); i++) {
        if (core->link_work) {
            run_link_work(core);
        }
        run_stream_work(core);
        if (core->port_work) {
            run_port_work(core);
        }
    }
    run_batch_ends(core);
    free_dead(core);
    core->in_deferred = false;
    if (has_work(core) || core->called_ports.length ||
        core->dead_streams.length || core->dead_ports || core->dead_nets) {
        vnet_core_defer(core);
    }
}

void vnet_upcall_begin(VnetPort *port)
{
    VnetCore *core = port->core;

    core->upcalls++;
    if (!port->called && !port->dead) {
        port->called = true;
        g_queue_push_tail_link(&core->called_ports, &port->called_node);
        vnet_core_defer(core);
    }
}

void vnet_upcall_end(VnetPort *port)
{
    port->core->upcalls--;
}

/* --- What all ports are told --------------------------------------------- */

/* A switch without links has its ports only: those are always joined. */
static bool carrier(const VnetNet *net)
{
    const VnetCore *core = net->core;

    return core->links->len ? net->lanes_up : !core->cut_off;
}

void vnet_core_links_changed(VnetCore *core)
{
    for (guint i = 0; i < core->ports->len; i++) {
        VnetPort *port = core->ports->pdata[i];

        if (port && port->carrier != carrier(port->net)) {
            port->carrier = !port->carrier;
            core->port_work = true;
        }
    }
    if (core->port_work) {
        vnet_core_defer(core);
    }
}

void vnet_core_capability(VnetCore *core, const VnetNet *net,
                          const uint8_t *mac, bool streams)
{
    core->ports_busy++;
    for (guint i = 0; i < core->ports->len; i++) {
        VnetPort *port = core->ports->pdata[i];

        if (port && (!net || port->net == net) &&
            port->ops->peer_capability) {
            vnet_upcall_begin(port);
            port->ops->peer_capability(port->opaque, mac, streams);
            vnet_upcall_end(port);
        }
    }
    ports_done(core);
}

void vnet_core_wake_ports(VnetCore *core, const VnetLink *l)
{
    core->ports_busy++;
    for (guint i = 0; i < core->ports->len; i++) {
        VnetPort *port = core->ports->pdata[i];

        if (port && port->waits_for == l) {
            port->waits_for = NULL;
            vnet_upcall_begin(port);
            port->ops->tx_ready(port->opaque);
            vnet_upcall_end(port);
        }
    }
    ports_done(core);
}

VnetPort *vnet_net_port_of(VnetNet *net, const uint8_t mac[6])
{
    VnetPlace place = vnet_switch_lookup(net->sw, mac);

    return place.end && !place.end->is_link && place.claimed
           ? vnet_end_port(place.end) : NULL;
}

/* --- Frames -------------------------------------------------------------- */

VnetFrameResult vnet_net_input(VnetNet *net, VnetEnd *src, const VnetFrame *f,
                               bool wait_ok, VnetEnd **busy)
{
    VnetCore *core = net->core;
    int64_t now = vnet_now(core);
    VnetFrameResult r = vnet_switch_input(net->sw, src, f, now, wait_ok, busy);

    if (core->next_age_ns == INT64_MAX && core->macs.used) {
        core->next_age_ns = now + core->mac_age_s * 1000 * VNET_MS;
        vnet_core_wake_at(core, core->next_age_ns);
    }
    return r;
}

static VnetFrameResult port_output(VnetEnd *e, const VnetFrame *f, bool wait_ok)
{
    VnetPort *port = vnet_end_port(e);
    VnetFrameResult r;

    if (!vnet_shape_frame(port, VNET_RX)) {
        port->stats.rx_drop_rate++;
        vnet_limit_reached(port->net, VNET_CORE_LIMIT_RX_RATE, port, NULL,
                           vnet_now(port->core));
        return VNET_FRAME_DROPPED;
    }
    vnet_shape_frame_took(port, VNET_RX, f);
    vnet_capture_frame(port, VNET_RX, f->iov, f->niov, f->len);
    vnet_upcall_begin(port);
    r = port->ops->frame(port->opaque, f->hdr, f->iov, f->niov, f->len);
    vnet_upcall_end(port);
    if (r == VNET_FRAME_OK) {
        port->stats.rx_frames++;
        port->stats.rx_frame_bytes += f->len;
        return r;
    }
    port->stats.rx_drop++;
    return VNET_FRAME_DROPPED;
}

VnetFrameResult vnet_port_send(VnetPort *port, const VnetFrameHdr *hdr,
                               const struct iovec *iov, unsigned niov,
                               size_t len)
{
    VnetFrameHdr h = *hdr;
    const VnetFrame f = { &h, iov, niov, len };
    VnetEnd *busy = NULL;
    VnetFrameResult r;

    if (!vnet_shape_frame(port, VNET_TX)) {
        port->waits_for = NULL;
        vnet_shape_nic_waits(port);
        return VNET_FRAME_BUSY;
    }
    /* A hint of the guest's, which may be larger than the frame. */
    h.hdr_len = MIN(h.hdr_len, len);
    r = vnet_net_input(port->net, &port->end, &f, true, &busy);
    if (r != VNET_FRAME_BUSY) {
        vnet_shape_frame_took(port, VNET_TX, &f);
        vnet_capture_frame(port, VNET_TX, iov, niov, len);
    }
    switch (r) {
    case VNET_FRAME_BUSY:
        port->stats.tx_busy++;
        port->waits_for = vnet_end_link(busy);
        break;
    case VNET_FRAME_OK:
        port->stats.tx_frames++;
        port->stats.tx_frame_bytes += len;
        break;
    default:
        port->stats.tx_drop++;
        break;
    }
    return r;
}

/* --- Ports --------------------------------------------------------------- */

static void port_claim(VnetPort *port)
{
    VnetCore *core = port->core;

    vnet_switch_claim(port->net->sw, &port->end, port->mac,
                      port->streams_ok ? VNET_MAC_F_STREAMS : 0);
    for (guint i = 0; i < core->links->len; i++) {
        vnet_link_announce(core->links->pdata[i], port, false);
    }
}

static void port_unclaim(VnetPort *port)
{
    VnetCore *core = port->core;
    VnetPort *heir;

    vnet_switch_unclaim(port->net->sw, &port->end, port->mac);
    /* Another port may have the same address: then it speaks for it. */
    heir = vnet_net_port_of(port->net, port->mac);
    for (guint i = 0; i < core->links->len; i++) {
        vnet_link_announce(core->links->pdata[i], heir ? heir : port, !heir);
    }
}

VnetPort *vnet_port_attach(VnetNet *net, const char *id,
                           const uint8_t mac[6], const VnetPortOps *ops,
                           void *opaque)
{
    VnetCore *core = net->core;
    VnetPort *port = g_new0(VnetPort, 1);

    port->core = core;
    port->net = net;
    port->id = g_strdup(id);
    port->end.id = port->id;
    port->end.output = port_output;
    port->end.locked = net->port_lock;
    port->ops = ops;
    port->opaque = opaque;
    port->called_node.data = port;
    port->streams_ok = ops->connect_request != NULL;
    port->carrier = carrier(net);
    memcpy(port->mac, mac, 6);
    for (int d = 0; d < VNET_DIRECTIONS; d++) {
        vnet_shape_set(port, d, &net->rates[d]);
    }
    g_ptr_array_add(core->ports, port);
    vnet_switch_add(net->sw, &port->end);
    vnet_switch_set_up(net->sw, &port->end, true);
    port_claim(port);
    core->port_work = true;
    vnet_core_defer(core);
    return port;
}

void vnet_port_detach(VnetPort *port)
{
    VnetCore *core = port->core;
    guint i;

    port->dead = true;
    vnet_port_reset_streams(port, VTOE_REASON_DEVICE_RESET);
    vnet_shape_end(port);
    port_unclaim(port);
    vnet_switch_remove(port->net->sw, &port->end);
    if (port->called) {
        g_queue_unlink(&core->called_ports, &port->called_node);
        port->called = false;
    }
    if (g_ptr_array_find(core->ports, port, &i)) {
        if (core->ports_busy) {
            core->ports->pdata[i] = NULL;
        } else {
            g_ptr_array_remove_index(core->ports, i);
        }
    }
    core->dead_ports = g_slist_prepend(core->dead_ports, port);
    vnet_core_defer(core);
}

void vnet_port_set_mac(VnetPort *port, const uint8_t mac[6])
{
    if (memcmp(port->mac, mac, 6) && !port->end.locked) {
        port_unclaim(port);
        memcpy(port->mac, mac, 6);
        port_claim(port);
    }
}

void vnet_port_set_streams(VnetPort *port, bool streams)
{
    streams = streams && port->ops->connect_request;
    if (port->streams_ok != streams) {
        port->streams_ok = streams;
        port_claim(port);
    }
}

/* --- The core ------------------------------------------------------------ */

VnetCore *vnet_core_new(const VnetCoreConfig *cfg, const VnetHostOps *ops,
                        void *opaque)
{
    VnetCore *core = g_new0(VnetCore, 1);

    core->ops = *ops;
    core->opaque = opaque;
    core->name = g_strdup(cfg->name ? cfg->name : "");
    core->max_streams = cfg->max_streams;
    core->heartbeat_ms = CLAMP(cfg->heartbeat_ms, VNET_HEARTBEAT_MIN_MS,
                               VNET_HEARTBEAT_MAX_MS);
    core->macs.max = cfg->max_macs;
    core->mac_age_s = cfg->mac_age_s;
    do {
        core->epoch = core->ops.random64(opaque);
    } while (!core->epoch);
    core->nets = g_ptr_array_new();
    vnet_net_make(core, &cfg->net);
    core->ports = g_ptr_array_new();
    core->links = g_ptr_array_new();
    core->connect_q.duration_ns = VNET_CONNECT_NS;
    core->ask_q.duration_ns = VNET_ASK_NS;
    core->guard_q.duration_ns = VNET_GUARD_NS;
    core->ack_q.duration_ns = VNET_ACK_NS;
    vnet_resume_init(core, cfg->resume_ms);
    core->next_age_ns = INT64_MAX;
    core->armed_ns = INT64_MAX;
    return core;
}

void vnet_core_free(VnetCore *core)
{
    g_assert(!core->ports->len && !core->links->len && !core->streams.length &&
             core->nets->len == 1);
    free_dead(core);
    vnet_resume_fini(core);
    vnet_net_dispose(vnet_core_net(core));
    g_ptr_array_free(core->nets, TRUE);
    g_ptr_array_free(core->ports, TRUE);
    g_ptr_array_free(core->links, TRUE);
    g_free(core->name);
    g_free(core);
}

uint32_t vnet_core_heartbeat_ms(const VnetCore *core)
{
    return core->heartbeat_ms;
}
