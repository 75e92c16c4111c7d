/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who says that there is work: the guest, by doorbells, or the device, which looks
 * at the rings by itself (VMM-driven, as VNET/P calls it).
 *
 * Guest-driven is quick as long as little happens: each operation is a doorbell,
 * and is done at once.  VMM-driven costs a look every now and then, whatever
 * happens, and no doorbell: it pays where there is much.  Adaptive begins
 * guest-driven, and counts operations: at the end of a period of more than `upper`
 * of them a second it is VMM-driven, and guest-driven again after one of less than
 * `lower`.  In between it stays as it is, so that a rate near one of the limits
 * does not make it go to and fro.
 *
 * This is the decision alone: no rings, no clock.
 */
#ifndef VTOE_DISPATCH_H
#define VTOE_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

typedef enum VtoeDispatchMode {
    VTOE_DISPATCH_GUEST,
    VTOE_DISPATCH_VMM,
    VTOE_DISPATCH_ADAPTIVE,
} VtoeDispatchMode;

typedef struct VtoeDispatchConfig {
    VtoeDispatchMode mode;
    uint32_t upper, lower;      /* operations per second */
    int64_t period_ns;          /* over which they are counted; > 0 */
    int64_t look_ns;            /* VMM-driven: from one look to the next; > 0 */
} VtoeDispatchConfig;

typedef struct VtoeDispatch {
    VtoeDispatchConfig cfg;
    bool vmm;                   /* VMM-driven now */
    int64_t began;              /* the period, ns */
    uint64_t ops;               /* in it, so far */
    uint64_t rate;              /* of the one before, per second */
} VtoeDispatch;

void vtoe_dispatch_init(VtoeDispatch *x, const VtoeDispatchConfig *cfg,
                        int64_t now);
/*
 * Counts operations that were done just now, and decides if a period is over.
 * True: x->vmm has changed.
 */
bool vtoe_dispatch_count(VtoeDispatch *x, uint64_t ops, int64_t now);
/* Operations per second, of the last whole period; lower if nothing came since. */
uint64_t vtoe_dispatch_rate(const VtoeDispatch *x, int64_t now);

#endif /* VTOE_DISPATCH_H */
