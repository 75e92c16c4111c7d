/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the netdev shell of the overlay (net/vnet/vnet.c) offers to a NIC that
 * joins the switch itself, instead of passing frames through its
 * NetClientState.  Unlike vnet-port.h this is between two QEMU shells and may
 * use QEMU's types.
 *
 * A NIC whose peer is a vnet netdev either
 *  - does nothing special (virtio-net, e1000e): the netdev keeps a port for it
 *    and carries its frames between the main loop and the VNET thread, or
 *  - claims the netdev at realize (vtoe-pci): from then on the netdev keeps no
 *    port of its own, never calls the NIC's receive(), and the NIC attaches,
 *    from the VNET thread, the port it wants (vnet_port_attach()).
 *
 * Threads and the rule that makes them safe: a holder of the BQL (main loop,
 * vCPU) may wait for the VNET thread, so THE VNET THREAD NEVER WAITS FOR THE
 * BQL, nor for anything that a holder of the BQL does, nor for an RCU grace
 * period.  It may set EventNotifiers and schedule BHs and timers of the main
 * loop.
 */
#ifndef VTOE_VNET_NETDEV_H
#define VTOE_VNET_NETDEV_H

#include "block/aio.h"
#include "net/net.h"
#include "vtoe/vnet-port.h"

typedef void VnetNicCounterFn(void *fn_opaque, const char *name,
                              uint64_t value);
/*
 * state: "connecting", "requested", "established", "closing" or "closed";
 * s may be NULL (the overlay has no part of it yet, or any more).
 */
typedef void VnetNicStreamFn(void *fn_opaque, uint32_t sid, const char *state,
                             uint64_t rx_limit, VnetStream *s);

/* What a NIC that claims a vnet netdev implements. */
typedef struct VnetNicOps {
    /* For query-vnet and "info vnet".  VNET thread. */
    void (*foreach_counter)(void *opaque, VnetNicCounterFn *fn,
                            void *fn_opaque);
    void (*foreach_stream)(void *opaque, VnetNicStreamFn *fn, void *fn_opaque);
} VnetNicOps;

/*
 * Whether nc (may be NULL) is a vnet netdev. BQL held, as for all below that
 * do not say another thing.
 */
bool vnet_netdev_is(const NetClientState *nc);

/* The VNET thread's context; constant while the netdev lives. */
AioContext *vnet_netdev_get_aio_context(NetClientState *nc);

/* Where a port of the NIC attaches; for the VNET thread only.  Constant, too. */
VnetNet *vnet_netdev_get_net(NetClientState *nc);

/*
 * The largest IP packet that all links take that it was made with, 68 to 65535:
 * the MTU to advertise to the guest.
 */
uint32_t vnet_netdev_mtu(const NetClientState *nc);

/*
 * Claims the netdev for a NIC with a port of its own.  The netdev's port for
 * its peer, if it already had one, is detached before this returns.
 * nic_id: for query-vnet; copied.  False and *errp: it is claimed already.
 */
bool vnet_netdev_claim(NetClientState *nc, const char *nic_id,
                       const VnetNicOps *ops, void *opaque, Error **errp);

/*
 * Ends the claim; the NIC has detached its port before. No VnetNicOps callback
 * runs any more when it returns.
 *
 * netdev_del while the NIC lives: QEMU keeps the NetClientState, without
 * calling its cleanup(), until the NIC dies, and tells only the NIC, by
 * link_status_changed() with NICState.peer_deleted set.  The NIC then detaches
 * its port and releases, and uses nothing of the netdev again; the netdev sees
 * peer_deleted in here and closes its links at once (or, if it has joined the
 * overlay of another, its network).
 */
void vnet_netdev_release(NetClientState *nc);

/*
 * VNET thread: to be called by the NIC at the end of each of its own handlers
 * (doorbell, BH, timer) in which it called into the overlay: publishes what
 * they caused (vnet_core_run_deferred()).
 */
void vnet_netdev_dispatch_end(NetClientState *nc);

/*
 * VNET thread: may be called at the beginning of such a handler.  Then what the
 * NIC causes waits for vnet_netdev_dispatch_end() alone, and the event loop is
 * not asked for another turn (a system call) that would find nothing to do.
 */
void vnet_netdev_dispatch_begin(NetClientState *nc);

#endif /* VTOE_VNET_NETDEV_H */
