/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A snapshot of an overlay, for the monitor: taken in the VNET thread, while
 * the main loop waits.
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include "net/net.h"
#include "vtoe/vtoe-status.h"
#include "vnet-shell.h"

static char *vnet_mac_str(const uint8_t mac[6])
{
    return g_strdup_printf(MAC_FMT, MAC_ARG(mac));
}

char *vnet_flow_end_str(uint8_t family, const uint8_t addr[16], uint16_t port)
{
    char buf[INET6_ADDRSTRLEN];

    inet_ntop(family == 6 ? AF_INET6 : AF_INET, addr, buf, sizeof(buf));
    return g_strdup_printf(family == 6 ? "[%s]:%u" : "%s:%u", buf, port);
}

/* A counter's name: as in the code, with '-' for '_'. */
static void vnet_status_count(VnetNamedCounterList ***tail, const char *name,
                              uint64_t value)
{
    g_autofree char *dashed = g_strdelimit(g_strdup(name), "_", '-');

    vnet_counter_append(tail, dashed, value);
}

static void vnet_status_stats(VnetNamedCounterList ***tail,
                              const VnetStatDesc *desc, const void *stats)
{
    for (; desc->name; desc++) {
        vnet_status_count(tail, desc->name,
                          *(uint64_t *)((char *)stats + desc->offset));
    }
}

/* What has been appended so far. */
typedef struct VnetSnapshot {
    VnetNetdev *n;
    VnetStatus *st;
    VnetLinkStatusList **links;
    VnetPortStatusList **ports;
    VnetStreamStatusList **streams;
    VnetMacStatusList **macs;
    VnetRouteList **routes;
    VnetNamedCounterList **device;
    GHashTable *sids;           /* SID -> VnetSnapshotSid */
} VnetSnapshot;

typedef struct VnetSnapshotSid {
    const char *state;
    uint64_t rx_limit;
} VnetSnapshotSid;

/* The control connection exists. */
static VnetLinkStage vnet_status_connected(const VnetLinkInfo *info)
{
    return g_str_equal(info->state, "up") ? VNET_LINK_STAGE_UP :
           VNET_LINK_STAGE_HELLO;
}

static VnetAnyLink *vnet_status_transport(VnetNetdev *n, VnetLink *l)
{
    unsigned i;

    for (i = 0; i < n->links->len; i++) {
        VnetAnyLink *k = g_ptr_array_index(n->links, i);

        if (vnet_anylink_link(k) == l) {
            return k;
        }
    }
    g_assert_not_reached();
}

static void vnet_status_sock(VnetSockLink *k, const VnetLinkInfo *info,
                             VnetLinkStatus *ls, VnetNamedCounterList **tail)
{
    static const VnetLinkStage stages[] = {
        [VNET_SOCK_WAITING] = VNET_LINK_STAGE_WAITING,
        [VNET_SOCK_RESOLVING] = VNET_LINK_STAGE_RESOLVING,
        [VNET_SOCK_LISTENING] = VNET_LINK_STAGE_LISTENING,
        [VNET_SOCK_CONNECTING] = VNET_LINK_STAGE_CONNECTING,
    };
    VnetSockInfo sock;

    vnet_sock_query(k, &sock);
    ls->type = sock.is_unix ? VNET_LINK_TYPE_UNIX : VNET_LINK_TYPE_TCP;
    ls->server = sock.server;
    ls->state = sock.stage == VNET_SOCK_CONNECTED ?
                vnet_status_connected(info) : stages[sock.stage];
    ls->local = sock.local;
    ls->remote = sock.remote;
    ls->encrypted = sock.encrypted;
    ls->identity = g_strdup(sock.identity);
    ls->refused = g_strdup(sock.refused);
    ls->connections = sock.connections;
#define VNET_STATUS_SOCK(name, meaning) \
    vnet_status_count(&tail, #name, sock.stats->name);
    VNET_SOCK_STATS(VNET_STATUS_SOCK)
#undef VNET_STATUS_SOCK
}

static void vnet_status_rdma(VnetRdmaLink *k, const VnetLinkInfo *info,
                             VnetLinkStatus *ls, VnetNamedCounterList **tail)
{
    static const VnetLinkStage stages[] = {
        [VNET_RDMA_WAITING] = VNET_LINK_STAGE_WAITING,
        [VNET_RDMA_RESOLVING] = VNET_LINK_STAGE_RESOLVING,
        [VNET_RDMA_LISTENING] = VNET_LINK_STAGE_LISTENING,
        [VNET_RDMA_CONNECTING] = VNET_LINK_STAGE_CONNECTING,
    };
    VnetRdmaLinkInfo rdma;

    vnet_rdma_link_query(k, &rdma);
    ls->type = VNET_LINK_TYPE_RDMA;
    ls->server = rdma.rdma.server;
    ls->state = rdma.rdma.stage == VNET_RDMA_CONNECTED ?
                vnet_status_connected(info) : stages[rdma.rdma.stage];
    ls->local = rdma.local;
    ls->remote = rdma.remote;
    ls->connections = rdma.rdma.connections;
    ls->has_qps = true;
    ls->qps = rdma.rdma.qps;
    ls->has_lingering = true;
    ls->lingering = rdma.rdma.lingering;
#define VNET_STATUS_RDMA(name, meaning) \
    vnet_status_count(&tail, #name, rdma.rdma.stats->name);
    VNET_RDMA_STATS(VNET_STATUS_RDMA)
#undef VNET_STATUS_RDMA
}

static void vnet_status_vxlan(VnetVxlanLink *k, VnetLinkStatus *ls,
                              VnetNamedCounterList **tail)
{
    VnetVxlanInfo vxlan;

    vnet_vxlan_query(k, &vxlan);
    ls->type = VNET_LINK_TYPE_VXLAN;
    ls->state = vxlan.up ? VNET_LINK_STAGE_UP : VNET_LINK_STAGE_WAITING;
    ls->local = vxlan.local;
    ls->remote = vxlan.remote;
    ls->connections = vxlan.connections;
    ls->has_mtu = vxlan.up;
    ls->mtu = vxlan.mtu;
#define VNET_STATUS_VXLAN(name, meaning) \
    vnet_status_count(&tail, #name, vxlan.stats->name);
    VNET_VXLAN_STATS(VNET_STATUS_VXLAN)
#undef VNET_STATUS_VXLAN
}

static void vnet_status_link(void *opaque, const VnetLinkInfo *info)
{
    VnetSnapshot *snap = opaque;
    VnetAnyLink *k = vnet_status_transport(snap->n, info->link);
    VnetLinkStatus *ls = g_new0(VnetLinkStatus, 1);
    VnetNamedCounterList **tail = &ls->counters;
    uint32List **vnis = &ls->vnis;

    ls->id = g_strdup(info->id);
    if (k->registrar) {
        ls->registrar = g_strdup(k->registrar->options->id);
    } else {
        ls->has_index = true;
        ls->index = k->def->index;
        ls->command = g_strdup(k->def->command);
    }
    ls->peer = info->peer_name[0] ? g_strdup(info->peer_name) : NULL;
    ls->reason = info->last_error[0] ? g_strdup(info->last_error) : NULL;
    for (unsigned i = 0; i < info->nvnis; i++) {
        QAPI_LIST_APPEND(vnis, info->vnis[i]);
    }
    vnet_status_stats(&tail, vnet_link_stat_descs, info->stats);
    if (k->rdma) {
        vnet_status_rdma(k->rdma, info, ls, tail);
    } else if (k->vxlan) {
        vnet_status_vxlan(k->vxlan, ls, tail);
    } else {
        vnet_status_sock(k->sock, info, ls, tail);
    }
    QAPI_LIST_APPEND(snap->links, ls);
}

static void vnet_status_device_counter(void *opaque, const char *name,
                                       uint64_t value)
{
    VnetSnapshot *snap = opaque;

    vnet_status_count(&snap->device, name, value);
}

static void vnet_status_port(void *opaque, const VnetPortInfo *info)
{
    VnetSnapshot *snap = opaque;
    VnetNetdev *n = snap->n;
    VnetPortStatus *ps = g_new0(VnetPortStatus, 1);
    VnetNamedCounterList **tail = &ps->counters;

    ps->id = g_strdup(info->id);
    ps->mac = vnet_mac_str(info->mac);
    ps->streams = info->takes_streams;
    vnet_status_stats(&tail, vnet_port_stat_descs, info->stats);
    if (n->claimed && g_str_equal(n->nic_id, info->id)) {
        ps->has_device = true;
        snap->device = &ps->device;
        n->nic_ops->foreach_counter(n->nic_opaque, vnet_status_device_counter,
                                    snap);
    } else if (!n->claimed) {
        vnet_nic_counters(n->nic, &tail);
    }
    QAPI_LIST_APPEND(snap->ports, ps);
}

static void vnet_status_sid(void *opaque, uint32_t sid, const char *state,
                            uint64_t rx_limit, VnetStream *s)
{
    VnetSnapshot *snap = opaque;
    VnetSnapshotSid *ss = g_new(VnetSnapshotSid, 1);

    ss->state = state;
    ss->rx_limit = rx_limit;
    g_hash_table_insert(snap->sids, GUINT_TO_POINTER(sid), ss);
}

static void vnet_status_stream(void *opaque, const VnetStreamInfo *info)
{
    VnetSnapshot *snap = opaque;
    VnetStreamStatus *ss = g_new0(VnetStreamStatus, 1);
    const VnetFlow *f = &info->flow;
    VnetSnapshotSid *dev = info->sid ?
        g_hash_table_lookup(snap->sids, GUINT_TO_POINTER(info->sid)) : NULL;

    ss->port = g_strdup(info->port_id);
    ss->has_sid = info->sid != 0;
    ss->sid = info->sid;
    ss->cid = info->cid;
    ss->link = g_strdup(info->link_id);
    ss->state = g_strdup(info->state);
    ss->local = vnet_flow_end_str(f->family, f->laddr, f->lport);
    ss->remote = vnet_flow_end_str(f->family, f->raddr, f->rport);
    ss->local_mac = vnet_mac_str(f->lmac);
    ss->remote_mac = vnet_mac_str(f->rmac);
    ss->tx_sent = info->tx_sent;
    ss->tx_acked = info->tx_acked;
    ss->rx_received = info->rx_received;
    ss->rx_acked = info->rx_acked;
    if (dev) {
        ss->device_state = g_strdup(dev->state);
        ss->has_credit = true;
        ss->credit = dev->rx_limit > info->rx_received ?
                     dev->rx_limit - info->rx_received : 0;
    }
    QAPI_LIST_APPEND(snap->streams, ss);
}

static void vnet_status_mac(void *opaque, const VnetMacInfo *info)
{
    VnetSnapshot *snap = opaque;
    VnetMacStatus *ms = g_new0(VnetMacStatus, 1);

    ms->mac = vnet_mac_str(info->mac);
    ms->vni = snap->n->vni;
    ms->kind = info->learnt ? VNET_MAC_KIND_LEARNT :
               info->is_link ? VNET_MAC_KIND_ANNOUNCED : VNET_MAC_KIND_PORT;
    ms->via = g_strdup(info->where);
    ms->streams = info->streams;
    if (info->learnt) {
        ms->has_age = true;
        ms->age = info->age_ns / NANOSECONDS_PER_SECOND;
    }
    QAPI_LIST_APPEND(snap->macs, ms);
}

static void vnet_status_route(void *opaque, const VnetRule *rule)
{
    VnetSnapshot *snap = opaque;

    QAPI_LIST_APPEND(snap->routes, vnet_route_status(rule));
}

static void vnet_status_in_thread(VnetNetdev *n, void *arg)
{
    VnetStatus *st = arg;
    VnetCore *core = vnet_loop_core(n->ov->loop);
    VnetNamedCounterList **tail = &st->counters;
    VnetSnapshot snap = {
        .n = n,
        .st = st,
        .links = &st->links,
        .ports = &st->ports,
        .streams = &st->streams,
        .macs = &st->macs,
        .routes = &st->routes,
    };
    VnetCoreInfo info;
    VnetNetInfo net;

    snap.sids = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    if (n->claimed) {
        n->nic_ops->foreach_stream(n->nic_opaque, vnet_status_sid, &snap);
    }
    vnet_query_core(core, &info);
    vnet_query_net(n->net, &net);
    st->name = g_strdup(info.name);
    st->vni = net.vni;
    st->tx_rate = vnet_rate_status(&net.rates[VNET_TX]);
    st->rx_rate = vnet_rate_status(&net.rates[VNET_RX]);
    st->capture = n->capture ? vnet_capture_status(n->capture) : NULL;
    vnet_status_stats(&tail, vnet_core_stat_descs, net.stats);
    if (n->ov->owner == n) {
        vnet_query_links(core, vnet_status_link, &snap);
    }
    vnet_query_ports(n->net, vnet_status_port, &snap);
    vnet_query_streams(n->net, vnet_status_stream, &snap);
    vnet_query_macs(n->net, vnet_status_mac, &snap);
    vnet_query_routes(n->net, vnet_status_route, &snap);
    g_hash_table_unref(snap.sids);
}

VnetStatus *vnet_netdev_status(VnetNetdev *n)
{
    VnetStatus *st = g_new0(VnetStatus, 1);

    vnet_nic_update(n->nic);
    st->id = g_strdup(n->nc.name);
    st->thread_id = n->ov->iothread->thread_id;
    if (n->ov->owner != n) {
        st->overlay = g_strdup(n->ov->id);
        st->has_overlay_gone = true;
        st->overlay_gone = !n->ov->owner;
    }
    vnet_netdev_call(n, vnet_status_in_thread, st);
    return st;
}
