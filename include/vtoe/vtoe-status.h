/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a vtoe-pci device makes itself known to query-vtoe.
 *
 * The command is compiled always, the device only where there is PCI; so the
 * devices register themselves.  Main loop, under the BQL.
 */
#ifndef VTOE_STATUS_H
#define VTOE_STATUS_H

#include "qemu/queue.h"
#include "qapi/qapi-types-vnet.h"

typedef struct VtoeStatusSource VtoeStatusSource;
struct VtoeStatusSource {
    /* A new VtoeStatus, owned by the caller. */
    VtoeStatus *(*status)(void *opaque);
    void *opaque;
    QTAILQ_ENTRY(VtoeStatusSource) next;
};

/* At realize and at unrealize; the memory is the device's. */
void vtoe_status_register(VtoeStatusSource *s);
void vtoe_status_unregister(VtoeStatusSource *s);

/* Adds a counter to the end of a list; tail is advanced. */
void vnet_counter_append(VnetNamedCounterList ***tail, const char *name,
                         uint64_t value);

#endif /* VTOE_STATUS_H */
