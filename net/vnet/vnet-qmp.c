/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor's view: query-vnet, query-vtoe and "info vnet".
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vnet.h"
#include "qemu/module.h"
#include "qemu/sockets.h"
#include "vtoe/vtoe-status.h"
#include "vnet-shell.h"

static QTAILQ_HEAD(, VtoeStatusSource) vtoe_sources =
    QTAILQ_HEAD_INITIALIZER(vtoe_sources);

void vtoe_status_register(VtoeStatusSource *s)
{
    QTAILQ_INSERT_TAIL(&vtoe_sources, s, next);
}

void vtoe_status_unregister(VtoeStatusSource *s)
{
    QTAILQ_REMOVE(&vtoe_sources, s, next);
}

void vnet_counter_append(VnetNamedCounterList ***tail, const char *name,
                         uint64_t value)
{
    VnetNamedCounter *c = g_new(VnetNamedCounter, 1);

    c->name = g_strdup(name);
    c->value = value;
    QAPI_LIST_APPEND(*tail, c);
}

VtoeStatusList *qmp_query_vtoe(Error **errp)
{
    VtoeStatusList *list = NULL, **tail = &list;
    VtoeStatusSource *s;

    QTAILQ_FOREACH(s, &vtoe_sources, next) {
        QAPI_LIST_APPEND(tail, s->status(s->opaque));
    }
    return list;
}

VnetStatusList *qmp_query_vnet(const char *id, Error **errp)
{
    VnetStatusList *list = NULL, **tail = &list;
    VnetNetdev *n = NULL;

    if (id && !vnet_netdev_find(id, errp)) {
        return NULL;
    }
    while ((n = vnet_netdev_next(n))) {
        if (!vnet_netdev_is_ending(n) &&
            (!id || g_str_equal(id, n->nc.name))) {
            QAPI_LIST_APPEND(tail, vnet_netdev_status(n));
        }
    }
    return list;
}

/* --- For people ------------------------------------------------------- */

/* Counters that are not 0, several on a line. */
static void hmp_vnet_counters(Monitor *mon, const char *indent,
                              const VnetNamedCounterList *list)
{
    size_t col = 0;

    for (; list; list = list->next) {
        const VnetNamedCounter *c = list->value;
        g_autofree char *s = NULL;

        if (!c->value) {
            continue;
        }
        s = g_strdup_printf("%s=%" PRIu64, c->name, c->value);
        if (col && col + strlen(s) > 70) {
            monitor_printf(mon, "\n");
            col = 0;
        }
        monitor_printf(mon, "%s%s", col ? " " : indent, s);
        col += strlen(s) + 1;
    }
    if (col) {
        monitor_printf(mon, "\n");
    }
}

/* An address, without "tcp:": the link's type says what it is for. */
static char *hmp_vnet_address(SocketAddress *addr)
{
    g_autofree char *uri = addr ? socket_uri(addr) : NULL;

    return g_strdup(uri && g_str_has_prefix(uri, "tcp:") ? uri + 4 : uri);
}

static void hmp_vnet_link(Monitor *mon, const VnetLinkStatus *l)
{
    g_autofree char *local = hmp_vnet_address(l->local);
    g_autofree char *remote = hmp_vnet_address(l->remote);
    const uint32List *v;

    monitor_printf(mon, "  link %s: %s", l->id, VnetLinkType_str(l->type));
    /* The ends of a vxlan link are alike, and not connected. */
    if (l->type != VNET_LINK_TYPE_VXLAN) {
        monitor_printf(mon, " %s", l->server ? "server" : "client");
    }
    monitor_printf(mon, ", %s", VnetLinkStage_str(l->state));
    if (l->peer) {
        monitor_printf(mon, ", peer %s", l->peer);
    }
    if (l->identity) {
        monitor_printf(mon, " (%s)", l->identity);
    }
    if (l->encrypted) {
        monitor_printf(mon, ", encrypted");
    }
    if (l->type != VNET_LINK_TYPE_VXLAN) {
        monitor_printf(mon, ", %u connections", l->connections);
    }
    if (l->has_mtu) {
        monitor_printf(mon, ", mtu %u", l->mtu);
    }
    /* One is the netdev's own. */
    for (v = l->vnis && l->vnis->next ? l->vnis : NULL; v; v = v->next) {
        monitor_printf(mon, "%s%u", v == l->vnis ? ", vni " : " ", v->value);
    }
    monitor_printf(mon, "\n");
    if (local || remote) {
        monitor_printf(mon, "    %s%s%s\n", local ?: "",
                       local && remote ? " <-> " : "", remote ?: "");
    }
    if (l->reason) {
        monitor_printf(mon, "    last lost: %s\n", l->reason);
    }
    if (l->refused) {
        monitor_printf(mon, "    last refused: %s\n", l->refused);
    }
    hmp_vnet_counters(mon, "    ", l->counters);
}

static void hmp_vnet_stream(Monitor *mon, const VnetStreamStatus *s)
{
    if (s->has_sid) {
        monitor_printf(mon, "  stream sid 0x%x", s->sid);
    } else {
        monitor_printf(mon, "  stream");
    }
    monitor_printf(mon, " cid 0x%x link %s: %s -> %s, %s", s->cid,
                   s->link[0] ? s->link : "-", s->local, s->remote, s->state);
    if (s->device_state) {
        monitor_printf(mon, " (device: %s)", s->device_state);
    }
    monitor_printf(mon, "\n    tx %" PRIu64 " sent, %" PRIu64 " acked; "
                   "rx %" PRIu64 " received, %" PRIu64 " acked",
                   s->tx_sent, s->tx_acked, s->rx_received, s->rx_acked);
    if (s->has_credit) {
        monitor_printf(mon, ", credit %" PRIu64, s->credit);
    }
    monitor_printf(mon, "\n");
}

static void hmp_vnet_rate(Monitor *mon, const char *name, const VnetRate *r)
{
    if (r) {
        monitor_printf(mon, "  %s:", name);
        if (r->has_bytes) {
            monitor_printf(mon, " %" PRIu64 " bytes/s", r->bytes);
        }
        if (r->has_frames) {
            monitor_printf(mon, " %" PRIu64 " frames/s", r->frames);
        }
        monitor_printf(mon, "\n");
    }
}

static void hmp_vnet_status(Monitor *mon, const VnetStatus *st)
{
    const VnetLinkStatusList *l;
    const VnetPortStatusList *p;
    const VnetStreamStatusList *s;
    const VnetMacStatusList *m;
    const VnetRouteList *r;

    monitor_printf(mon, "%s: vni %u, name %s", st->id, st->vni, st->name);
    if (st->overlay) {
        monitor_printf(mon, ", overlay %s%s", st->overlay,
                       st->overlay_gone ? " (gone)" : "");
    }
    monitor_printf(mon, "\n");
    hmp_vnet_counters(mon, "  ", st->counters);
    hmp_vnet_rate(mon, "tx-rate", st->tx_rate);
    hmp_vnet_rate(mon, "rx-rate", st->rx_rate);
    if (st->capture) {
        monitor_printf(mon, "  capture %s: %" PRIu64 " packets, %" PRIu64
                       " dropped%s%s\n", st->capture->file,
                       st->capture->packets, st->capture->dropped,
                       st->capture->error ? ", " : "", st->capture->error ?: "");
    }
    for (l = st->links; l; l = l->next) {
        hmp_vnet_link(mon, l->value);
    }
    for (p = st->ports; p; p = p->next) {
        monitor_printf(mon, "  port %s: %s%s\n", p->value->id, p->value->mac,
                       p->value->streams ? ", takes streams" : "");
        hmp_vnet_counters(mon, "    ", p->value->counters);
        hmp_vnet_counters(mon, "    device: ", p->value->device);
    }
    for (s = st->streams; s; s = s->next) {
        hmp_vnet_stream(mon, s->value);
    }
    for (m = st->macs; m; m = m->next) {
        monitor_printf(mon, "  mac %s: %s %s%s", m->value->mac,
                       VnetMacKind_str(m->value->kind), m->value->via,
                       m->value->streams ? ", takes streams" : "");
        if (m->value->has_age) {
            monitor_printf(mon, ", %u s ago", m->value->age);
        }
        monitor_printf(mon, "\n");
    }
    for (r = st->routes; r; r = r->next) {
        monitor_printf(mon, "  route %u: %s\n", r->value->index,
                       r->value->command);
    }
}

static void hmp_info_vnet(Monitor *mon, const QDict *qdict)
{
    VnetStatusList *list = qmp_query_vnet(NULL, &error_abort);
    VnetStatusList *e;

    if (!list) {
        monitor_printf(mon, "no vnet netdevs\n");
    }
    for (e = list; e; e = e->next) {
        hmp_vnet_status(mon, e->value);
    }
    qapi_free_VnetStatusList(list);
}

static void vnet_register_hmp(void)
{
    monitor_register_hmp("vnet", true, hmp_info_vnet);
}
type_init(vnet_register_hmp)
