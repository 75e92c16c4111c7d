/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network ids of an overlay: see vnet-net.h.
 *
 * That they do not see each other is by construction: ports and lanes are ends of
 * the switch of their id, and no switch knows an end of another.  What of links
 * belongs to an id is in vnet-lane.c.
 */
#include <string.h>
#include "vnet-stream.h"

VnetNet *vnet_core_net(VnetCore *core)
{
    return core->nets->pdata[0];
}

VnetNet *vnet_core_find_net(const VnetCore *core, uint32_t vni)
{
    for (guint i = 0; i < core->nets->len; i++) {
        VnetNet *net = core->nets->pdata[i];

        if (net->vni == vni) {
            return net;
        }
    }
    return NULL;
}

VnetNet *vnet_net_make(VnetCore *core, const VnetNetConfig *cfg)
{
    VnetNet *net = g_new0(VnetNet, 1);

    net->core = core;
    net->vni = cfg->vni;
    net->port_lock = cfg->port_lock;
    net->user = cfg->user;
    memcpy(net->rates, cfg->rates, sizeof(net->rates));
    net->sw = vnet_switch_new(&core->macs, core->mac_age_s, &net->stats);
    vnet_switch_set_flood_limit(net->sw, cfg->flood_limit);
    vnet_switch_on_limit(net->sw, vnet_limit_reached_by, net);
    for (guint i = 0; i < core->nets->len; i++) {
        VnetNet *other = core->nets->pdata[i];

        vnet_switch_trim(other->sw);
    }
    g_ptr_array_add(core->nets, net);
    return net;
}

void vnet_net_dispose(VnetNet *net)
{
    vnet_switch_free(net->sw);
    g_free(net);
}

VnetNet *vnet_net_new(VnetCore *core, const VnetNetConfig *cfg)
{
    VnetNet *net;

    if (core->nets->len >= VNET_NETS_MAX ||
        vnet_core_find_net(core, cfg->vni)) {
        return NULL;
    }
    net = vnet_net_make(core, cfg);
    for (guint i = 0; i < core->links->len; i++) {
        vnet_lane_new(core->links->pdata[i], net);
    }
    return net;
}

void vnet_net_free(VnetNet *net)
{
    VnetCore *core = net->core;

    g_assert(net != vnet_core_net(core));
    for (guint i = 0; i < core->ports->len; i++) {
        const VnetPort *port = core->ports->pdata[i];

        g_assert(!port || port->net != net);
    }
    g_ptr_array_remove(core->nets, net);
    for (guint i = 0; i < core->links->len; i++) {
        vnet_lane_free(core->links->pdata[i], net);
    }
    /* Streams and ports that are over may still be looked at. */
    core->dead_nets = g_slist_prepend(core->dead_nets, net);
    vnet_core_defer(core);
}

uint32_t vnet_net_vni(const VnetNet *net)
{
    return net->vni;
}

void *vnet_net_user(const VnetNet *net)
{
    return net->user;
}

bool vnet_net_change_routes(VnetNet *net, const GArray *changes, bool replace,
                            bool dry_run, GArray *added, GArray *removed,
                            VnetLangError *err)
{
    bool ok = vnet_switch_change_routes(net->sw, changes, replace, dry_run,
                                        added, removed, err);

    if (ok && !dry_run) {
        /* What took streams may not be reached any more, and others may. */
        vnet_core_capability(net->core, net, NULL, false);
    }
    return ok;
}

void vnet_net_set_rates(VnetNet *net, VnetDirection d, const VnetRates *rate)
{
    const GPtrArray *ports = net->core->ports;

    net->rates[d] = *rate;
    for (guint i = 0; i < ports->len; i++) {
        VnetPort *port = ports->pdata[i];

        if (port && port->net == net) {
            vnet_shape_set(port, d, rate);
        }
    }
}

void vnet_core_cut_off(VnetCore *core)
{
    core->cut_off = true;
    vnet_core_links_changed(core);
}
