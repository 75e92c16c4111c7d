/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A live server end for a fuzzer that is its peer: the core with a NIC in network
 * 7, the guest behind it, and a transport that keeps what it is given.  All that
 * the core may not do to them aborts.
 */
#ifndef FUZZ_VNET_WORLD_H
#define FUZZ_VNET_WORLD_H

#include <stdlib.h>
#include <glib.h>
#include "vnet-query.h"

#define CHECK(c) do { if (!(c)) { abort(); } } while (0)

#define MAX_STREAMS     32
#define MAX_MSG         4096
#define MAX_POSTED      4

typedef struct Guest {          /* a stream's NIC side */
    VnetStream *s;
    bool over, answered;
    uint64_t posted, acked;
    unsigned lent;
} Guest;

struct VnetCid {
    VnetStream *s;
    VnetRxBuf lent[MAX_POSTED + 1];
    unsigned nlent;
    bool up, eof;
    size_t sending;             /* bytes of sends that did not complete */
};

typedef struct World {
    VnetCore *core;
    VnetPort *port;
    VnetNet *net9;              /* NULL: there is none now */
    VnetPort *port9;
    VnetLink *l;
    int64_t now, timer;
    bool deferred, up, messages, resumes;
    uint64_t token, last_token; /* of the link's present peer; the one before */
    Guest guests[4 * MAX_STREAMS];
    unsigned nguests;
    VnetCid *cids[4 * MAX_STREAMS];
    unsigned ncids;
    uint8_t pending[VNET_MSG_MAX];
    size_t npending;
    size_t queued;              /* control bytes the peer has not read */
} World;

extern const VnetStreamOps fuzz_guest_ops;

/* Streams are resumed by who says that it does; messages: over such a transport. */
World *world_new(bool messages);
/* Nothing may be left of what was open. */
void world_free(World *w);

/* To be called after each call of the core. */
void world_dispatch_end(World *w);
void world_time(World *w, int64_t ns);
/* Network 9, with a NIC. */
void world_net_9(World *w);

/* NULL: there are too many. */
Guest *guest_new(World *w, VnetStream *s);
void guest_over(Guest *g);

#endif /* FUZZ_VNET_WORLD_H */
