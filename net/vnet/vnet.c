/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network backend "vnet": the netdev shell of the overlay.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "net/clients.h"
#include "vnet-shell.h"

VnetNetdev *vnet_netdev_next(VnetNetdev *after)
{
    return NULL;
}

const char *vnet_netdev_id(const VnetNetdev *n)
{
    return NULL;
}

VnetStatus *vnet_netdev_status(VnetNetdev *n)
{
    return NULL;
}

int net_init_vnet(const Netdev *netdev, const char *name,
                  NetClientState *peer, Error **errp)
{
    error_setg(errp, "netdev %s: vnet is not part of this build", name);
    return -1;
}
