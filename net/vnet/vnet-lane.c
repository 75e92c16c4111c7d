/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links and network ids (docs/specs/vnet-wire.rst, "Network ids", "Addresses",
 * "Frames").
 *
 * A link has a lane for each id that this end has: its end in the switch of that
 * id.  A lane is up while the link is and the peer has the id, too.  A frame that
 * comes goes into the switch of the lane that its id names, an address that is
 * announced is claimed there, and a stream is asked for there; what names an id
 * whose lane is not up, or is not there, is dropped or refused, and counted.
 *
 * What ids the peer has it says in its HELLO and by NET, also those that this end
 * has not: it may get them later.  What this end has told is kept, so that what
 * has changed since can be told, whenever that is possible.  Of ids that the peer
 * was not given it is told nothing, and what it says of them counts for nothing.
 */
#include <string.h>
#include "vnet-stream.h"

/* A peer's, from one heartbeat to the next. */
#define NET_CHANGES_MAX     (8 * VNET_NETS_MAX)

static bool list_has(const VnetIdList *list, uint32_t vni)
{
    for (unsigned i = 0; i < list->n; i++) {
        if (list->vni[i] == vni) {
            return true;
        }
    }
    return false;
}

static void list_add(VnetIdList *list, uint32_t vni)
{
    if (!list_has(list, vni)) {
        g_assert(list->n < VNET_NETS_MAX);
        list->vni[list->n++] = vni;
    }
}

static void list_remove(VnetIdList *list, uint32_t vni)
{
    for (unsigned i = 0; i < list->n; i++) {
        if (list->vni[i] == vni) {
            list->vni[i] = list->vni[--list->n];
            return;
        }
    }
}

/* --- Lanes --------------------------------------------------------------- */

VnetLane *vnet_link_lane(const VnetLink *l, uint32_t vni)
{
    for (guint i = 0; i < l->lanes->len; i++) {
        VnetLane *lane = l->lanes->pdata[i];

        if (lane->net->vni == vni) {
            return lane;
        }
    }
    return NULL;
}

bool vnet_link_leads_to(const VnetLink *l, const VnetNet *net)
{
    const VnetLane *lane = vnet_link_lane(l, net->vni);

    return lane && lane->end.up;
}

static void lane_set_up(VnetLane *lane, bool up)
{
    if (lane->end.up != up) {
        lane->net->lanes_up += up ? 1 : -1;
        vnet_switch_set_up(lane->net->sw, &lane->end, up);
    }
}

static bool was_given(const VnetLink *l, uint32_t vni)
{
    return !l->given_nets || list_has(l->given_nets, vni);
}

/* Whether both ends may use it, by what the peer has said. */
static bool lane_is_common(const VnetLane *lane)
{
    const VnetLink *l = lane->l;
    uint32_t vni = lane->net->vni;

    return was_given(l, vni) && (l->plain || list_has(&l->peer_nets, vni));
}

static void lane_update(VnetLane *lane)
{
    lane_set_up(lane, lane->l->state == VNET_LINK_UP && lane_is_common(lane));
}

/* What the peer announced is not there any more. */
static void lane_forget(VnetLane *lane)
{
    vnet_switch_unclaim_all(lane->net->sw, &lane->end);
    lane->l->peer_macs -= lane->macs;
    lane->macs = 0;
}

static void lane_announce(VnetLane *lane)
{
    const GPtrArray *ports = lane->net->core->ports;

    for (guint i = 0; i < ports->len; i++) {
        const VnetPort *port = ports->pdata[i];

        if (port && port->net == lane->net) {
            vnet_link_announce(lane->l, port, false);
        }
    }
}

void vnet_lanes_update(VnetLink *l)
{
    for (guint i = 0; i < l->lanes->len; i++) {
        lane_update(l->lanes->pdata[i]);
    }
}

void vnet_lanes_forget(VnetLink *l)
{
    for (guint i = 0; i < l->lanes->len; i++) {
        lane_forget(l->lanes->pdata[i]);
    }
}

void vnet_lanes_announce(VnetLink *l)
{
    for (guint i = 0; i < l->lanes->len; i++) {
        lane_announce(l->lanes->pdata[i]);
    }
}

static VnetFrameResult lane_output(VnetEnd *e, const VnetFrame *f,
                                   bool wait_ok);

static VnetLane *lane_make(VnetLink *l, VnetNet *net)
{
    VnetLane *lane = g_new0(VnetLane, 1);

    lane->l = l;
    lane->net = net;
    lane->end.is_link = true;
    lane->end.id = l->id;
    lane->end.output = lane_output;
    lane->end.split_horizon = l->split_horizon;
    lane->end.sources = l->given;
    g_ptr_array_add(l->lanes, lane);
    vnet_switch_add(net->sw, &lane->end);
    return lane;
}

static void lane_dispose(VnetLane *lane)
{
    lane_forget(lane);
    lane_set_up(lane, false);
    vnet_switch_remove(lane->net->sw, &lane->end);
    g_free(lane);
}

void vnet_lanes_new(VnetLink *l)
{
    l->lanes = g_ptr_array_new();
    for (guint i = 0; i < l->core->nets->len; i++) {
        lane_make(l, l->core->nets->pdata[i]);
    }
}

void vnet_lanes_free(VnetLink *l)
{
    for (guint i = 0; i < l->lanes->len; i++) {
        lane_dispose(l->lanes->pdata[i]);
    }
    g_ptr_array_free(l->lanes, TRUE);
}

void vnet_lane_new(VnetLink *l, VnetNet *net)
{
    VnetLane *lane = lane_make(l, net);

    vnet_lanes_tell(l);
    lane_update(lane);
}

void vnet_lane_free(VnetLink *l, const VnetNet *net)
{
    VnetLane *lane = vnet_link_lane(l, net->vni);

    g_ptr_array_remove(l->lanes, lane);
    lane_dispose(lane);
    vnet_lanes_tell(l);
}

void vnet_link_set_split_horizon(VnetLink *l, bool on)
{
    l->split_horizon = on;
    for (guint i = 0; i < l->lanes->len; i++) {
        VnetLane *lane = l->lanes->pdata[i];

        lane->end.split_horizon = on;
    }
}

void vnet_link_set_peer_macs(VnetLink *l, const uint8_t (*macs)[6], unsigned n)
{
    g_assert(!l->given);
    l->given = vnet_mac_set_new(macs, n);
    for (guint i = 0; i < l->lanes->len; i++) {
        VnetLane *lane = l->lanes->pdata[i];

        lane->end.sources = l->given;
    }
}

void vnet_link_set_peer_nets(VnetLink *l, const uint32_t *vnis, unsigned n)
{
    g_assert(!l->given_nets && n);
    l->given_nets = g_new0(VnetIdList, 1);
    for (unsigned i = 0; i < n; i++) {
        list_add(l->given_nets, vnis[i]);
    }
    vnet_lanes_update(l);
}

/* --- Which ids the ends have --------------------------------------------- */

void vnet_lanes_say(VnetLink *l, VnetMsg *hello)
{
    const GPtrArray *nets = l->core->nets;

    l->told.n = 0;
    for (guint i = 0; i < nets->len; i++) {
        const VnetNet *net = nets->pdata[i];

        if (was_given(l, net->vni)) {
            list_add(&l->told, net->vni);
        }
    }
    if (!l->told.n) {
        /* One has to be said; vnet_lanes_hear() finds nothing in common. */
        list_add(&l->told, l->given_nets->vni[0]);
    }
    hello->u.hello.features |= VNET_HELLO_F_NETS;
    hello->u.hello.vni = l->told.vni[0];
    hello->u.hello.nnets = l->told.n - 1;
    memcpy(hello->u.hello.nets, l->told.vni + 1,
           (l->told.n - 1) * sizeof(l->told.vni[0]));
}

static void say_net(VnetLink *l, uint32_t vni, bool gone)
{
    VnetMsg m = { .type = VNET_MSG_NET, .flags = gone ? VNET_NET_F_GONE : 0 };

    m.u.net.vni = vni;
    vnet_link_send(l, &m);
}

void vnet_lanes_tell(VnetLink *l)
{
    const VnetCore *core = l->core;

    if (l->state != VNET_LINK_UP || !(l->features & VNET_HELLO_F_NETS)) {
        return;                 /* HELLO will, or nobody */
    }
    for (unsigned i = l->told.n; i-- > 0; ) {
        uint32_t vni = l->told.vni[i];

        if (!vnet_core_find_net(core, vni)) {
            list_remove(&l->told, vni);
            say_net(l, vni, true);
        }
    }
    for (guint i = 0; i < core->nets->len; i++) {
        const VnetNet *net = core->nets->pdata[i];

        if (was_given(l, net->vni) && !list_has(&l->told, net->vni)) {
            list_add(&l->told, net->vni);
            say_net(l, net->vni, false);
        }
    }
}

static char *ids_text(const VnetIdList *list)
{
    return list->n > 1 ? g_strdup_printf("%u and %u more", list->vni[0],
                                         list->n - 1)
                       : g_strdup_printf("%u", list->vni[0]);
}

/* The peer has it. */
static void peer_net(VnetLink *l, uint32_t vni)
{
    if (!was_given(l, vni)) {
        l->stats.nets_denied++;
    }
    list_add(&l->peer_nets, vni);
}

bool vnet_lanes_hear(VnetLink *l, const VnetMsg *hello)
{
    g_autofree char *theirs = NULL, *ours = NULL;
    bool several = hello->u.hello.features & VNET_HELLO_F_NETS;
    bool common = false;

    l->peer_nets.n = 0;
    peer_net(l, hello->u.hello.vni);
    for (unsigned i = 0; several && i < hello->u.hello.nnets; i++) {
        peer_net(l, hello->u.hello.nets[i]);
    }
    if (!several) {
        /* It knows of one id of this end only. */
        l->told.n = 1;
    }
    for (guint i = 0; i < l->lanes->len; i++) {
        const VnetLane *lane = l->lanes->pdata[i];

        common = common || (lane_is_common(lane) &&
                            (several || lane->net->vni == l->told.vni[0]));
    }
    if (common) {
        return true;
    }
    theirs = ids_text(&l->peer_nets);
    ours = ids_text(&l->told);
    vnet_link_close(l, &l->stats.lost_vni, VTOE_REASON_POLICY,
                    "peer has network id %s, this end %s", theirs, ours);
    return false;
}

/* Streams of an id that the peer has no more: it has ended them, or should have. */
static void end_streams(VnetLink *l, const VnetNet *net)
{
    g_autoptr(GPtrArray) ending = g_ptr_array_new();

    for (GList *e = l->streams.head; e; e = e->next) {
        VnetStream *s = e->data;

        if (s->port->net == net) {
            g_ptr_array_add(ending, s);
        }
    }
    /* What a NIC does when it hears of one may end others. */
    for (guint i = 0; i < ending->len; i++) {
        VnetStream *s = ending->pdata[i];

        if (s->link == l && s->state != VNET_STREAM_DEAD &&
            s->state != VNET_STREAM_FAILING &&
            !(s->tx == VNET_TX_DONE && s->rx == VNET_RX_DONE)) {
            vnet_stream_send(s, VNET_MSG_ABORT, 0, VTOE_REASON_LINK_LOST);
            vnet_stream_lost(s, VTOE_REASON_LINK_LOST);
        }
    }
}

bool vnet_lanes_message(VnetLink *l, const VnetMsg *m)
{
    uint32_t vni = m->u.net.vni;
    bool gone = m->flags & VNET_NET_F_GONE;
    VnetLane *lane = vnet_link_lane(l, vni);

    if (!(l->features & VNET_HELLO_F_NETS)) {
        vnet_link_close(l, &l->stats.bad_order, VTOE_REASON_PROTOCOL,
                        "network id %u: several were not agreed on", vni);
        return false;
    }
    if (list_has(&l->peer_nets, vni) != gone) {
        return true;            /* no news */
    }
    if (!gone && l->peer_nets.n == VNET_NETS_MAX) {
        l->stats.nets_full++;
        return true;
    }
    /* Each is a look at all addresses. */
    if (lane && ++l->net_changes > NET_CHANGES_MAX) {
        vnet_link_close(l, &l->stats.bad_order, VTOE_REASON_PROTOCOL,
                        "more than %u changes of network ids in %u ms",
                        NET_CHANGES_MAX, l->core->heartbeat_ms);
        return false;
    }
    if (gone) {
        list_remove(&l->peer_nets, vni);
    } else {
        peer_net(l, vni);
    }
    if (!lane) {
        return true;
    }
    if (gone) {
        lane_forget(lane);
        lane_update(lane);
        end_streams(l, lane->net);
        vnet_core_capability(l->core, lane->net, NULL, false);
    } else {
        lane_update(lane);
        lane_announce(lane);
    }
    vnet_core_links_changed(l->core);
    return l->state == VNET_LINK_UP;
}

/* --- Addresses ----------------------------------------------------------- */

void vnet_link_announce(VnetLink *l, const VnetPort *port, bool gone)
{
    VnetMsg m = { .type = VNET_MSG_MAC };

    if (!vnet_link_leads_to(l, port->net)) {
        return;
    }
    m.flags = gone ? VNET_MAC_F_GONE :
              port->streams_ok ? VNET_MAC_F_STREAMS : 0;
    m.u.mac.vni = port->net->vni;
    memcpy(m.u.mac.mac, port->mac, 6);
    vnet_link_send(l, &m);
}

void vnet_lanes_mac(VnetLink *l, const VnetMsg *m)
{
    const uint8_t *mac = m->u.mac.mac;
    VnetLane *lane = vnet_link_lane(l, m->u.mac.vni);
    bool streams = (m->flags & VNET_MAC_F_STREAMS) &&
                   (l->features & VNET_HELLO_F_STREAMS);
    bool known;

    if (!lane || !lane->end.up) {
        l->stats.macs_vni++;
        return;
    }
    known = vnet_switch_has_claim(lane->net->sw, &lane->end, mac);
    if (m->flags & VNET_MAC_F_GONE) {
        if (!known) {
            return;
        }
        l->peer_macs--;
        lane->macs--;
        vnet_switch_unclaim(lane->net->sw, &lane->end, mac);
    } else {
        if (l->given && !vnet_mac_set_has(l->given, mac)) {
            l->stats.macs_denied++;
            return;
        }
        if (!known && l->peer_macs >= VNET_MACS_PER_LINK) {
            l->stats.macs_full++;
            return;
        }
        l->peer_macs += !known;
        lane->macs += !known;
        vnet_switch_claim(lane->net->sw, &lane->end, mac,
                          streams ? VNET_MAC_F_STREAMS : 0);
    }
    vnet_core_capability(l->core, lane->net, mac, streams);
}

/* --- Frames -------------------------------------------------------------- */

static VnetFrameResult lane_output(VnetEnd *e, const VnetFrame *f, bool wait_ok)
{
    const VnetLane *lane = vnet_end_lane(e);
    VnetLink *l = lane->l;
    const VnetWireFrame wf = {
        .len = f->len, .vni = lane->net->vni, .hdr = *f->hdr,
        .hops = l->features & VNET_HELLO_F_HOPS ? f->hops + 1 : 0,
    };

    if (l->state != VNET_LINK_UP || l->closing ||
        !(l->features & VNET_HELLO_F_FRAMES)) {
        l->stats.tx_drop_down++;
        return VNET_FRAME_DROPPED;
    }
    if (!(l->features & VNET_HELLO_F_GSO) &&
        ((wf.hdr.flags & VTOE_NET_HDR_F_NEEDS_CSUM) || wf.hdr.gso_type)) {
        l->stats.tx_drop_gso++;
        return VNET_FRAME_DROPPED;
    }
    if (f->hops >= VNET_HOPS_MAX) {
        l->stats.tx_drop_hops++;
        return VNET_FRAME_DROPPED;
    }
    switch (l->ops->frame(l->transport, &wf, f->iov, f->niov)) {
    case VNET_FRAME_OK:
        l->stats.tx_frames++;
        l->stats.tx_frame_bytes += f->len;
        return VNET_FRAME_OK;
    case VNET_FRAME_BUSY:
        if (!wait_ok) {
            l->stats.tx_drop_busy++;
        }
        l->busy_ns = l->busy_ns ?: vnet_now(l->core);
        return VNET_FRAME_BUSY;
    default:
        l->stats.tx_drop_transport++;
        return VNET_FRAME_DROPPED;
    }
}

void vnet_link_frames_moved(VnetLink *l)
{
    if (l->busy_ns) {
        l->busy_ns = vnet_now(l->core);
    }
}

void vnet_link_frames_ready(VnetLink *l)
{
    l->busy_ns = 0;
    vnet_core_wake_ports(l->core, l);
}

static void link_frame(VnetLink *l, const VnetWireFrame *wf,
                       const struct iovec *iov, unsigned niov, bool answer)
{
    const VnetFrame f = {
        &wf->hdr, iov, niov, wf->len,
        /* Who does not count them says nothing that counts. */
        l->features & VNET_HELLO_F_HOPS ? MAX(wf->hops, 1) : 1, answer,
    };
    VnetLane *lane;
    VnetEnd *busy;

    l->heard = true;
    l->stats.rx_frames++;
    l->stats.rx_frame_bytes += wf->len;
    if (l->state != VNET_LINK_UP || l->closing) {
        l->stats.rx_drop_down++;
        return;
    }
    lane = vnet_link_lane(l, wf->vni);
    if (!lane || !lane->end.up) {
        l->stats.rx_drop_vni++;
        return;
    }
    vnet_net_input(lane->net, &lane->end, &f, false, &busy);
}

void vnet_link_frame(VnetLink *l, const VnetWireFrame *wf,
                     const struct iovec *iov, unsigned niov)
{
    link_frame(l, wf, iov, niov, false);
}

void vnet_link_answer(VnetLink *l, const VnetWireFrame *wf,
                      const struct iovec *iov, unsigned niov)
{
    link_frame(l, wf, iov, niov, true);
}
