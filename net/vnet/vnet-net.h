/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network ids of an overlay.
 *
 * A network has a switch of its own, and what a port of it gets: rules, limits,
 * counters, a capture.  Nothing passes from one to another.  They share the
 * links, the thread, and the room for learnt addresses and streams.
 *
 * A core is made with one network, which lives as long as the core.  Others come
 * and go, and peers are told (docs/specs/vnet-wire.rst, "Network ids").
 *
 * VNET thread.
 */
#ifndef VNET_NET_H
#define VNET_NET_H

#include "vnet-route.h"
#include "vnet-shape.h"
#include "vnet-wire.h"

typedef struct VnetNetConfig {
    uint32_t vni;               /* at most VNET_VNI_MAX */
    uint32_t flood_limit;       /* frames per second and end; 0: any */
    bool port_lock;             /* ports send from their own address only */
    VnetRates rates[VNET_DIRECTIONS];
    void *user;                 /* the shell's, see vnet_net_user() */
} VnetNetConfig;

/* The one that the core was made with. */
VnetNet *vnet_core_net(VnetCore *core);
/*
 * A further one, without ports.  NULL: the core has VNET_NETS_MAX, or one with
 * this id.  Not from inside a callback of the overlay.
 */
VnetNet *vnet_net_new(VnetCore *core, const VnetNetConfig *cfg);
/* Ends one that vnet_net_new() made; no port of it is left.  Dito. */
void vnet_net_free(VnetNet *net);
uint32_t vnet_net_vni(const VnetNet *net);
void *vnet_net_user(const VnetNet *net);
/* See vnet_routes_change(); for frames and streams of this network alone. */
bool vnet_net_change_routes(VnetNet *net, const GArray *changes, bool replace,
                            bool dry_run, GArray *added, GArray *removed,
                            VnetLangError *err);
/* Of all its ports, those that come included; from now on. */
void vnet_net_set_rates(VnetNet *net, VnetDirection d, const VnetRates *rate);

/*
 * No link will come any more: ports have no carrier from now on.  (Else a switch
 * without links is whole, and its ports are joined.)
 */
void vnet_core_cut_off(VnetCore *core);

#endif /* VNET_NET_H */
