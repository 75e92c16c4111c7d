/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits to what a port sends and receives: token buckets of bytes and of frames
 * in each direction, and turns for the streams that wait for tokens.
 * docs/specs/vnet-limits.rst.
 *
 * A stream needs tokens that are there; a frame may borrow as much as a burst, so
 * frames go first while there is enough for all.  When there is not, streams wait,
 * and get a quantum each in turn, and frames as much as all of them together.  Over
 * a longer time all keep to the rate.
 *
 * What a port sends is held back: its NIC is told BUSY and later tx_ready, its
 * streams are asked for no more bytes.  Of what it is to receive, streams are held
 * back by their flow control, but frames are dropped: the switch waits for nobody.
 */
#ifndef VNET_SHAPE_H
#define VNET_SHAPE_H

#include <glib.h>
#include "vtoe/vnet-port.h"
#include "vnet-switch.h"

/* --- A token bucket ------------------------------------------------------- */

typedef struct VnetBucket {
    uint64_t rate;              /* tokens per second; 0: no limit */
    int64_t burst;              /* most that are kept */
    int64_t level;              /* what is there; less than 0: a debt */
    uint64_t rest;              /* of a token, in 1e-9 */
    int64_t at_ns;              /* when that was so */
} VnetBucket;

#define VNET_BUCKET_MAX     (1ull << 50)    /* of rate and burst */

/* Full at first. */
void vnet_bucket_set(VnetBucket *b, uint64_t rate, uint64_t burst,
                     int64_t now_ns);
/* What is there now; INT64_MAX without a limit. */
int64_t vnet_bucket_level(VnetBucket *b, int64_t now_ns);
/* Takes n, whether they are there or not. */
void vnet_bucket_take(VnetBucket *b, uint64_t n, int64_t now_ns);
/* Nanoseconds until the level is at least n, which is at most a burst. */
int64_t vnet_bucket_wait(VnetBucket *b, int64_t n, int64_t now_ns);

/* --- A port --------------------------------------------------------------- */

typedef enum VnetDirection {
    VNET_TX,                    /* from the NIC */
    VNET_RX,
    VNET_DIRECTIONS
} VnetDirection;

/* 0: no limit, or for bursts: what the rate gives in a tenth of a second. */
typedef struct VnetRates {
    uint64_t bytes, bytes_burst;
    uint64_t frames, frames_burst;
} VnetRates;

typedef struct VnetShaper {
    bool on;
    VnetRates rate;              /* as configured */
    VnetBucket bytes, frames;
    int64_t quantum;            /* bytes that a stream gets in its turn */
    int64_t frame_turn;         /* bytes for frames while streams wait */
    GQueue streams;             /* that wait, of VnetShaped.node */
    bool nic_waits;             /* was told BUSY */
} VnetShaper;

/* A stream's part, one for each direction. */
typedef struct VnetShaped {
    GList node;                 /* data: the stream */
    bool waits;
    int64_t turn;               /* bytes it may have now, paid for */
} VnetShaped;

void vnet_shape_set(VnetPort *port, VnetDirection d, const VnetRates *rate);
const VnetRates *vnet_shape_get(const VnetPort *port, VnetDirection d);
/* The port goes. */
void vnet_shape_end(VnetPort *port);
/* Whether a frame may pass now. */
bool vnet_shape_frame(VnetPort *port, VnetDirection d);
/* A frame passed.  A large segment is as many as it is to become. */
void vnet_shape_frame_took(VnetPort *port, VnetDirection d, const VnetFrame *f);
/* The NIC was told BUSY for it. */
void vnet_shape_nic_waits(VnetPort *port);
/* How many of max bytes a stream may have now; 0: it waits for its turn, which
 * VNET_WORK_TX or _RX announces. */
size_t vnet_shape_stream(VnetStream *s, VnetDirection d, size_t max);
void vnet_shape_stream_took(VnetStream *s, VnetDirection d, size_t n);
void vnet_shape_forget(VnetStream *s);
/* Gives turns; wakes the core for the next ones. */
void vnet_shape_tick(VnetPort *port, int64_t now_ns);

#endif /* VNET_SHAPE_H */
