/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking at an overlay: see vnet-query.h.
 */
#include <string.h>
#include "vnet-stream.h"

#define DESC(s, n, m)   { #n, m, offsetof(s, n) },
#define CORE(n, m)      DESC(VnetCoreStats, n, m)
#define LINK(n, m)      DESC(VnetLinkStats, n, m)
#define PORT(n, m)      DESC(VnetPortStats, n, m)

const VnetStatDesc vnet_core_stat_descs[] = { VNET_CORE_STATS(CORE) { 0 } };
const VnetStatDesc vnet_link_stat_descs[] = { VNET_LINK_STATS(LINK) { 0 } };
const VnetStatDesc vnet_port_stat_descs[] = { VNET_PORT_STATS(PORT) { 0 } };

void vnet_query_core(const VnetCore *core, VnetCoreInfo *info)
{
    *info = (VnetCoreInfo) {
        .name = core->name,
        .epoch = core->epoch,
        .nets = core->nets->len,
        .links = core->links->len,
        .streams = core->streams.length,
        .max_streams = core->max_streams,
        .macs_learnt = core->macs.used,
        .max_macs = core->macs.max,
    };
    for (guint i = 0; i < core->links->len; i++) {
        const VnetLink *l = core->links->pdata[i];

        info->links_up += l->state == VNET_LINK_UP;
    }
}

static void count_port(void *opaque, const VnetPortInfo *port)
{
    VnetNetInfo *info = opaque;

    info->ports++;
    info->streams += port->streams;
}

void vnet_query_net(const VnetNet *net, VnetNetInfo *info)
{
    *info = (VnetNetInfo) {
        .vni = net->vni,
        .macs_learnt = vnet_switch_learnt(net->sw),
        .macs_claimed = vnet_switch_claimed(net->sw),
        .stats = &net->stats,
    };
    memcpy(info->rates, net->rates, sizeof(info->rates));
    vnet_query_ports(net, count_port, info);
}

void vnet_query_links(const VnetCore *core,
                      void (*cb)(void *opaque, const VnetLinkInfo *info),
                      void *opaque)
{
    int64_t now = core->ops.now_ns(core->opaque);

    for (guint i = 0; i < core->links->len; i++) {
        VnetLink *l = core->links->pdata[i];
        VnetLinkInfo info = {
            .id = l->id,
            .type = l->ops->type,
            .server = l->server,
            .state = vnet_link_state(l),
            .peer_name = l->peer_name,
            .peer_epoch = l->peer_epoch,
            .version = l->version,
            .features = l->features,
            .rtt_ns = l->rtt_ns,
            .since_ns = now - l->since_ns,
            .streams = l->streams.length,
            .last_error = l->last_error,
            .stats = &l->stats,
            .link = l,
        };

        for (guint j = 0; j < l->lanes->len; j++) {
            const VnetLane *lane = l->lanes->pdata[j];

            if (lane->end.up) {
                info.vnis[info.nvnis++] = lane->net->vni;
            }
        }
        cb(opaque, &info);
    }
}

void vnet_query_ports(const VnetNet *net,
                      void (*cb)(void *opaque, const VnetPortInfo *info),
                      void *opaque)
{
    const GPtrArray *ports = net->core->ports;

    for (guint i = 0; i < ports->len; i++) {
        const VnetPort *port = ports->pdata[i];

        if (port && port->net == net) {
            VnetPortInfo info = {
                .id = port->id,
                .takes_streams = port->streams_ok,
                .carrier = port->carrier,
                .streams = port->streams.length,
                .stats = &port->stats,
            };
            memcpy(info.mac, port->mac, 6);
            cb(opaque, &info);
        }
    }
}

void vnet_query_streams(const VnetNet *net,
                        void (*cb)(void *opaque, const VnetStreamInfo *info),
                        void *opaque)
{
    for (const GList *n = net->core->streams.head; n; n = n->next) {
        const VnetStream *s = n->data;
        VnetStreamInfo info;

        if (s->port->net == net) {
            vnet_stream_get_info(s, &info);
            cb(opaque, &info);
        }
    }
}

typedef struct MacQuery {
    void (*cb)(void *opaque, const VnetMacInfo *info);
    void *opaque;
    int64_t now_ns;
} MacQuery;

static void query_mac(void *opaque, const uint8_t mac[6],
                      const VnetPlace *place, int64_t seen_ns)
{
    MacQuery *q = opaque;
    VnetMacInfo info = {
        .where = place->end->id,
        .is_link = place->end->is_link,
        .learnt = !place->claimed,
        .streams = place->flags & VNET_MAC_F_STREAMS,
        .age_ns = place->claimed ? 0 : q->now_ns - seen_ns,
    };

    memcpy(info.mac, mac, 6);
    q->cb(q->opaque, &info);
}

void vnet_query_macs(const VnetNet *net,
                     void (*cb)(void *opaque, const VnetMacInfo *info),
                     void *opaque)
{
    MacQuery q = { cb, opaque, vnet_now(net->core) };

    vnet_switch_foreach(net->sw, query_mac, &q);
}

const char *vnet_port_id(const VnetPort *port)
{
    return port->id;
}

VnetNet *vnet_stream_net(const VnetStream *s)
{
    return s->port->net;
}

void vnet_query_routes(const VnetNet *net,
                       void (*cb)(void *opaque, const VnetRule *rule),
                       void *opaque)
{
    const VnetRule *rule;

    for (unsigned n = 0; (rule = vnet_switch_route(net->sw, n)); n++) {
        cb(opaque, rule);
    }
}
