/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The limits of an overlay that the monitor hears of when they are reached:
 * docs/specs/vnet-limits.rst, "Events".  Named after the options that set them.
 */
#ifndef VNET_LIMIT_H
#define VNET_LIMIT_H

#include <stdint.h>

typedef enum VnetCoreLimit {
    VNET_CORE_LIMIT_MAX_MACS,           /* an address is not learnt */
    VNET_CORE_LIMIT_FLOOD_LIMIT,        /* a frame is not flooded */
    VNET_CORE_LIMIT_TX_RATE,            /* the NIC, or a stream of it, waits */
    VNET_CORE_LIMIT_RX_RATE,            /* a frame is dropped, a stream waits */
    VNET_CORE_LIMIT_MAX_STREAMS,        /* a stream is refused */
    VNET_CORE_LIMIT_PEER_MAX_STREAMS,   /* ... by what the peer says it takes */
    VNET_CORE_LIMIT_MAX_QPS,            /* a stream gets no queue pair */
    VNET_CORE_LIMITS
} VnetCoreLimit;

/* What is kept of each. */
typedef struct VnetLimitState {
    int64_t next_ns;            /* not told before this */
    uint64_t suppressed;        /* times since it was told */
} VnetLimitState;

#endif /* VNET_LIMIT_H */
