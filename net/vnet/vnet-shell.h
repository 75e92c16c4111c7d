/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the netdev shell show each other.
 */
#ifndef VNET_SHELL_H
#define VNET_SHELL_H

#include "qemu/queue.h"
#include "qapi/qapi-types-vnet.h"

typedef struct VnetNetdev VnetNetdev;

/* All vnet netdevs of this QEMU, in the order of their creation.  BQL. */
VnetNetdev *vnet_netdev_next(VnetNetdev *after);
const char *vnet_netdev_id(const VnetNetdev *n);
/* A snapshot; asks the VNET thread and waits for it.  BQL. */
VnetStatus *vnet_netdev_status(VnetNetdev *n);

#endif /* VNET_SHELL_H */
